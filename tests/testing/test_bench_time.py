"""Time on the bench: it jumps to what is due, it passes on request, and it never waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from stamp import Hop, RetryLater, Service
from stamp.testing import Bench, NotSettled, SyncBench
from stamp.testing.runner import OpenBench
from tests.testing.desk import OPENED, STATE, TICKET, Assigned, Desk, Opened, Solved, Ticket, workflow


def test_the_deadline_stands_in_the_stamp_and_a_run_past_it_is_overdue(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(desk.assignment)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    run = table.run(run_id)
    assert (run.stamp.started, run.stamp.deadline) == ("2030-01-01T00:00:00.000Z", "2030-01-03T00:00:00.000Z")
    table.advance("47h")
    assert table.run(run_id).status == "running"
    table.advance("2h")
    assert table.run(run_id).status == "overdue"


def test_a_handler_sees_its_deadline(bench: OpenBench) -> None:
    seen: list[float | None] = []

    async def assign(event: Opened, hop: Hop[Ticket]) -> Assigned:
        seen.append(hop.deadline)
        return Assigned(event.ticket, "Ada")

    table = bench(*Desk().instead("assign", assign).services)
    began = table.clock.now()
    table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert seen == [began + 48 * 3600]


def test_a_retry_comes_at_its_time_and_not_before(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(*desk.services)
    table.fail("solve")
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.advance("59s")
    assert table.run(run_id).status == "retrying"
    table.advance("1s")
    assert table.run(run_id).status == "completed"


def test_the_record_of_a_run_shows_the_latest_attempt(bench: OpenBench) -> None:
    table = bench(*Desk().services)
    table.fail("solve", times=2)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.advance("70s")
    run = table.run(run_id)
    assert (run.status, run.record.latest.attempt) == ("retrying", 3)


def test_retry_later_waits_as_long_as_the_handler_asks(bench: OpenBench) -> None:
    moments: list[float] = []
    table: SyncBench

    async def assign(event: Opened, hop: Hop[Ticket]) -> Assigned:
        moments.append(table.clock.now())
        if hop.attempt == 1:
            raise RetryLater("no free expert", after="6h")
        return Assigned(event.ticket, "Ada")

    table = bench(*Desk().instead("assign", assign).services, store="sqlite")
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert table.run(run_id).status == "completed"
    assert moments[1] - moments[0] == 6 * 3600


def test_two_days_pass_at_once_on_an_idle_bench(bench: OpenBench) -> None:
    table = bench(*Desk().services, store="sqlite")
    before = table.clock.now()
    table.advance("48h")
    assert table.clock.now() - before == 48 * 3600


def test_a_handler_that_never_returns_is_named(bench: OpenBench) -> None:
    async def assign(event: Opened, hop: Hop[Ticket]) -> Assigned:
        await asyncio.Event().wait()
        raise AssertionError

    table = bench(*Desk().instead("assign", assign).services, patience=0.2)
    table.start(TICKET, OPENED, state=STATE)
    with pytest.raises(NotSettled, match=r"step 'assign' of TICKET v1 \(test_bench_time\.py:[0-9]+\) runs"):
        table.settle()


def test_the_handlers_own_waits_take_real_time_and_are_waited_for(bench: OpenBench) -> None:
    gate = asyncio.Event()

    async def assign(event: Opened, hop: Hop[Ticket]) -> Assigned:
        asyncio.get_running_loop().call_later(0.02, gate.set)
        await gate.wait()
        return Assigned(event.ticket, "Ada")

    table = bench(*Desk().instead("assign", assign).services)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert table.run(run_id).status == "completed"


def test_two_versions_run_side_by_side_each_run_by_its_own(bench: OpenBench) -> None:
    second = workflow(2)
    desk = Desk()
    versions: list[int] = []
    both = Service("assignment")

    @both.step(second, "assign")
    @both.step(TICKET, "assign")
    async def assign(event: Opened, hop: Hop[Ticket]) -> Assigned:
        versions.append(hop.stamp.version)
        return Assigned(event.ticket, f"expert of {hop.stamp.version}")

    both.undo(second, "assign")(both.undo(TICKET, "assign")(desk.unassign))
    desk.resolution.step(second, "solve")(desk.solve)
    desk.notification.step(second, "tell")(desk.tell)
    table = bench(both, desk.resolution, desk.notification)
    runs = [table.start(flow, OPENED, state=STATE) for flow in (TICKET, second, TICKET)]
    table.settle()
    assert [table.run(run).status for run in runs] == ["completed"] * 3
    assert [table.run(run).stamp.version for run in runs] == [1, 2, 1]
    assert versions == [1, 2, 1]


def test_an_undo_belongs_to_the_version_that_the_run_started_with(bench: OpenBench) -> None:
    second = workflow(2)
    desk = Desk(refuse=True)
    undone: list[int] = []

    async def unassign(hop: Hop[Ticket]) -> None:
        undone.append(hop.stamp.version)

    both = Service("assignment")
    for flow in (TICKET, second):
        both.step(flow, "assign")(desk.assign)
        both.undo(flow, "assign")(unassign)
    desk.resolution.step(second, "solve")(desk.solve)
    desk.notification.step(second, "tell")(desk.tell)
    table = bench(both, desk.resolution, desk.notification)
    runs = [table.start(flow, OPENED, state=STATE) for flow in (second, TICKET)]
    table.settle()
    assert [table.run(run).status for run in runs] == ["compensated"] * 2
    assert undone == [2, 1]


def test_a_service_that_stops_leaves_its_messages_to_the_one_that_comes(bench: OpenBench) -> None:
    async def solve(event: Assigned, hop: Hop[Ticket]) -> Solved:
        await asyncio.Event().wait()
        raise AssertionError

    desk = Desk()
    hanging = Service("resolution")
    hanging.step(TICKET, "solve")(solve)
    table = bench(desk.assignment, hanging, desk.notification, store="sqlite", patience=0.2)
    run_id = table.start(TICKET, OPENED, state=STATE)
    with pytest.raises(NotSettled):
        table.settle()
    table.deploy(desk.resolution)
    table.settle()
    assert table.run(run_id).status == "completed"
    assert desk.calls == [("assign", 1), ("solve", 1), ("tell", 1)]


def test_the_bench_serves_async_tests_too() -> None:
    async def scenario() -> str:
        desk = Desk()
        async with Bench(*desk.services) as table:
            table.fail("solve", times=1)
            run_id = await table.start(TICKET, OPENED, state=STATE)
            await table.settle()
            return table.run(run_id).status

    assert asyncio.run(scenario()) == "completed"


def test_runs_have_the_same_ids_every_time(bench: OpenBench) -> None:
    runs = [bench(*Desk().services).start(TICKET, OPENED, state=STATE) for _ in range(2)]
    assert runs[0] == runs[1]
