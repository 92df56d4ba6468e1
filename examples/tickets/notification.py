"""The notification service: tells the customer. A row of `message` stands for a letter handed to the mail system."""

from __future__ import annotations

from stamp import Hop, Service
from tickets.workflow import NEW_TICKET, NotificationSent, Ticket, TicketResolved

DDL = """
CREATE TABLE IF NOT EXISTS message (
    id        INTEGER PRIMARY KEY,
    ticket_id TEXT NOT NULL,
    address   TEXT NOT NULL,
    text      TEXT NOT NULL,
    key       TEXT NOT NULL
);
"""

BOUNCES = ".invalid"
"""The top-level domain that never exists (RFC 2606)."""

notification = Service("notification")


class BounceError(Exception):
    """The customer's mail system does not take it."""


@notification.step(NEW_TICKET, "notify")
async def notify(event: TicketResolved, hop: Hop[Ticket]) -> NotificationSent:
    if event.customer.endswith(BOUNCES):
        raise BounceError(f"no mail system takes letters to {event.customer}")
    await hop.tx.execute(
        "INSERT INTO message (ticket_id, address, text, key) VALUES (?, ?, ?, ?)",
        (event.ticket_id, event.customer, event.answer, hop.idempotency_key),
    )
    return NotificationSent(ticket_id=event.ticket_id, address=event.customer)
