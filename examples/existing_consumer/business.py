"""What the application is for. Not one line of it changes."""

from __future__ import annotations

from typing import Any

import msgspec

EXCHANGE = "HELPDESK"
QUEUE = "helpdesk.new-tickets"
TABLES = "CREATE TABLE IF NOT EXISTS assignment (ticket_id TEXT NOT NULL, expert TEXT NOT NULL)"


class TicketCreated(msgspec.Struct):
    ticket_id: str
    product: str


class TicketAssigned(msgspec.Struct):
    ticket_id: str
    expert: str


async def assign(event: TicketCreated, db: Any) -> TicketAssigned:
    """Find an expert and write it down."""
    expert = {"mail": "Barbara", "vpn": "Radia"}.get(event.product, "Ada")
    await db.execute("INSERT INTO assignment VALUES (?, ?)", (event.ticket_id, expert))
    return TicketAssigned(ticket_id=event.ticket_id, expert=expert)
