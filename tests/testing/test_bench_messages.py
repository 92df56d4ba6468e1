"""Messages on the bench: twice, altered, unreadable, too new, without a queue; nothing is dropped, nothing stops."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from brokers.contract import Message, Publication
from brokers.memory import MemoryBroker
from stamp.events import DuplicateDropped
from stamp.held import listed
from stamp.starting import start_run
from stamp.testing import SyncBench
from stamp.testing.runner import OpenBench
from tests.testing.desk import OPENED, STATE, TICKET, Desk, workflow

Change = Callable[[dict[str, Any]], None]


def altered(message: Message, change: Change) -> Message:
    """The message with another stamp, as another participant might have written it."""
    stamp = json.loads(message.headers["stamp"])
    change(stamp)
    return replace(message, headers={**message.headers, "stamp": json.dumps(stamp)})


def inject(table: SyncBench, message: Message, *, key: str = "Opened") -> None:
    table.call(table.broker.publish(Publication("TICKET", key, message)))


def first_message(table: SyncBench) -> Message:
    """A start that nobody has handled: taken from the journal, its twin is handled as usual."""
    table.start(TICKET, OPENED, state=STATE)
    table.settle()
    return table.published[0].message


def fresh(message: Message, run: str) -> Message:
    """The same message for a run of its own."""
    other = altered(message, lambda stamp: stamp.update(run=run))
    return replace(other, message_id=run, correlation_id=run)


RUN = "019a0000-0000-7000-8000-0000000000aa"


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_messages_that_come_twice_run_nothing_twice(bench: OpenBench, store: str) -> None:
    desk = Desk()
    table = bench(*desk.services, store=store)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    before = list(desk.calls)
    for message in table.published.of_run(run_id):
        table.redeliver(message)
    table.settle()
    assert desk.calls == before
    assert table.run(run_id).status == "completed"
    assert len([fact for fact in table.facts if isinstance(fact, DuplicateDropped)]) == 3


def test_a_duplicate_of_an_undo_runs_nothing_twice(bench: OpenBench) -> None:
    desk = Desk(refuse=True)
    table = bench(*desk.services)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    before = list(desk.calls)
    for message in table.published.of_run(run_id):
        table.redeliver(message)
    table.settle()
    assert desk.calls == before
    assert table.run(run_id).status == "compensated"


def test_a_duplicate_of_a_retried_message_runs_nothing_twice(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(*desk.services)
    table.fail("assign", times=1)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    for message in table.published.of_run(run_id).of_kind("progress"):
        table.redeliver(message)
    table.settle()
    assert desk.calls == [("assign", 2), ("solve", 1), ("tell", 1)]


def test_members_that_nobody_knows_survive_every_hop(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(*desk.services)

    def enrich(stamp: dict[str, Any]) -> None:
        stamp["state"]["colour"] = {"deep": [1, None, ""]}
        stamp["ext"] = {"org.example": {"lane": 0}}
        stamp["later"] = "from a newer minor"
        stamp["stamp"] = "1.7"

    inject(table, fresh(altered(first_message(table), enrich), RUN))
    table.settle()
    run = table.run(RUN)
    assert run.status == "completed", run
    assert run.state["colour"] == {"deep": [1, None, ""]}
    document = run.stamp.to_dict()
    assert (document["ext"], document["later"], document["stamp"]) == (
        {"org.example": {"lane": 0}},
        "from a newer minor",
        "1.7",
    )


def test_members_that_nobody_knows_survive_a_retry_and_the_way_back(bench: OpenBench) -> None:
    desk = Desk(refuse=True)
    table = bench(*desk.services)
    message = first_message(table)
    table.fail("assign", times=1)
    inject(table, fresh(altered(message, lambda stamp: stamp["state"].update(colour="red")), RUN))
    table.settle()
    run = table.run(RUN)
    assert (run.status, run.state["colour"]) == ("compensated", "red")


def _newer_format(stamp: dict[str, Any]) -> None:
    stamp["stamp"] = "2.0"


def _newer_version(stamp: dict[str, Any]) -> None:
    stamp["version"] = 9


def _unknown_feature(stamp: dict[str, Any]) -> None:
    stamp["crit"] = ["teleport"]


def _unknown_phase(stamp: dict[str, Any]) -> None:
    stamp["phase"] = "sideways"


def _no_seq(stamp: dict[str, Any]) -> None:
    del stamp["seq"]


def _wrong_state(stamp: dict[str, Any]) -> None:
    stamp["state"] = {"ticket": 5}


def _other_workflow(stamp: dict[str, Any]) -> None:
    stamp["workflow"] = "ELSE"


def _looping(stamp: dict[str, Any]) -> None:
    stamp["seq"] = 64
    stamp["history"] = [
        {"seq": 64, "step": "x", "service": "y", "at": stamp["started"], "outcome": "ok"},
    ]


BAD = [
    (_newer_format, "too-new"),
    (_newer_version, "too-new"),
    (_unknown_feature, "too-new"),
    (_unknown_phase, "too-new"),
    (_no_seq, "invalid"),
    (_wrong_state, "state-invalid"),
    (_other_workflow, "unknown-workflow"),
    (_looping, "hop-guard"),
]


@pytest.mark.parametrize(("change", "reason"), BAD, ids=lambda value: getattr(value, "__name__", value))
def test_a_stamp_that_cannot_be_handled_is_held_whole_and_the_next_message_runs(
    bench: OpenBench, change: Change, reason: str
) -> None:
    desk = Desk()
    table = bench(*desk.services)
    bad = fresh(altered(first_message(table), change), RUN)
    inject(table, bad)
    after = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    (held,) = table.held
    assert held.reason == reason, held.detail
    assert (held.original().headers["stamp"], held.message.body) == (bad.headers["stamp"], bad.body)
    assert held.message.message_id == bad.message_id
    assert table.run(after).status == "completed"


BODIES = [
    (lambda message: replace(message, body=b"{nonsense"), "payload-invalid"),
    (lambda message: replace(message, body=b"\xff\xfe"), "payload-invalid"),
    (lambda message: replace(message, body=b'{"ticket": 7}'), "payload-invalid"),
    (lambda message: replace(message, body=b"[" * 5000 + b"]" * 5000), "payload-invalid"),
    (lambda message: replace(message, headers={}), "no-stamp"),
    (lambda message: replace(message, headers={"stamp": "{"}), "unreadable"),
    (lambda message: replace(message, headers={"stamp": "[" * 60_000}), "unreadable"),
    (lambda message: replace(message, headers={"stamp": 17}), "unreadable"),
    (lambda message: replace(message, message_id="not-a-uuid"), "invalid"),
    (lambda message: replace(message, type="Solved"), "invalid"),
]


@pytest.mark.parametrize(("change", "reason"), BODIES)
def test_a_message_that_cannot_be_read_is_held_whole_and_the_next_one_runs(
    bench: OpenBench, change: Callable[[Message], Message], reason: str
) -> None:
    desk = Desk()
    table = bench(*desk.services)
    bad = change(fresh(first_message(table), RUN))
    inject(table, bad)
    after = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    (held,) = table.held
    assert (held.reason, held.message.body) == (reason, bad.body), held.detail
    assert table.run(after).status == "completed"


def test_an_event_without_a_queue_is_not_lost_while_its_service_is_away(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(desk.assignment)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert table.run(run_id).status == "running"
    table.deploy(desk.resolution, desk.notification)
    table.settle()
    assert table.run(run_id).status == "completed"


def test_an_event_whose_queue_is_gone_is_held_as_unroutable() -> None:
    async def held_reason() -> str:
        desk = Desk()
        async with (
            _opened(MemoryBroker()) as broker,
            desk.assignment.open(broker=broker, store=None, journal=False, consume=False),
        ):
            await broker.delete_queue("assignment.TICKET.assign")
            await start_run(desk.assignment, TICKET, OPENED, state=STATE)
            (found,) = await listed(broker, "assignment")
            return found.reason

    assert asyncio.run(held_reason()) == "unroutable"


@asynccontextmanager
async def _opened(broker: MemoryBroker) -> AsyncIterator[MemoryBroker]:
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


def test_what_waited_for_a_newer_version_goes_on_once_it_is_there(bench: OpenBench) -> None:
    newer = Desk(flow=workflow(2))
    desk = Desk()
    table = bench(*desk.services)
    table.start(TICKET, OPENED, state=STATE)
    table.settle()
    inject(table, fresh(altered(table.published[0].message, lambda stamp: stamp.update(version=2)), RUN))
    table.settle()
    assert table.run(RUN).status == "held"
    table.deploy(*newer.services)
    table.settle()
    assert (table.run(RUN).status, table.held) == ("completed", ())
