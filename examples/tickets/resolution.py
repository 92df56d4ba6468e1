"""The resolution service: the expert's work. Once it is done there is no way back, only forward."""

from __future__ import annotations

from stamp import Fail, Hop, Service
from tickets.workflow import NEW_TICKET, Ticket, TicketAssigned, TicketResolved

DDL = """
CREATE TABLE IF NOT EXISTS retired (
    product TEXT PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS work (
    id        INTEGER PRIMARY KEY,
    ticket_id TEXT NOT NULL,
    expert    TEXT NOT NULL,
    answer    TEXT NOT NULL
);
INSERT OR IGNORE INTO retired VALUES ('fax');
"""

resolution = Service("resolution")


@resolution.step(NEW_TICKET, "resolve")
async def resolve(event: TicketAssigned, hop: Hop[Ticket]) -> TicketResolved:
    found = await hop.tx.execute("SELECT 1 FROM retired WHERE product = ?", (event.product,))
    if await found.fetchone() is not None:
        raise Fail(f"{event.product} is retired, nothing is repaired any more")
    answer = f"{event.expert} looked at your {event.product} and it works again."
    await hop.tx.execute(
        "INSERT INTO work (ticket_id, expert, answer) VALUES (?, ?, ?)", (event.ticket_id, event.expert, answer)
    )
    return TicketResolved(ticket_id=event.ticket_id, customer=event.customer, answer=answer)
