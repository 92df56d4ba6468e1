"""What the table refuses about forks and joins, and where a message's place in a fork comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from brokers.contract import Message
from stamp.beginning import begin
from stamp.branching import branch_of, depth, fork_of, natural, place_of, within
from stamp.codec import Arrival
from stamp.decision import Done, Failed, Hold, Position, decide, refusal
from stamp.errors import DefinitionError, StampInvalid
from stamp.layout import step_parts
from stamp.placing import placed
from stamp.reading.graph import edges
from stamp.workflow import All, Each, Step, Workflow

NOW = 1_763_900_000.25
RUN = "019a0000-0000-7000-8000-000000000001"
A, B, C, D, E, F = (msgspec.defstruct(name, []) for name in "ABCDEF")


def flow(*steps: Step, start: type = A, **more: Any) -> Workflow:
    return Workflow("FLOW", version=1, start=start, steps=steps, **more)


def step(name: str, on: Any, emits: Any = None, **more: Any) -> Step:
    return Step(name, service="one", on=on, emits=emits, **more)


FORK = (step("a", A, B), step("b", B, C), step("c", B, D), step("d", All(C, D), E, undo=True))

WRONG: dict[str, tuple[str, Sequence[Step]]] = {
    "never joins": ("the fork at B never joins", FORK[:3]),
    "one branch ends early": (
        r"may end its branch here, and .*Step\(\"d\"\) would wait for ever",
        (FORK[0], step("b", B, (C, F)), *FORK[2:]),
    ),
    "a join of no fork": ("joins B, which comes from no fork", (step("a", A, B), step("d", All(B)))),
    "two joins of one fork": (
        "the fork at B is already joined by",
        (*FORK[:3], step("d", All(C), E), step("e", All(D), F)),
    ),
    "an event to a join and a step": ("joins C, which .* consumes", (*FORK, step("e", C))),
    "one join for two depths": (
        "is reached both",
        (step("a", A, B), step("b", B, C), step("c", B, E), step("e", E, D), step("f", E, F), step("d", All(C, D, F))),
    ),
    "a list for two steps": (
        "is already consumed by",
        (step("a", A, B), step("b", Each(B), C), step("c", B, D), step("d", All(C, D))),
    ),
    "a pivot in a fork": ("a pivot in a fork that joins", (FORK[0], step("b", B, C, pivot=True), *FORK[2:])),
    "independent and joined": (
        "joins branches that were declared independent",
        (step("a", A, B, branches="independent"), *FORK[1:]),
    ),
    "a way back out of a fork": (
        "is reached both",
        (step("a", A, B, max_visits=2), step("b", B, (C, A), max_visits=2), *FORK[2:]),
    ),
    "a list to start with": ("the start event is one", (step("a", Each(A), B), step("d", All(B)))),
    "a step called start": ("the start event forks", (step("start", A, B), step("b", A, C), step("d", All(B, C)))),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_fork_is_refused_where_it_is_defined(name: str) -> None:
    words, steps = WRONG[name]
    with pytest.raises(DefinitionError, match=words):
        flow(*steps)


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("missing= is for a join", {"on": A, "missing": "fail", "timeout": "1h"}),
        ("and no timeout", {"on": All(A), "missing": "proceed"}),
    ],
)
def test_what_happens_to_missing_branches_needs_a_join_and_a_time(words: str, more: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=words):
        Step("x", service="one", **more)


def test_an_all_without_events_is_refused() -> None:
    with pytest.raises(DefinitionError, match="names no event"):
        All()


def test_two_alternative_forks_may_share_a_join() -> None:
    table = flow(
        step("a", A, (B, C)),
        step("b", B, D),
        step("c", B, D),
        step("d", C, D),
        step("e", C, D),
        step("f", All(D)),
    ).table
    assert table.closed_by(table.steps["f"]) == ("B", "C")


def test_steps_after_an_event_that_forks_are_all_ahead() -> None:
    assert flow(*FORK).remaining("B") == ("b", "c", "d")


def test_a_joins_queue_hears_of_its_fork_its_branches_and_their_failures() -> None:
    workflow = flow(*FORK)
    keys = [part.key for part in step_parts(workflow, workflow.step("d")) if hasattr(part, "key")]
    assert keys == ["C", "D", "B", "undo.d"]


def arrival(workflow: Workflow, event: object, *, branch: str | None = None, type_: str | None = None) -> Arrival:
    stamp = begin(workflow, workflow.start(), run=RUN, state={}, now=NOW).stamp
    stamp = stamp.having({"event": type(event).__name__, **({"branch": branch} if branch else {})})
    message = Message(body=b"{}", message_id=RUN, type=type_ or stamp.event, headers={})
    return Arrival(stamp, workflow, message, {})


def test_a_childs_place_follows_from_the_order_of_the_table() -> None:
    workflow = flow(*FORK[1:], start=B)
    found = [placed(arrival(workflow, B()), name) for name in ("b", "c")]
    assert [one[0].branch for one in found if one] == ["start:1.0/2", "start:1.1/2"]


def test_a_join_gets_the_fork_itself_as_its_base() -> None:
    workflow = flow(*FORK[1:], start=B)
    found = placed(arrival(workflow, B()), "d")
    assert found is not None
    assert (found[1].role, found[1].place) == ("base", place_of("start:1.0/2")._replace(child=-1))


@pytest.mark.parametrize("branch", [None, "start:1.2/2", "start:1.0/2|b:1.0/2"])
def test_an_arrival_whose_branch_does_not_fit_the_table_is_invalid(branch: str | None) -> None:
    workflow = flow(*FORK[1:], start=B)
    with pytest.raises(StampInvalid):
        placed(arrival(workflow, C(), branch=branch), "d")


def test_a_message_for_another_step_is_none_of_ours() -> None:
    workflow = flow(*FORK)
    assert placed(arrival(workflow, B(), type_="undo:a"), "d") is None
    assert placed(arrival(workflow, A()), "b") is None


def test_paths_say_where_a_message_is() -> None:
    fork = fork_of("a:1.0/2", "b.c", 3)
    path = branch_of(fork, 10, 12)
    assert path == "a:1.0/2|b.c:3.10/12"
    assert place_of(path) == ("a:1.0/2", fork, 10, 12)
    assert (depth(None), depth("a:1.0/2"), depth(path)) == (0, 1, 2)
    assert within(path, "a:1.0/2")
    assert not within("a:1.0/22", "a:1.0/2")
    assert not within(None, path)
    assert sorted(["a:1.10/12", "a:1.9/12", ""], key=natural) == ["", "a:1.9/12", "a:1.10/12"]


def test_a_step_that_is_visited_too_often_fails() -> None:
    workflow = flow(step("a", A, (A, B), max_visits=2, undo=True))
    decision = begin(workflow, A(), run=RUN, state={}, now=NOW)
    stamp = decision.stamp
    at = Position(step=workflow.step("a"), action="do", message_id=RUN)
    for _ in range(2):
        assert refusal(stamp, at, NOW) is None
        stamp = decide(workflow, stamp, at, Done(event=A(), state={}), NOW).stamp
    refused = refusal(stamp, at, NOW)
    assert refused == Failed(type="TooManyVisits", reason="step 'a' allows max_visits=2")
    assert decide(workflow, stamp, at, refused, NOW).stamp.phase == "backward"


def test_a_late_step_is_held_where_there_is_no_way_back() -> None:
    workflow = flow(step("a", A, B), deadline="1h")
    stamp = begin(workflow, A(), run=RUN, state={}, now=NOW).stamp
    at = Position(step=workflow.step("a"), action="do", message_id=RUN)
    assert refusal(stamp, at, NOW + 3600) is None
    refused = refusal(stamp, at, NOW + 3601)
    assert refused is not None
    held = decide(workflow, stamp, at, refused, NOW).settle
    assert isinstance(held, Hold)
    assert held.reason == "late"


def test_a_drawing_shows_every_branch_of_a_fork() -> None:
    drawn = [(edge.source, edge.target) for edge in edges(flow(*FORK[1:], start=B))]
    assert drawn == [("", "b"), ("", "c"), ("b", "d"), ("c", "d"), ("d", "E")]
