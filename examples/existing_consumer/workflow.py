"""New beside the application: the table that it takes part in, its step, and the service that comes after it."""

from __future__ import annotations

from existing_consumer.business import EXCHANGE, QUEUE, TicketAssigned, TicketCreated, assign
from stamp import Hop, Service, Step, Workflow

HELPDESK = Workflow(
    EXCHANGE,
    version=1,
    start=TicketCreated,
    steps=[
        Step("assign", service="assignment", on=TicketCreated, emits=TicketAssigned, queue=QUEUE),
        Step("tell", service="mail", on=TicketAssigned),
    ],
)

assignment = Service("assignment")
mail = Service("mail")


@assignment.step(HELPDESK, "assign")
async def step(event: TicketCreated, hop: Hop[dict[str, object]]) -> TicketAssigned:
    return await assign(event, hop.tx)


@mail.step(HELPDESK, "tell")
async def tell(event: TicketAssigned, hop: Hop[dict[str, object]]) -> None:
    print(f"{event.expert} looks after ticket {event.ticket_id} (run {hop.run_id})")
