"""The assignment service: finds the expert who knows the product and has the least to do."""

from __future__ import annotations

from stamp import Fail, Hop, Service
from tickets.workflow import NEW_TICKET, Ticket, TicketAssigned, TicketCreated

DDL = """
CREATE TABLE IF NOT EXISTS expert (
    name  TEXT PRIMARY KEY,
    skill TEXT NOT NULL,
    load  INTEGER NOT NULL DEFAULT 0 CHECK (load >= 0)
);
CREATE TABLE IF NOT EXISTS assignment (
    ticket_id TEXT PRIMARY KEY,
    expert    TEXT NOT NULL REFERENCES expert (name)
);
INSERT OR IGNORE INTO expert (name, skill) VALUES
    ('Ada', 'laptop'), ('Grace', 'laptop'), ('Alan', 'laptop'),
    ('Barbara', 'mail'), ('Edsger', 'mail'),
    ('Radia', 'vpn'), ('Vint', 'vpn'),
    ('Donald', 'printer'),
    ('Hedy', 'phone'), ('Claude', 'phone'),
    ('Margaret', 'billing'),
    ('Alexander', 'fax');
"""

assignment = Service("assignment")


@assignment.step(NEW_TICKET, "assign")
async def assign(event: TicketCreated, hop: Hop[Ticket]) -> TicketAssigned:
    found = await hop.tx.execute(
        "SELECT name FROM expert WHERE skill = ? ORDER BY load, name LIMIT 1", (event.product,)
    )
    row = await found.fetchone()
    if row is None:
        raise Fail(f"nobody here knows the product {event.product!r}")
    expert: str = row[0]
    await hop.tx.execute("UPDATE expert SET load = load + 1 WHERE name = ?", (expert,))
    await hop.tx.execute("INSERT INTO assignment (ticket_id, expert) VALUES (?, ?)", (event.ticket_id, expert))
    hop.keep(ticket_id=event.ticket_id, expert=expert)
    return TicketAssigned(ticket_id=event.ticket_id, customer=event.customer, product=event.product, expert=expert)


@assignment.undo(NEW_TICKET, "assign")
async def free(hop: Hop[Ticket]) -> None:
    await hop.tx.execute("UPDATE expert SET load = load - 1 WHERE name = ?", (hop.kept["expert"],))
    await hop.tx.execute("DELETE FROM assignment WHERE ticket_id = ?", (hop.kept["ticket_id"],))
