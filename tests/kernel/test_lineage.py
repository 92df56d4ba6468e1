"""What a step may ask of the workflow that it runs is checked when the table is defined."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from brokers.contract import Binding, Queue
from stamp import All, Each, Service, Step, Workflow
from stamp.errors import DefinitionError
from stamp.layout import step_parts


class Ordered(msgspec.Struct): ...


class Asked(msgspec.Struct): ...


class Left(msgspec.Struct): ...


class Right(msgspec.Struct): ...


class Done(msgspec.Struct): ...


class Refused(msgspec.Struct): ...


class Shipped(msgspec.Struct): ...


def inner(*steps: Step, name: str = "INNER", **more: Any) -> Workflow:
    lines = steps or (Step("do", service="a", on=Asked, emits=Done, undo=True),)
    return Workflow(name, version=1, start=Asked, steps=lines, **more)


def outer(runs: Workflow, *, emits: Any = Done, name: str = "OUTER", **step: Any) -> Workflow:
    line = Step("prepare", service="shop", on=Ordered, emits=emits, runs=runs, **step)
    return Workflow(name, version=1, start=Ordered, steps=[line])


def refusal(make: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        make()
    return str(caught.value)


def test_a_step_names_the_ends_of_what_it_runs() -> None:
    flow = inner(Step("do", service="a", on=Asked, emits=(Done, Refused)))
    assert outer(flow, emits=(Refused, Done)).inner == (flow,)


def test_a_step_may_emit_nothing_whatever_the_child_ends_in() -> None:
    assert outer(inner(), emits=None).ends == (None,)


def test_an_event_in_which_the_child_cannot_end_is_refused_with_the_line_of_the_table() -> None:
    said = refusal(lambda: outer(inner(), emits=Shipped))
    assert "test_lineage.py:" in said
    assert 'Step("prepare"): emits Shipped, and INNER v1 can\'t end in it (fix: INNER v1 ends in Done: emit' in said


def test_an_event_of_the_same_name_and_another_type_is_refused() -> None:
    other = msgspec.defstruct("Done", [])
    assert "can't end in it" in refusal(lambda: outer(inner(), emits=other))


def test_every_end_of_the_child_has_to_be_among_the_events() -> None:
    flow = inner(Step("do", service="a", on=Asked, emits=(Done, Refused)))
    assert "emits Done, and INNER v1 can also end in Refused" in refusal(lambda: outer(flow))


def test_a_child_that_ends_in_nothing_is_refused_where_an_event_is_emitted() -> None:
    flow = inner(Step("do", service="a", on=Asked))
    assert "INNER v1 ends in nothing" in refusal(lambda: outer(flow))


def test_a_child_whose_branches_end_each_for_itself_is_refused() -> None:
    lines = [Step("left", service="a", on=Asked, emits=Left), Step("right", service="b", on=Asked, emits=Right)]
    flow = inner(*lines, branches="independent")
    assert "whose branches end each for itself" in refusal(lambda: outer(flow, emits=(Left, Right)))


def test_a_child_that_joins_its_branches_is_fine() -> None:
    lines = [
        Step("left", service="a", on=Asked, emits=Left, undo=True),
        Step("right", service="b", on=Asked, emits=Right, undo=True),
        Step("meet", service="a", on=All(Left, Right), emits=Done),
    ]
    assert outer(inner(*lines), undo=True).step("prepare").undo


def test_what_a_child_ends_in_is_no_list() -> None:
    lines = [
        Step("prepare", service="shop", on=Ordered, emits=Done, runs=inner()),
        Step("ship", service="shop", on=Each(Done), emits=Shipped),
        Step("meet", service="shop", on=All(Shipped)),
    ]
    assert "ends in one Done, not in a list" in refusal(
        lambda: Workflow("OUTER", version=1, start=Ordered, steps=lines)
    )


def test_a_child_with_a_pivot_cannot_be_undone() -> None:
    flow = inner(Step("do", service="a", on=Asked, emits=Done, pivot=True))
    assert "no way back in INNER v1 behind its pivot 'do'" in refusal(lambda: outer(flow, undo=True))
    assert outer(flow, pivot=True).step("prepare").pivot


def test_a_child_without_any_undo_cannot_be_undone() -> None:
    flow = inner(Step("do", service="a", on=Asked, emits=Done))
    assert "undo=True, and no step of INNER v1 can be undone" in refusal(lambda: outer(flow, undo=True))


def test_workflows_that_run_each_other_are_refused() -> None:
    first = inner(name="OUTER")
    second = inner(Step("again", service="a", on=Asked, emits=Done, runs=first))
    assert "workflows run each other: OUTER -> INNER -> OUTER" in refusal(lambda: outer(second))


@pytest.mark.parametrize(
    ("more", "what"),
    [({"timeout": "1s"}, "runs= and timeout="), ({"queue": "mine"}, "runs= and queue=")],
    ids=["timeout", "queue"],
)
def test_a_step_that_runs_a_workflow_has_neither_timeout_nor_queue(more: dict[str, Any], what: str) -> None:
    assert what in refusal(lambda: outer(inner(), **more))


def test_a_join_runs_no_workflow() -> None:
    assert "runs= and on=All(...)" in refusal(
        lambda: Step("meet", service="shop", on=All(Left, Right), emits=Done, runs=inner())
    )


def test_its_undo_needs_no_handler_and_takes_none() -> None:
    flow, shop = outer(inner(), undo=True), Service("shop")

    @shop.step(flow, "prepare")
    async def prepare(event: Ordered, hop: Any) -> Asked:
        return Asked()

    assert [station.step for station in shop.stations()] == ["prepare"]
    assert "is undone by undoing what it runs" in refusal(lambda: shop.undo(flow, "prepare"))


def test_the_service_of_the_step_declares_what_the_child_needs() -> None:
    flow, shop = outer(inner()), Service("shop")

    @shop.step(flow, "prepare")
    async def prepare(event: Ordered, hop: Any) -> Asked:
        return Asked()

    queues = [part.name for part in shop.topology() if isinstance(part, Queue)]
    assert {"a.INNER.do", "shop.OUTER.prepare", "shop.OUTER.prepare.ends"} <= set(queues)


def test_the_ends_of_the_child_have_a_queue() -> None:
    flow = outer(inner())
    keys = [part.key for part in step_parts(flow, flow.step("prepare")) if isinstance(part, Binding)]
    assert keys[1:] == ["end.completed", "end.compensated", "end.failed"]


def test_the_pauses_of_the_child_count_against_the_deadline() -> None:
    slow = inner(Step("do", service="a", on=Asked, emits=Done, retry="3x 1h"))
    line = Step("prepare", service="shop", on=Ordered, emits=Done, runs=slow, retry="1x")
    flow = Workflow("OUTER", version=1, start=Ordered, steps=[line], deadline="1h")
    assert [one.code for one in flow.findings] == ["L005"]
