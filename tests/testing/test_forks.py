"""Forks and joins on the bench: real services, real stores, the embedded broker."""

from __future__ import annotations

import pytest

from stamp.testing.runner import OpenBench, SyncBench
from tests.testing.orders import ORDERED, STATE, Charged, House, Reserved, static


def play(bench: SyncBench, house: House) -> str:
    run = bench.start(house.flow, ORDERED, state=STATE)
    bench.settle()
    return run


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_two_steps_on_one_event_run_side_by_side_and_meet_in_the_join(bench: OpenBench, store: str) -> None:
    house = House(static())
    open_bench = bench(*house.all, store=store)
    run = open_bench.run(play(open_bench, house))
    assert (run.status, sorted(house.calls)) == ("completed", ["charge", "check", "reserve", "ship", "tell"])
    assert house.calls[-2:] == ["ship", "tell"]
    [joined] = house.joined
    assert (joined[Charged], joined[Reserved], joined.missing) == (Charged("r-1"), Reserved("s-1"), ())
