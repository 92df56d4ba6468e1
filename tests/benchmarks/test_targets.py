"""A verdict is drawn from the figures alone, and every missed goal can be explained."""

from __future__ import annotations

import pytest

from benchmarks import memory, tables
from benchmarks.targets import EXPLANATIONS, TARGETS, Target, unexplained, verdict

AT_LEAST = Target("speed", 1.5, 2.5, ("speed",), why="chain none")
AT_MOST = Target("latency", 1.15, 1.0, ("light", "p50"), at_most=True)


@pytest.mark.parametrize(("value", "word"), [(2.5, "goal"), (1.5, "must"), (1.49, "missed")])
def test_more_is_better_where_nothing_else_is_said(value: float, word: str) -> None:
    assert verdict(AT_LEAST, {"speed": value}) == word


@pytest.mark.parametrize(("value", "word"), [(1.0, "goal"), (1.15, "must"), (1.16, "missed")])
def test_less_is_better_for_what_has_an_upper_bound(value: float, word: str) -> None:
    assert verdict(AT_MOST, {"light": {"p50": value}}) == word


@pytest.mark.parametrize(("value", "allowed", "word"), [(1.3, 1.4, "limit"), (1.3, 1.6, "missed"), (1.5, 1.4, "must")])
def test_what_the_machine_does_not_allow_is_told_apart(value: float, allowed: float, word: str) -> None:
    bounded = Target("scale", 1.5, 1.7, ("scale",), limit=("allowed",))
    assert verdict(bounded, {"scale": value, "allowed": allowed}) == word


def test_what_is_not_in_the_results_was_not_measured() -> None:
    assert {verdict(target, {}) for target in TARGETS} == {"not measured"}


def test_every_target_names_an_explanation_that_exists() -> None:
    assert {target.why for target in TARGETS} <= set(EXPLANATIONS)


def test_a_goal_that_is_reached_is_not_explained() -> None:
    name = {"chain": {"none": {"ratio_to_bare": {"stamped": 9.9}}}}
    assert unexplained(name) == []


def test_a_goal_that_is_missed_is_explained_once() -> None:
    missed = {"chain": {"none": {"ratio_to_bare": {"stamped": 2.0}}}, "peers": {"stamped_to": {"FastStream": 1.0}}}
    assert unexplained(missed) == ["chain none"]


def test_every_verdict_has_words_on_the_page() -> None:
    assert set(tables.VERDICTS) == {"goal", "must", "missed", "limit", "not measured"}


def test_a_size_that_stays_is_told_as_such() -> None:
    found = memory.grown([(hops, 50_000) for hops in range(2_000, 100_000, 2_000)])
    assert (found["ratio"], found["ratio_at_1m"], found["bytes_a_hop"]) == (1.0, 1.0, 0.0)


def test_a_size_that_grows_is_carried_on_to_a_million_hops_and_named_extrapolated() -> None:
    found = memory.grown([(hops, 10_000 + hops // 100) for hops in range(2_000, 102_000, 2_000)])
    assert found["extrapolated"]
    assert found["ratio_at_1m"] == pytest.approx(1.97, abs=0.02)


def test_a_size_that_was_reached_is_not_extrapolated() -> None:
    assert not memory.grown([(hops, 50_000) for hops in range(10_000, 1_010_000, 10_000)])["extrapolated"]
