"""The ticket workflows that are measured: a chain of four services, and a line long enough to fill a history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from benchmarks.texts import DESCRIPTION, SERVICES, problem
from stamp import Hop, Service, Stamped, Step, Workflow
from stamp.events import Event, RunEnded
from stamp.style import Style

__all__ = ["DESCRIPTION", "SERVICES", "problem"]

STAMPED = Stamped()


@dataclass(frozen=True, slots=True)
class Start:
    """A ticket that is ready to set off."""

    run: str
    send: Callable[[], Awaitable[object]]
    """Publishes its first message; done when that is confirmed."""


class Ticket(msgspec.Struct, kw_only=True):
    """The state that travels in the stamp."""

    ticket_id: str
    product: str
    customer: str
    priority: int = 3
    expert: str | None = None
    hops: int = 0


class _Event(msgspec.Struct):
    ticket_id: str
    problem: str


class TicketOpened(_Event): ...


class TicketCreated(_Event): ...


class TicketAssigned(_Event): ...


class TicketResolved(_Event): ...


class TicketClosed(_Event): ...


CHAIN = (TicketOpened, TicketCreated, TicketAssigned, TicketResolved, TicketClosed)
"""The events of the chain in their order; each service consumes one and emits the next."""


def ticket(number: int = 1) -> Ticket:
    """A state as it is when a run starts."""
    return Ticket(ticket_id=f"T-{number:06d}", product="router-9000", customer="Grünwald & Söhne")


def chain(name: str, style: Style = STAMPED) -> Workflow:
    """Four steps at four services, one event after the other."""
    steps = [
        Step(f"step-{place}", service=service, on=CHAIN[place], emits=CHAIN[place + 1])
        for place, service in enumerate(SERVICES)
    ]
    return Workflow(name, version=1, state=Ticket, start=CHAIN[0], deadline="48h", steps=steps, style=style)


def line(length: int) -> Workflow:
    """A signed workflow of `length` steps at one service, no step twice."""
    events = [msgspec.defstruct(f"Event{n}", [], bases=(_Event,)) for n in range(length + 1)]
    steps = [Step(f"step-{n}", service="tickets", on=events[n], emits=events[n + 1]) for n in range(length)]
    return Workflow(
        "TICKET_LINE",
        version=1,
        state=Ticket,
        start=events[0],
        deadline="48h",
        steps=steps,
        hop_guard=length,
        signed=True,
    )


class Tally:
    """Counts runs that passed their last handler, and those whose end their owner has noted."""

    def __init__(self) -> None:
        self.ended = 0
        self.noted = 0


def services(workflow: Workflow, tally: Tally) -> list[Service]:
    """The four services of the chain; each handler notes its name in the state and passes the ticket on.

    Behind them the owner of the runs, if the workflow's style has one.
    """
    four = [_service(workflow, place, tally) for place in range(len(SERVICES))]
    return four if workflow.style.owner is None else [*four, _owner(workflow, workflow.style.owner, tally)]


def _owner(workflow: Workflow, name: str, tally: Tally) -> Service:
    owner = Service(name)
    owner.owns(workflow)

    def note(event: Event) -> None:
        tally.noted += isinstance(event, RunEnded)

    owner.observers.append(note)
    return owner


def _service(workflow: Workflow, place: int, tally: Tally) -> Service:
    service = Service(SERVICES[place])
    emitted = CHAIN[place + 1]
    last = emitted is CHAIN[-1]

    @service.step(workflow, f"step-{place}")
    async def handle(event: _Event, hop: Hop[Ticket]) -> _Event:
        hop.state.expert = service.name
        hop.state.hops += 1
        tally.ended += last
        return emitted(event.ticket_id, event.problem)

    return service
