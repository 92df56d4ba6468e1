"""The parts of the example in one place."""

from __future__ import annotations

from common.example import Example
from common.styles import with_owner

from tickets import assignment, notification, resolution, tickets
from tickets.workflow import NEW_TICKET, TicketSubmitted

SERVICES = with_owner(
    {
        "tickets": tickets.tickets,
        "assignment": assignment.assignment,
        "resolution": resolution.resolution,
        "notification": notification.notification,
    },
    NEW_TICKET,
)

EXAMPLE = Example(
    name="tickets",
    workflow=NEW_TICKET,
    services=SERVICES,
    entry=tickets.tickets,
    tables={
        "tickets": tickets.DDL,
        "assignment": assignment.DDL,
        "resolution": resolution.DDL,
        "notification": notification.DDL,
    },
    line=TicketSubmitted,
    key="ticket_id",
    receive=tickets.receive,
    inputs=("tickets.jsonl", "bad.jsonl"),
    stores=frozenset({"sqlite"}),
)
