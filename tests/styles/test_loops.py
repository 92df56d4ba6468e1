"""Steps that run several times: visits are counted where no history travels, and the stamp does not grow with them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stamp import All, Fail, Hop, Service, Step, Workflow
from stamp.codec import STAMP
from stamp.style import Style
from stamp.testing.runner import OpenBench, SyncBench
from tests.styles.stages import COUNTED, OWNED, label
from tests.testing.orders import ORDERED, STATE, Charged, Checked, Order, Ordered, Reserved, Shipped


class Again(msgspec.Struct):
    turn: int


class Over(msgspec.Struct):
    turn: int


COUNTING = pytest.mark.parametrize("style", COUNTED, ids=label)
OWNERS = pytest.mark.parametrize("style", OWNED, ids=label)


class Mill:
    """begin → turn (again and again) → close. The handlers note the key that they would give to others."""

    def __init__(self, style: Style, *, turns: int, most: int = 30, refuse: bool = False) -> None:
        steps = [
            Step("begin", service="shop", on=Ordered, emits=Again, undo=True),
            Step("turn", service="mill", on=Again, emits=(Again, Over), undo=True, max_visits=most, retry="1x"),
            Step("close", service="mill", on=Over, retry="1x"),
        ]
        self.flow = Workflow("MILL", version=1, state=Order, start=Ordered, steps=steps, style=style)
        self.turns, self.refuse = turns, refuse
        self.undone: list[int] = []
        self.keys: list[str] = []
        self.services = {name: Service(name) for name in dict.fromkeys([*self.flow.services, style.owner or "shop"])}
        shop, mill = self.services["shop"], self.services["mill"]
        shop.step(self.flow, "begin")(self.begin)
        shop.undo(self.flow, "begin")(self.unbegin)
        mill.step(self.flow, "turn")(self.turn)
        mill.undo(self.flow, "turn")(self.unturn)
        mill.step(self.flow, "close")(self.close)
        if style.owner:
            self.services[style.owner].owns(self.flow)

    async def begin(self, event: Ordered, hop: Hop[Any]) -> Again:
        self.keys.append(hop.idempotency_key)
        return Again(1)

    async def unbegin(self, hop: Hop[Any]) -> None:
        self.undone.append(0)

    async def turn(self, event: Again, hop: Hop[Any]) -> Again | Over:
        self.keys.append(hop.idempotency_key)
        hop.keep(turn=event.turn)
        return Over(event.turn) if event.turn == self.turns else Again(event.turn + 1)

    async def unturn(self, hop: Hop[Any]) -> None:
        self.undone.append(hop.kept["turn"])

    async def close(self, event: Over, hop: Hop[Any]) -> None:
        if self.refuse:
            raise Fail("no")


def played(bench: OpenBench, mill: Mill) -> tuple[SyncBench, str]:
    table = bench(*mill.services.values())
    run = table.start(mill.flow, ORDERED, state=STATE)
    table.settle()
    return table, run


@COUNTING
def test_a_step_runs_as_often_as_it_is_asked_to_each_visit_with_a_key_of_its_own(
    bench: OpenBench, style: Style
) -> None:
    mill = Mill(style, turns=5)
    table, run = played(bench, mill)
    assert (table.run(run).status, len(set(mill.keys))) == ("completed", 6)


@COUNTING
def test_more_visits_than_allowed_turn_the_run_and_each_is_undone_with_what_it_kept(
    bench: OpenBench, style: Style
) -> None:
    mill = Mill(style, turns=9, most=4)
    table, run = played(bench, mill)
    found = table.run(run)
    assert (found.status, mill.undone) == ("compensated", [4, 3, 2, 1, 0])
    assert found.error is not None
    assert found.error["type"] == "TooManyVisits"


@COUNTING
def test_a_failure_behind_a_loop_undoes_every_visit_last_first(bench: OpenBench, style: Style) -> None:
    mill = Mill(style, turns=3, refuse=True)
    table, run = played(bench, mill)
    assert (table.run(run).status, mill.undone) == ("compensated", [3, 2, 1, 0])


@OWNERS
@pytest.mark.parametrize("refuse", [False, True])
def test_a_slim_stamp_does_not_grow_with_the_run(bench: OpenBench, style: Style, refuse: bool) -> None:
    mill = Mill(style, turns=25, refuse=refuse)
    table, run = played(bench, mill)
    sizes = [len(str(message.message.headers[STAMP])) for message in table.published if message.run == run]
    assert len(sizes) > 25
    assert max(sizes) < 2 * min(sizes) + 300


class Gate:
    """A loop around a fork: split → (left ∥ right) → meet, which sends it round again."""

    def __init__(self, style: Style, *, rounds: int) -> None:
        steps = [
            Step("split", service="shop", on=Ordered, emits=Checked, undo=True, max_visits=9),
            Step("left", service="mill", on=Checked, emits=Charged, undo=True, max_visits=9),
            Step("right", service="mill", on=Checked, emits=Reserved, undo=True, max_visits=9),
            Step("meet", service="shop", on=All(Charged, Reserved), emits=(Ordered, Shipped), max_visits=9),
            Step("last", service="mill", on=Shipped, retry="1x"),
        ]
        self.flow = Workflow("GATE", version=1, state=Order, start=Ordered, steps=steps, style=style)
        self.left, self.calls = rounds, [""][:0]
        self.services = {name: Service(name) for name in dict.fromkeys([*self.flow.services, style.owner or "shop"])}
        for step in self.flow.steps:
            service = self.services[step.service]
            service.step(self.flow, step.name)(self._do(step.name))
            if step.undo:
                service.undo(self.flow, step.name)(self._undo(step.name))
        if style.owner:
            self.services[style.owner].owns(self.flow)

    def _do(self, name: str) -> Any:
        made = {"split": Checked("o"), "left": Charged("r"), "right": Reserved("s")}

        async def run(event: Any, hop: Hop[Any]) -> Any:
            self.calls.append(name)
            if name == "last":
                raise Fail("no")
            if name == "meet":
                self.left -= 1
                return Ordered("o") if self.left else Shipped("o")
            return made[name]

        return run

    def _undo(self, name: str) -> Any:
        async def run(hop: Hop[Any]) -> None:
            self.calls.append(f"undo {name}")

        return run


@COUNTING
def test_a_fork_in_a_loop_opens_and_closes_once_a_round_and_goes_back_round_by_round(
    bench: OpenBench, style: Style
) -> None:
    gate = Gate(style, rounds=3)
    table = bench(*gate.services.values())
    run = table.start(gate.flow, ORDERED, state=STATE)
    table.settle()
    assert (table.run(run).status, table.held) == ("compensated", ())
    rounds = [sorted(gate.calls[number : number + 4]) for number in (0, 4, 8)]
    assert rounds == [["left", "meet", "right", "split"]] * 3
    back = [call.removeprefix("undo ") for call in gate.calls[13:]]
    assert [sorted(back[number : number + 3]) for number in (0, 3, 6)] == [["left", "right", "split"]] * 3
    assert [back[number] for number in (2, 5, 8)] == ["split"] * 3
