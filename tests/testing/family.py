"""A workflow that runs another in one of its steps, with services whose handlers note what they did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stamp import All, Fail, FrontController, Hop, Orchestrator, Service, Stamped, Stateless, Step, Workflow
from stamp.style import Style


class Ordered(msgspec.Struct):
    order: str


class Created(msgspec.Struct):
    order: str


class Asked(msgspec.Struct):
    order: str


class Picked(msgspec.Struct):
    order: str


class Packed(msgspec.Struct):
    order: str


class Prepared(msgspec.Struct):
    order: str


class Charged(msgspec.Struct):
    order: str


class Shipped(msgspec.Struct):
    order: str


STYLES: dict[str, tuple[Style, Style]] = {
    "stamp": (Stamped(), Stamped()),
    "front-controller": (FrontController("shop"), FrontController("shelves")),
    "orchestrator": (Orchestrator("shop-desk"), Orchestrator("shelf-desk")),
    "stateless": (Stateless(), Stateless()),
}
"""Each style for the workflow outside, and for the one inside."""


def inside(style: Style | None = None, **more: Any) -> Workflow:
    """pick → prepare."""
    return Workflow(
        "INSIDE",
        version=1,
        start=Asked,
        style=style,
        steps=[
            Step("pick", service="shelves", on=Asked, emits=Picked, undo=True, retry="2x 1s"),
            Step("wrap", service="packing", on=Picked, emits=Prepared, undo=True, retry="2x 1s"),
        ],
        **more,
    )


def outside(inner: Workflow, style: Style | None = None, *, deadline: str | None = "48h") -> Workflow:
    """create → prepare, which runs the other → ship."""
    return Workflow(
        "OUTSIDE",
        version=1,
        start=Ordered,
        style=style,
        deadline=deadline,
        steps=[
            Step("create", service="shop", on=Ordered, emits=Created, undo=True),
            Step("prepare", service="shop", on=Created, emits=Prepared, runs=inner, undo=True),
            Step("ship", service="shipping", on=Prepared, emits=Shipped, retry="2x 1s"),
        ],
    )


def forked(inner: Workflow, style: Style | None = None) -> Workflow:
    """create → (charge ∥ prepare, which runs the other) → ship."""
    return Workflow(
        "OUTSIDE",
        version=1,
        start=Ordered,
        style=style,
        steps=[
            Step("create", service="shop", on=Ordered, emits=Created, undo=True),
            Step("charge", service="payments", on=Created, emits=Charged, undo=True),
            Step("prepare", service="shop", on=Created, emits=Prepared, runs=inner, undo=True),
            Step("ship", service="shipping", on=All(Charged, Prepared), emits=Shipped),
        ],
    )


def between(inner: Workflow) -> Workflow:
    """A child that has a child: pack, which runs the other → seal."""
    return Workflow(
        "BETWEEN",
        version=1,
        start=Packed,
        steps=[
            Step("pack", service="packing", on=Packed, emits=Prepared, runs=inner, undo=True),
        ],
    )


MADE: dict[str, Callable[[Any], Any]] = {
    "create": lambda event: Created(event.order),
    "charge": lambda event: Charged(event.order),
    "pick": lambda event: Picked(event.order),
    "wrap": lambda event: Prepared(event.order),
    "ship": lambda _: Shipped("o"),
}


@dataclass
class Family:
    """The services of workflows that run each other, the outermost first. `refuse` names the steps that fail."""

    flows: tuple[Workflow, ...]
    refuse: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    """Every handler that returned: `pick`, `undo pick`."""
    keys: list[str] = field(default_factory=list)
    made: dict[str, Callable[[Any], Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.made = {**MADE, **self.made}
        names = dict.fromkeys(name for flow in self.flows for name in (*flow.services, flow.style.owner) if name)
        self.services = {name: Service(name) for name in names}
        for flow in self.flows:
            if flow.style.owner:
                self.services[flow.style.owner].owns(flow)
            for step in flow.steps:
                self._register(flow, step)

    def _register(self, flow: Workflow, step: Step) -> None:
        service = self.services[step.service]
        service.step(flow, step.name)(self._do(step))
        if step.undo and step.runs is None:
            service.undo(flow, step.name)(self._undo(step.name))

    def _do(self, step: Step) -> Any:
        start = next((flow.start for flow in self.flows if flow is step.runs), None)
        made = self.made.get(step.name) or (lambda event: start(event.order) if start else None)

        async def run(event: Any, hop: Hop[Any]) -> Any:
            if step.name in self.refuse:
                raise Fail(f"{step.name} refused")
            self.calls.append(step.name)
            self.keys.append(hop.idempotency_key)
            return made(event)

        return run

    def _undo(self, name: str) -> Any:
        async def run(hop: Hop[Any]) -> None:
            self.calls.append(f"undo {name}")
            self.keys.append(hop.idempotency_key)

        return run

    @property
    def outer(self) -> Workflow:
        return self.flows[0]

    @property
    def all(self) -> list[Service]:
        return list(self.services.values())


def family(outer: str = "stamp", inner: str = "stamp", **more: Any) -> Family:
    """A parent and a child, by the names of their styles."""
    child = inside(STYLES[inner][1])
    return Family((outside(child, STYLES[outer][0]), child), **more)


ORDERED = Ordered("o")
FORTH = ["create", "prepare", "pick", "wrap", "ship"]
"""What the handlers of a parent and a child note where all goes well."""
BACK = ["undo wrap", "undo pick", "undo create"]
