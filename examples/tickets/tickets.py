"""The tickets service: takes tickets in, writes them down, closes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import msgspec

from stamp import Fail, Hop, Service
from stamp.service import LocalTransaction
from tickets.workflow import (
    NEW_TICKET,
    NotificationSent,
    Ticket,
    TicketClosed,
    TicketCreated,
    TicketSubmitted,
)

DDL = """
CREATE TABLE IF NOT EXISTS submission (
    ticket_id TEXT PRIMARY KEY,
    digest    TEXT NOT NULL,
    run       TEXT NOT NULL
);
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


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a ticket that came in, and the run that takes care of it."""

    outcome: Literal["started", "duplicate", "conflict"]
    run: str


async def receive(arrived: Iterable[TicketSubmitted]) -> list[Receipt]:
    """Start a run for each ticket, once: its id is taken in the transaction that starts the run.

    The same ticket again is a duplicate; another ticket under an id that is taken is a conflict.
    """
    async with tickets.transaction() as tx:
        return [await _take_in(tx, ticket) for ticket in arrived]


async def _take_in(tx: LocalTransaction, ticket: TicketSubmitted) -> Receipt:
    digest = sha256(msgspec.json.encode(ticket)).hexdigest()
    known = await tx.execute("SELECT digest, run FROM submission WHERE ticket_id = ?", (ticket.ticket_id,))
    row = await known.fetchone()
    if row is not None:
        return Receipt("duplicate" if row[0] == digest else "conflict", row[1])
    state = Ticket(ticket_id=ticket.ticket_id, customer=ticket.customer, product=ticket.product)
    run = await tx.start(NEW_TICKET, ticket, state=state)
    await tx.execute("INSERT INTO submission VALUES (?, ?, ?)", (ticket.ticket_id, digest, run))
    return Receipt("started", run)


@tickets.step(NEW_TICKET, "create")
async def create(event: TicketSubmitted, hop: Hop[Ticket]) -> TicketCreated:
    await hop.tx.execute(
        "INSERT INTO ticket (ticket_id, customer, product, subject, problem, status) VALUES (?, ?, ?, ?, ?, 'open')",
        (event.ticket_id, event.customer, event.product, event.subject, event.problem),
    )
    return TicketCreated(ticket_id=event.ticket_id, subject=event.subject)


@tickets.undo(NEW_TICKET, "create")
async def reject(hop: Hop[Ticket]) -> None:
    error = hop.stamp.error or {}
    await hop.tx.execute(
        "UPDATE ticket SET status = 'rejected', reason = ? WHERE ticket_id = ?",
        (error.get("message"), hop.state.ticket_id),
    )


@tickets.step(NEW_TICKET, "close")
async def close(event: NotificationSent, hop: Hop[Ticket]) -> TicketClosed:
    if not any(entry.step == "resolve" and entry.outcome == "ok" for entry in hop.history):
        raise Fail("nobody has worked on this ticket, it can't be closed")
    await hop.tx.execute("UPDATE ticket SET status = 'closed' WHERE ticket_id = ?", (event.ticket_id,))
    return TicketClosed(ticket_id=event.ticket_id)
