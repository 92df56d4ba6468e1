"""The tickets service: takes tickets in, writes them down, closes them."""

from __future__ import annotations

from collections.abc import Sequence

from common import intake
from common.intake import Receipt, take_in

from stamp import Fail, Hop, Service
from tickets.workflow import (
    NEW_TICKET,
    NotificationSent,
    Ticket,
    TicketClosed,
    TicketCreated,
    TicketSubmitted,
)

DDL = f"""{intake.DDL}
CREATE TABLE IF NOT EXISTS ticket (
    ticket_id TEXT PRIMARY KEY,
    customer  TEXT NOT NULL,
    product   TEXT NOT NULL,
    subject   TEXT NOT NULL,
    problem   TEXT NOT NULL,
    status    TEXT NOT NULL CHECK (status IN ('open', 'closed', 'rejected')),
    reason    TEXT
);
"""

tickets = Service("tickets")


async def receive(arrived: Sequence[TicketSubmitted]) -> list[Receipt]:
    """Start a run for each ticket, once."""
    async with tickets.transaction() as tx:
        return [
            await take_in(tx, ticket.ticket_id, ticket, workflow=NEW_TICKET, state=_state(ticket)) for ticket in arrived
        ]


def _state(ticket: TicketSubmitted) -> Ticket:
    return Ticket(ticket_id=ticket.ticket_id, customer=ticket.customer, product=ticket.product)


@tickets.step(NEW_TICKET, "create")
async def create(event: TicketSubmitted, hop: Hop[Ticket]) -> TicketCreated:
    await hop.tx.execute(
        "INSERT INTO ticket (ticket_id, customer, product, subject, problem, status) VALUES (?, ?, ?, ?, ?, 'open')",
        (event.ticket_id, event.customer, event.product, event.subject, event.problem),
    )
    hop.keep(ticket_id=event.ticket_id)
    return TicketCreated(
        ticket_id=event.ticket_id, customer=event.customer, product=event.product, subject=event.subject
    )


@tickets.undo(NEW_TICKET, "create")
async def reject(hop: Hop[Ticket]) -> None:
    error = hop.stamp.error or {}
    await hop.tx.execute(
        "UPDATE ticket SET status = 'rejected', reason = ? WHERE ticket_id = ?",
        (error.get("message"), hop.kept["ticket_id"]),
    )


@tickets.step(NEW_TICKET, "close")
async def close(event: NotificationSent, hop: Hop[Ticket]) -> TicketClosed:
    closed = await hop.tx.execute(
        "UPDATE ticket SET status = 'closed' WHERE ticket_id = ? AND status = 'open'", (event.ticket_id,)
    )
    if not closed.rowcount:
        raise Fail("the ticket is not open, it can't be closed")
    return TicketClosed(ticket_id=event.ticket_id)
