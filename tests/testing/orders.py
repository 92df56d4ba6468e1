"""Workflows that fork and join, with services whose handlers note what they did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from stamp import All, Each, Fail, Hop, Service, Step, Workflow, merge
from stamp.joining import Joined


class Order(msgspec.Struct, kw_only=True):
    order: str
    receipt: str | None = None
    shelf: str | None = None
    weight: Annotated[int, merge("sum")] = 0
    notes: Annotated[list[str], merge("union")] = []
    clash: str = ""


class Ordered(msgspec.Struct):
    order: str


class Checked(msgspec.Struct):
    order: str


class Charged(msgspec.Struct):
    receipt: str


class Reserved(msgspec.Struct):
    shelf: str


class Shipped(msgspec.Struct):
    order: str


class Item(msgspec.Struct):
    name: str


class Picked(msgspec.Struct):
    name: str


class Weighed(msgspec.Struct):
    name: str


class Labelled(msgspec.Struct):
    name: str


class Packed(msgspec.Struct):
    name: str


def static(**join: Any) -> Workflow:
    """check → (charge ∥ reserve) → ship → tell."""
    return Workflow(
        "STATIC",
        version=1,
        state=Order,
        start=Ordered,
        deadline="48h",
        steps=[
            Step("check", service="shop", on=Ordered, emits=Checked, undo=True),
            Step("charge", service="payments", on=Checked, emits=Charged, undo=True, retry="2x 1s"),
            Step("reserve", service="warehouse", on=Checked, emits=Reserved, undo=True, retry="2x 1s"),
            Step(
                "ship", service="shipping", on=All(Charged, Reserved), emits=Shipped, undo=True, retry="2x 1s", **join
            ),
            Step("tell", service="mail", on=Shipped, retry="1x"),
        ],
    )


def dynamic(**join: Any) -> Workflow:
    """check → pick each item → ship."""
    return Workflow(
        "DYNAMIC",
        version=1,
        state=Order,
        start=Ordered,
        steps=[
            Step("check", service="shop", on=Ordered, emits=Item, undo=True),
            Step("pick", service="warehouse", on=Each(Item), emits=Picked, undo=True, retry="2x 1s"),
            Step("ship", service="shipping", on=All(Picked), emits=Shipped, retry="2x 1s", **join),
            Step("tell", service="mail", on=Shipped, retry="1x"),
        ],
    )


def independent() -> Workflow:
    """check → charge, and reserve on its own."""
    return Workflow(
        "STATIC",
        version=1,
        state=Order,
        start=Ordered,
        steps=[
            Step("check", service="shop", on=Ordered, emits=Checked, undo=True, branches="independent"),
            Step("charge", service="payments", on=Checked, emits=Charged, undo=True),
            Step("reserve", service="warehouse", on=Checked, emits=Reserved, undo=True),
        ],
    )


def nested() -> Workflow:
    """check → (charge ∥ split → pick each → (weigh ∥ label) → pack → gather) → ship."""
    return Workflow(
        "NESTED",
        version=1,
        state=Order,
        start=Ordered,
        steps=[
            Step("check", service="shop", on=Ordered, emits=Checked, undo=True),
            Step("charge", service="payments", on=Checked, emits=Charged, undo=True),
            Step("split", service="shop", on=Checked, emits=Item, undo=True),
            Step("pick", service="warehouse", on=Each(Item), emits=Picked, undo=True),
            Step("weigh", service="warehouse", on=Picked, emits=Weighed, undo=True),
            Step("label", service="warehouse", on=Picked, emits=Labelled, undo=True),
            Step("pack", service="warehouse", on=All(Weighed, Labelled), emits=Packed, undo=True),
            Step("gather", service="warehouse", on=All(Packed), emits=Reserved, undo=True),
            Step("ship", service="shipping", on=All(Charged, Reserved), emits=Shipped),
            Step("tell", service="mail", on=Shipped, retry="1x"),
        ],
    )


DONE: dict[str, Callable[[Any], Any]] = {
    "STATIC.check": lambda _: Checked("o"),
    "DYNAMIC.check": lambda _: [Item("a"), Item("b"), Item("c")],
    "NESTED.check": lambda _: Checked("o"),
    "charge": lambda _: Charged("r-1"),
    "reserve": lambda _: Reserved("s-1"),
    "split": lambda _: [Item("a"), Item("b")],
    "pick": lambda event: Picked(event.name),
    "weigh": lambda event: Weighed(event.name),
    "label": lambda event: Labelled(event.name),
    "pack": lambda event: Packed(event[Weighed].name),
    "gather": lambda event: Reserved(",".join(packed.name for packed in event.each(Packed))),
    "ship": lambda _: Shipped("o"),
    "tell": lambda _: None,
}


@dataclass
class House:
    """The services of one workflow. `refuse` names the steps that fail for business reasons."""

    flow: Workflow
    refuse: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    """Every handler that returned: `charge`, `pick:0`, `undo charge`."""
    joined: list[Joined] = field(default_factory=list)
    states: dict[str, Order] = field(default_factory=dict)
    change: dict[str, Callable[[Order], None]] = field(default_factory=dict)
    hold: dict[str, Any] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.services = {name: Service(name) for name in self.flow.services}
        for step in self.flow.steps:
            service = self.services[step.service]
            service.step(self.flow, step.name)(self._do(step.name))
            if step.undo:
                service.undo(self.flow, step.name)(self._undo(step.name))

    def _do(self, name: str) -> Any:
        made = DONE.get(f"{self.flow.name}.{name}") or DONE[name]

        async def run(event: Any, hop: Hop[Order]) -> Any:
            if name in self.hold:
                await self.hold[name]()
            label = f"{name}:{event.name}" if hasattr(event, "name") else name
            if {name, label} & self.refuse:
                raise Fail(f"{label} refused")
            if isinstance(event, Joined):
                self.joined.append(event)
            self.states[name] = hop.state
            if name in self.change:
                self.change[name](hop.state)
            hop.keep(label=label)
            self.calls.append(label)
            self.keys.append(hop.idempotency_key)
            return made(event)

        return run

    def _undo(self, name: str) -> Any:
        async def run(hop: Hop[Order]) -> None:
            self.calls.append(f"undo {hop.kept['label']}")
            self.keys.append(hop.idempotency_key)

        return run

    @property
    def all(self) -> list[Service]:
        return list(self.services.values())


ORDERED, STATE = Ordered("o"), Order(order="o")
