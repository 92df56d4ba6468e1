"""The linter: each rule finds its table, says where, and is silent about a sound one."""

from __future__ import annotations

import msgspec
import pytest

from stamp import Step, Workflow
from stamp.cli.explain import pages
from stamp.errors import DefinitionError
from stamp.linting import MEANINGS
from stamp.patterns import Pattern
from stamp.workflow import All


class A(msgspec.Struct):
    id: str


class B(msgspec.Struct):
    id: str


class C(msgspec.Struct):
    id: str


class D(msgspec.Struct):
    id: str


def flow(*steps: Step, **more: object) -> Workflow:
    options = {"version": 1, "start": A, "deadline": "30d", **more}
    return Workflow("FLOW", steps=steps, **options)  # type: ignore[arg-type]


def codes(workflow: Workflow) -> list[str]:
    return [finding.code for finding in workflow.findings]


def test_a_sound_saga_gives_no_finding() -> None:
    sound = flow(
        Step("one", service="s", on=A, emits=B, undo=True),
        Step("two", service="s", on=B, emits=C, undo=None, reason="it only reads"),
        Step("three", service="s", on=C, emits=D, pivot=True),
        Step("four", service="s", on=D),
    )
    assert codes(sound) == []


def test_a_step_before_the_pivot_needs_an_undo_or_a_reason() -> None:
    with pytest.raises(DefinitionError, match=r'L001: test_linting.py:\d+: Step\("two"\): comes before the pivot'):
        flow(
            Step("one", service="s", on=A, emits=B, undo=True),
            Step("two", service="s", on=B, emits=C),
            Step("three", service="s", on=C, pivot=True),
        )


def test_without_a_pivot_a_missing_undo_is_a_warning() -> None:
    found = flow(
        Step("one", service="s", on=A, emits=B, undo=True),
        Step("two", service="s", on=B, emits=C),
        Step("three", service="s", on=C),
    )
    assert codes(found) == ["L001"]


def test_a_workflow_that_undoes_nothing_owes_no_undo() -> None:
    assert codes(flow(Step("one", service="s", on=A, emits=B), Step("two", service="s", on=B, pivot=True))) == []


@pytest.mark.parametrize("options", [{"undo": None}, {"undo": True, "reason": "why"}, {"reason": "why"}])
def test_no_undo_and_its_reason_go_together(options: dict[str, object]) -> None:
    with pytest.raises(DefinitionError, match="undo=None and reason= go together"):
        Step("one", service="s", on=A, **options)  # type: ignore[arg-type]


def test_an_undo_behind_the_pivot_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r'L002: .*Step\("two"\): its undo can never run'):
        flow(Step("one", service="s", on=A, emits=B, pivot=True), Step("two", service="s", on=B, undo=True))


def test_an_undo_that_one_path_reaches_without_a_pivot_is_accepted() -> None:
    either = flow(
        Step("choose", service="s", on=A, emits=(B, C), undo=True),
        Step("point", service="s", on=B, emits=C, pivot=True),
        Step("late", service="s", on=C, undo=True),
    )
    assert "L002" not in codes(either)


def test_an_undo_that_one_path_reaches_without_a_pivot_is_accepted_where_a_loop_leads_to_the_start() -> None:
    either = flow(
        Step("choose", service="s", on=A, emits=(A, B, C), undo=True, max_visits=3),
        Step("point", service="s", on=B, emits=C, pivot=True),
        Step("late", service="s", on=C, undo=True),
    )
    assert "L002" not in codes(either)


def test_a_loop_without_a_way_out_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"L003: .*no path from here ever ends"):
        flow(
            Step("one", service="s", on=A, emits=B, max_visits=2),
            Step("two", service="s", on=B, emits=A, max_visits=2),
        )


def test_a_join_that_waits_for_ever_is_a_warning() -> None:
    def joined(**options: object) -> Workflow:
        return flow(
            Step("left", service="s", on=A, emits=B),
            Step("right", service="s", on=A, emits=C),
            Step("join", service="s", on=All(B, C), **options),  # type: ignore[arg-type]
            deadline=None,
        )

    assert codes(joined()) == ["L004"]
    assert codes(joined(timeout="1h", missing="proceed")) == []


def test_pauses_that_do_not_fit_in_the_deadline_are_a_warning() -> None:
    tight = flow(Step("one", service="s", on=A, retry="5x 1m..10m"), deadline="5m")
    assert codes(tight) == ["L005"]
    assert "the deadline is 5m" in tight.findings[0].what


def test_timeouts_count_once_a_try() -> None:
    assert codes(flow(Step("one", service="s", on=A, retry="3x 100ms", timeout="30s"), deadline="1m")) == ["L005"]


def test_loops_beyond_the_hop_guard_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"L006: .*allow 80 hops, the hop guard is 64"):
        flow(
            Step("one", service="s", on=A, emits=B, max_visits=40),
            Step("two", service="s", on=B, emits=(A, C), max_visits=40),
        )


def test_a_saga_without_a_deadline_is_a_warning() -> None:
    assert codes(flow(Step("one", service="s", on=A, undo=True), deadline=None)) == ["L007"]


@pytest.mark.parametrize("claim", ["aec", "Anthology", "anthology saga", "ANTHOLOGY"])
def test_a_claim_that_holds_is_accepted_by_code_or_name(claim: str) -> None:
    assert flow(Step("one", service="s", on=A), saga=claim).pattern is Pattern.ANTHOLOGY


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ("sec", "services talk by messages"),
        ("aac", "nothing in it can be undone"),
        ("aeo", "nobody directs it"),
        ("sao", "services talk by messages.*nothing in it can be undone.*nobody directs it"),
    ],
)
def test_a_claim_that_does_not_hold_is_refused_with_the_difference(claim: str, why: str) -> None:
    with pytest.raises(DefinitionError, match=f"L008(?s:.*){why}"):
        flow(Step("one", service="s", on=A), saga=claim)


def test_a_pattern_that_nobody_knows_is_refused_with_the_eight() -> None:
    with pytest.raises(DefinitionError, match="aac \\(Horror Story\\)"):
        flow(Step("one", service="s", on=A), saga="romance")


def test_a_horror_story_is_a_warning() -> None:
    assert codes(flow(Step("one", service="s", on=A, undo=True), saga="Horror Story")) == ["L009"]


def test_every_code_has_a_meaning_and_a_page() -> None:
    assert sorted(MEANINGS) == [name for name in pages() if name.startswith("L")]


def test_the_eight_patterns_are_all_there() -> None:
    assert {pattern.code for pattern in Pattern} == {a + b + c for a in "sa" for b in "ae" for c in "oc"}
