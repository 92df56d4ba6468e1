"""Whatever the workflow, whatever fails, in whatever order messages come: the promises of sagas hold.

`SAGA_CASES` is how many runs are tried (500 by default; `make proof` tries 20,000).
"""

from __future__ import annotations

import os
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kernel.sagas import Builder, World

CASES = int(os.environ.get("SAGA_CASES", "500"))
PROOF = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))

SEEDS = st.integers(0, 2**32)


def played(seed: int, clumsy: float) -> World:
    random = Random(seed)
    world = World(Builder(random).workflow(), random, clumsy)
    world.start()
    world.play()
    return world


@PROOF
@given(SEEDS)
def test_a_run_in_which_nothing_fails_completes_once_with_every_hop_counted_once(seed: int) -> None:
    world = played(seed, 0.0)
    assert len(world.ends) == 1
    if world.ends == ["end.completed"]:
        counted = [hop for hop in world.ran if not world.late(hop.key)]
        assert world.last is not None
        assert world.last.state["hops"] == len(counted)
        assert len(world.last.history) + world.last.folded == world.last.seq == len(counted)


@PROOF
@given(SEEDS, st.floats(0.1, 0.9))
def test_a_run_ends_in_one_way_and_what_it_did_is_undone_exactly_once(seed: int, clumsy: float) -> None:
    world = played(seed, clumsy)
    stuck = any(hold.reason == "late" for _, _, hold in world.holds)
    assert len(world.ends) == 1 or (stuck and not world.ends)
    assert world.undone_once
    done = {hop.key for hop in world.ran if hop.undo}
    late = {key for key in done if world.late(key)}
    assert set(world.undone) == (done if world.ends == ["end.compensated"] else late)


@PROOF
@given(SEEDS, st.floats(0.1, 0.9))
def test_nothing_is_undone_past_a_pivot(seed: int, clumsy: float) -> None:
    world = played(seed, clumsy)
    if any(world.flow.step(hop.step).pivot for hop in world.ran):
        assert world.ends != ["end.compensated"]
        assert {key for key in world.undone if not world.late(key)} == set()


@PROOF
@given(SEEDS, st.floats(0.1, 0.9))
def test_effects_are_undone_before_their_causes(seed: int, clumsy: float) -> None:
    world = played(seed, clumsy)
    causes = {hop.key: hop.causes for hop in world.ran}
    order = {key: place for place, key in enumerate(world.undone)}
    for key in world.undone:
        if not world.late(key):
            assert all(order[key] < order[cause] for cause in causes[key] & order.keys())
