"""Whoever owns the state, whatever fails, in whatever order messages and reports come: the promises of sagas hold.

`SAGA_CASES` scales the number of runs (500, the default, means 100 for each style and promise).
"""

from __future__ import annotations

import os
from functools import reduce
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stamp.branching import within
from stamp.ledger import Record, apply, dump, load
from stamp.sighting import Sighting
from stamp.style import FrontController, Orchestrator, Stateless, Style
from tests.styles.worlds import Parting, StyledWorld, played

CASES = int(os.environ.get("SAGA_CASES", "500")) // 5
PROOF = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**32)

OWNED = [FrontController("one"), Orchestrator("one")]
STYLES = pytest.mark.parametrize("style", [*OWNED, Stateless()], ids=lambda style: style.name)


def stuck(world: StyledWorld) -> bool:
    return any(hold.reason == "late" for _, _, hold in world.holds)


@STYLES
@PROOF
@given(seed=SEEDS)
def test_a_run_in_which_nothing_fails_completes_once(style: Style, seed: int) -> None:
    world = played(style, seed, 0.0)
    assert len(world.ends) == 1
    if world.ends == ["end.completed"] and style.owner:
        counted = [hop for hop in world.ran if not world.late(hop.key)]
        assert world.last is not None
        assert world.last.state["hops"] == world.last.seq == len(counted)
        assert len([entry for entry in world.record.done if entry.outcome == "ok"]) == len(world.ran)


@STYLES
@PROOF
@given(seed=SEEDS, clumsy=st.floats(0.1, 0.9))
def test_a_run_ends_in_one_way_and_what_it_did_is_undone_exactly_once(style: Style, seed: int, clumsy: float) -> None:
    world = played(style, seed, clumsy)
    assert len(world.ends) == 1 or (stuck(world) and not world.ends)
    assert world.undone_once
    assert world.refused == []
    done = {hop.key for hop in world.ran if hop.undo}
    late = {key for key in done if world.late(key)}
    assert set(world.undone) == (done if world.ends == ["end.compensated"] else late)


@STYLES
@PROOF
@given(seed=SEEDS, clumsy=st.floats(0.1, 0.9))
def test_nothing_is_undone_past_a_pivot(style: Style, seed: int, clumsy: float) -> None:
    world = played(style, seed, clumsy)
    if any(world.flow.step(hop.step).pivot for hop in world.ran):
        assert world.ends != ["end.compensated"]
        assert {key for key in world.undone if not world.late(key)} == set()


@STYLES
@PROOF
@given(seed=SEEDS, clumsy=st.floats(0.1, 0.9))
def test_effects_are_undone_before_their_causes(style: Style, seed: int, clumsy: float) -> None:
    world = played(style, seed, clumsy)
    causes = {hop.key: hop.causes for hop in world.ran}
    order = {key: place for place, key in enumerate(world.undone)}
    for key in world.undone:
        if not world.late(key):
            assert all(order[key] < order[cause] for cause in causes[key] & order.keys())


@STYLES
@PROOF
@given(seed=SEEDS, clumsy=st.floats(0.0, 0.9))
def test_branches_that_never_meet_end_each_once_and_go_back_alone(style: Style, seed: int, clumsy: float) -> None:
    world = played(style, seed, clumsy, Parting)
    branches = [branch for branch, _ in world.ended]
    assert len(set(branches)) == len(branches)
    assert stuck(world) or len(branches) == (1 if branches == [""] else 2)
    assert world.undone_once
    gone = {branch for branch, end in world.ended if end == "end.compensated"}
    done = {hop.key for hop in world.ran if hop.undo}
    back = {key for key in done if any(not branch or within(key[0], branch) for branch in gone)}
    assert set(world.undone) == back | {key for key in done if world.late(key)}


@pytest.mark.parametrize("style", OWNED, ids=lambda style: style.name)
@PROOF
@given(seed=SEEDS, clumsy=st.floats(0.1, 0.9), order=SEEDS)
def test_a_record_is_the_same_in_whichever_order_and_however_often_reports_come(
    style: Style, seed: int, clumsy: float, order: int
) -> None:
    sightings = played(style, seed, clumsy).sightings
    shuffled = [*sightings, *sightings[::2]]
    Random(order).shuffle(shuffled)
    assert put_together(shuffled) == put_together(sightings)


@pytest.mark.parametrize("style", OWNED, ids=lambda style: style.name)
@PROOF
@given(seed=SEEDS, clumsy=st.floats(0.1, 0.9))
def test_a_record_that_was_stored_is_the_one_that_is_loaded(style: Style, seed: int, clumsy: float) -> None:
    record: Record | None = None
    for sighting in played(style, seed, clumsy).sightings:
        record = apply(record, sighting)
        assert load(dump(record)) == record


def put_together(sightings: list[Sighting]) -> Record | None:
    return reduce(apply, sightings, None)
