"""NEW_TICKET as a table: from the submitted ticket to the closed one, and the way back while there is one.

submitted -> create -> assign -> resolve (pivot) -> notify -> close -> closed
             tickets   assignment  resolution       notification  tickets
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from common.styles import chosen

from stamp import Step, Workflow
from stamp.resources import schemas

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]


class Ticket(msgspec.Struct, kw_only=True):
    """The state: what a run is about, for whoever looks at it. What a step needs comes with its event, in any style."""

    ticket_id: Word
    customer: Line
    product: Word


class TicketSubmitted(msgspec.Struct, kw_only=True):
    """Somebody asked for help."""

    ticket_id: Word
    customer: Line
    product: Word
    subject: Line
    problem: Text


class TicketCreated(msgspec.Struct, kw_only=True):
    """It is written down and open. The long text stays where that is; what later services need goes with the event."""

    ticket_id: Word
    customer: Line
    product: Word
    subject: Line


class TicketAssigned(msgspec.Struct, kw_only=True):
    """An expert has it."""

    ticket_id: Word
    customer: Line
    product: Word
    expert: Word


class TicketResolved(msgspec.Struct, kw_only=True):
    """The expert has done the work."""

    ticket_id: Word
    customer: Line
    answer: Text


class NotificationSent(msgspec.Struct, kw_only=True):
    """The customer knows."""

    ticket_id: Word
    address: Line


class TicketClosed(msgspec.Struct, kw_only=True):
    """Nothing is left to do."""

    ticket_id: Word


NEW_TICKET = Workflow(
    "NEW_TICKET",
    version=1,
    state=Ticket,
    start=TicketSubmitted,
    deadline="48h",
    style=chosen(controller="tickets", desk="ticket-desk"),
    schemas=schemas(),
    steps=[
        Step("create", service="tickets", on=TicketSubmitted, emits=TicketCreated, undo=True),
        Step("assign", service="assignment", on=TicketCreated, emits=TicketAssigned, undo=True),
        Step("resolve", service="resolution", on=TicketAssigned, emits=TicketResolved, pivot=True),
        Step("notify", service="notification", on=TicketResolved, emits=NotificationSent, retry="2x 100ms"),
        Step("close", service="tickets", on=NotificationSent, emits=TicketClosed),
    ],
)
