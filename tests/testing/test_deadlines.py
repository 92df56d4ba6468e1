"""Deadlines and time limits on the bench: late runs turn, silent runs are noticed, slow handlers are cut off."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from brokers.memory import MemoryBroker
from stamp.errors import DefinitionError
from stamp.events import Overdue, RunEnded
from stamp.model import Fail
from stamp.service import Service
from stamp.starting import start_run
from stamp.stores.memory import MemoryStore
from stamp.testing.runner import OpenBench, SyncBench
from stamp.workflow import Step, Workflow
from tests.testing.desk import OPENED, STATE, TICKET, Assigned, Desk, Opened, Solved


def watched(bench: OpenBench, *, without: str = "", store: str = "memory") -> tuple[SyncBench, Desk]:
    desk = Desk()
    office = Service("office")
    office.watch(TICKET)
    table = bench(office, *(service for service in desk.services if service.name != without), store=store)
    return table, desk


def start(table: SyncBench) -> str:
    office = table._bench._seats["office"].service
    run = table.start(TICKET, OPENED, state=STATE, via=office)
    table.settle()
    return run


def overdue(table: SyncBench) -> list[str]:
    return [fact.run for fact in table.facts if isinstance(fact, Overdue)]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_run_whose_service_is_gone_is_noticed_at_its_deadline(bench: OpenBench, store: str) -> None:
    table, _ = watched(bench, without="resolution", store=store)
    run = start(table)
    table.advance("47h")
    assert overdue(table) == []
    table.advance("2h")
    assert (overdue(table), table.run(run).status) == ([run], "overdue")
    assert [message.routing_key for message in table.published if message.routing_key == "overdue"] == ["overdue"]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_the_deadline_of_a_run_that_ended_in_time_does_nothing(bench: OpenBench, store: str) -> None:
    table, _ = watched(bench, store=store)
    run = start(table)
    table.advance("60h")
    assert (overdue(table), table.run(run).status) == ([], "completed")
    assert not any(message.routing_key == "overdue" for message in table.published)


def test_waiting_for_a_deadline_does_not_make_a_run_look_busy(bench: OpenBench) -> None:
    table, _ = watched(bench, without="resolution")
    run = start(table)
    table.advance("30h")
    assert table.run(run).status == "running"


def test_a_service_that_does_not_watch_sends_no_timer(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(*desk.services)
    table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert not [message for message in table.published if message.type.startswith("timer:")]


def test_watching_needs_a_store(bench: OpenBench) -> None:
    office = Service("office")
    office.watch(TICKET)
    with pytest.raises(DefinitionError, match="watches runs and has no store"):
        bench(office, store=None)


def test_a_message_that_is_not_for_the_watch_is_held(bench: OpenBench) -> None:
    table, _ = watched(bench)
    start(table)
    [end] = [message for message in table.published if message.routing_key == "end.completed"]
    broken = replace(end, message=replace(end.message, headers={"stamp": "?"}))
    table.redeliver(broken)
    table.settle()
    assert [held.reason for held in table.held] == ["unreadable"]


def test_a_late_step_past_the_pivot_is_held(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(desk.assignment, desk.resolution)
    run = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    table.advance("49h")
    table.deploy(desk.notification)
    table.settle()
    assert (table.run(run).status, [held.reason for held in table.held]) == ("held", ["late"])


def test_an_undo_is_never_too_late(bench: OpenBench) -> None:
    desk = Desk()

    async def refuse(event: Assigned, hop: object) -> Solved:
        raise Fail("nobody")

    desk.instead("solve", refuse)
    table = bench(desk.resolution, desk.assignment)
    table.fail("undo:assign", times=3)
    run = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert table.run(run).status == "held"
    table.advance("49h")
    table.release()
    table.settle()
    assert table.run(run).status == "compensated"


def test_a_handler_that_takes_longer_than_its_timeout_is_cut_off_and_the_history_says_so() -> None:
    entered = []

    async def scenario() -> list[str]:
        flow = Workflow(
            "SLOW",
            version=1,
            start=Opened,
            steps=[
                Step("assign", service="one", on=Opened, emits=Assigned, undo=True),
                Step("solve", service="one", on=Assigned, timeout=0.05, retry="2x 100ms"),
            ],
        )
        one = Service("one")

        @one.step(flow, "assign")
        async def assign(event: Opened, hop: object) -> Assigned:
            return Assigned(event.ticket, "Ada")

        @one.undo(flow, "assign")
        async def unassign(hop: object) -> None:
            entered.append("undo")

        @one.step(flow, "solve")
        async def solve(event: Assigned, hop: object) -> None:
            entered.append("solve")
            await asyncio.Event().wait()

        broker, store = MemoryBroker(), MemoryStore()
        await broker.open()
        await store.open()
        ended: list[str] = []
        over = asyncio.Event()

        def note(fact: object) -> None:
            if isinstance(fact, RunEnded):
                ended.append(fact.outcome)
                over.set()

        one.observers.append(note)
        async with one.open(broker=broker, store=store), asyncio.timeout(20):
            await start_run(one, flow, OPENED)
            await over.wait()
        await broker.close()
        return ended

    assert asyncio.run(scenario()) == ["compensated"]
    assert entered == ["solve", "solve", "undo"]
