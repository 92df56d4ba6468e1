"""A small ticket workflow of three services, whose handlers note what they did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from stamp import Fail, Hop, Service, Step, Workflow


class Ticket(msgspec.Struct, kw_only=True):
    ticket: str
    expert: str | None = None
    solution: str | None = None


class Opened(msgspec.Struct):
    ticket: str


class Assigned(msgspec.Struct):
    ticket: str
    expert: str


class Solved(msgspec.Struct):
    ticket: str


class Told(msgspec.Struct):
    ticket: str


def workflow(version: int = 1, *, deadline: str | None = "48h", **more: Any) -> Workflow:
    return Workflow(
        "TICKET",
        version=version,
        state=Ticket,
        start=Opened,
        deadline=deadline,
        steps=[
            Step("assign", service="assignment", on=Opened, emits=Assigned, undo=True, retry="3x 1s..60s"),
            Step("solve", service="resolution", on=Assigned, emits=Solved, pivot=True, retry="3x 1m"),
            Step("tell", service="notification", on=Solved, emits=Told, retry="2x 1s"),
        ],
        **more,
    )


TICKET = workflow()


@dataclass
class Desk:
    """Three services, made anew for each test."""

    flow: Workflow = TICKET
    calls: list[tuple[str, int]] = field(default_factory=list)
    """Step (or `undo <step>`) and attempt of every handler that was entered."""
    refuse: bool = False

    def __post_init__(self) -> None:
        self.assignment = Service("assignment")
        self.resolution = Service("resolution")
        self.notification = Service("notification")
        self.assignment.step(self.flow, "assign")(self.assign)
        self.assignment.undo(self.flow, "assign")(self.unassign)
        self.resolution.step(self.flow, "solve")(self.solve)
        self.notification.step(self.flow, "tell")(self.tell)

    def instead(self, step: str, handler: Any) -> Desk:
        """This desk with another handler for a step."""
        setattr(self, step, handler)
        self.__post_init__()
        return self

    @property
    def services(self) -> tuple[Service, ...]:
        return (self.assignment, self.resolution, self.notification)

    async def assign(self, event: Opened, hop: Hop[Ticket]) -> Assigned:
        self.calls.append(("assign", hop.attempt))
        hop.state.expert = "Ada"
        hop.keep(expert="Ada")
        return Assigned(event.ticket, "Ada")

    async def unassign(self, hop: Hop[Ticket]) -> None:
        self.calls.append((f"undo assign of {hop.kept['expert']}", hop.attempt))
        hop.state.expert = None

    async def solve(self, event: Assigned, hop: Hop[Ticket]) -> Solved:
        self.calls.append(("solve", hop.attempt))
        if self.refuse:
            raise Fail("nobody knows how")
        hop.state.solution = "off and on"
        return Solved(event.ticket)

    async def tell(self, event: Solved, hop: Hop[Ticket]) -> Told:
        self.calls.append(("tell", hop.attempt))
        return Told(event.ticket)


OPENED = Opened("t-1")
STATE = Ticket(ticket="t-1")
