"""Every run is accounted for; what somebody took away behind the toolkit's back is found and sent again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from brokers.contract import Broker, Exchange, Message, Publication, Recorded
from brokers.memory import MemoryBroker
from brokers.rabbitmq import RabbitBroker
from stamp import journal, outgoing
from stamp.ids import inbox_key
from stamp.layout import delay_parts
from stamp.ledger import Record
from stamp.reading.audit import Book, Evidence, agreed, judge
from stamp.reading.waiting import Routes
from stamp.registry import store_for
from stamp.stores.sqlite import SQLiteStore
from tests.cli.desk import ENTRY, RUN, STAMP, Desk, records
from tests.cli.test_processes import call, serving
from tests.cli.test_rabbitmq import _start, url
from tests.cli.test_runs import ALL

__all__ = ["url"]

QUEUE = "printing.NEW_TICKET.print"
NOW = ("--older-than", "1ms", "--pause", "1ms")
AUDIT = ("audit", "--app", "app", *NOW)
REISSUE = ("--reissue", "--yes", "--reason", "a purge by mistake")
STORES = ("--store", "sqlite:///{service}.db")


def counts(desk: Desk, *words: str) -> dict[str, int]:
    """The ledger without its zeros; its two sides are equal."""
    found: dict[str, int] = desk.document(*AUDIT, *words)["counts"]
    assert found["started"] == sum(found.values()) - found["started"]
    return {fate: count for fate, count in found.items() if count}


def emptied(desk: Desk, queue: str, count: int) -> None:
    """Somebody takes messages from a queue with a bare client and acknowledges them."""
    asyncio.run(_taken(desk.broker, queue, count))


async def _taken(broker: Broker, queue: str, count: int) -> list[Message]:
    await broker.open()
    consumer = await broker.consume(queue, prefetch=count)
    taken: list[Message] = []
    while len(taken) < count:
        deliveries = await consumer.receive(count - len(taken))
        await consumer.ack(deliveries)
        taken += [delivery.message for delivery in deliveries]
    await consumer.close()
    return taken


def published(desk: Desk, *publications: Publication) -> None:
    async def work() -> None:
        await desk.broker.open()
        for publication in publications:
            await desk.broker.publish(publication)

    asyncio.run(work())


def recorded(desk: Desk) -> list[Recorded]:
    async def work() -> list[Recorded]:
        await desk.broker.open()
        return [one async for one in journal.recorded(desk.broker)]

    return asyncio.run(work())


def work_with_stores(desk: Desk, names: Sequence[str], done: Callable[[dict[str, Record]], bool]) -> None:
    """As `Desk.work`, each service on a database of its own; until nothing is in hand any more."""

    async def work() -> None:
        assert isinstance(desk.broker, MemoryBroker)
        await desk.broker.open()
        async with AsyncExitStack() as stack, asyncio.timeout(20):
            for name in names:
                service = getattr(desk.app, name)
                await stack.enter_async_context(service.open(broker=desk.broker, store=f"sqlite:///{name}.db"))
            # Neither the journal nor the broker has an event for "all done and nothing in hand".
            while not (done(await records(desk.broker)) and desk.broker.idle):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    asyncio.run(work())


def completed(runs: Sequence[str]) -> Callable[[dict[str, Record]], bool]:
    return lambda rows: all(rows[run].ended for run in runs)


def in_store(name: str, work: Callable[[Any], Any]) -> None:
    """Write into a service's inbox or outbox as a process of its own would."""

    async def run() -> None:
        store = SQLiteStore(f"sqlite:///{name}.db")
        await store.open()
        async with store.begin() as tx:
            await work(tx)
        await store.close()

    asyncio.run(run())


def test_every_run_is_in_exactly_one_place(desk: Desk) -> None:
    desk.start(2, services=ALL, until="completed")
    desk.app.BROKEN["phone"] = True
    desk.start(1, services=ALL, until="held")
    desk.app.BROKEN["printer"] = True
    desk.start(1, services=ALL, until="compensated")
    desk.start(3, services=["assignment"], until="TicketAssigned")
    document = desk.document(*AUDIT)
    assert document["counts"] == {
        "started": 7,
        "completed": 2,
        "compensated": 1,
        "failed": 0,
        "held": 1,
        "in_flight": 3,
        "missing": 0,
    }
    assert document["in_flight"] == {QUEUE: 3}
    result = desk.call(*AUDIT)
    assert result.exit_code == 0
    assert "7 started = 2 completed + 1 compensated + 0 failed + 1 held + 3 in flight + 0 missing" in result.stderr


def test_a_message_whose_queue_was_deleted_is_found_with_its_last_hop_and_sent_again(desk: Desk) -> None:
    runs = desk.start(2, services=["assignment"], until="TicketAssigned")
    asyncio.run(desk.broker.delete_queue(QUEUE))
    published(desk, Publication("NEW_TICKET", "TicketAssigned", desk_message(desk, runs[0])))  # the journal takes it
    document = desk.document(*AUDIT)
    assert [(item["queue"], item["why"]) for item in document["items"]] == [(QUEUE, "there is no such queue")] * 2
    assert {item["run"] for item in document["items"]} == set(runs)
    assert document["items"][0]["last_hop"]["step"] == "assign"
    assert desk.call(*AUDIT).exit_code == 1
    assert desk.call(*AUDIT, *REISSUE).exit_code == 0
    assert counts(desk) == {"started": 2, "in_flight": 2}
    desk.work(ALL, completed(runs))
    assert counts(desk) == {"started": 2, "completed": 2}


def desk_message(desk: Desk, run: str) -> Message:
    """The last message of a run, as the journal has it."""
    return [one.message for one in recorded(desk) if one.message.correlation_id == run][-1]


def test_sending_again_what_was_not_lost_changes_nothing(desk: Desk) -> None:
    runs = desk.start(2)
    work_with_stores(desk, ["assignment"], lambda rows: all(rows[run].stamp.seq == 1 for run in runs))
    copies = [Publication("NEW_TICKET", "TicketAssigned", desk_message(desk, run)) for run in runs]
    emptied(desk, QUEUE, 2)
    for expected in ("2 sent again", "0 sent again"):
        assert desk.call(*AUDIT, *STORES, *REISSUE).stderr.splitlines()[-1] == expected
    published(desk, *copies)
    work_with_stores(desk, ALL, completed(runs))
    published(desk, *copies)
    work_with_stores(desk, ALL, completed(runs))
    assert sum(one.routing_key == "LetterPrinted" for one in recorded(desk)) == 2
    document = desk.document(*AUDIT, *STORES)
    assert (document["counts"]["completed"], document["ended_twice"], document["done_twice"]) == (2, [], [])


def test_a_service_without_a_database_yet_is_told_and_passed_over(desk: Desk) -> None:
    desk.start()
    result = desk.call(*AUDIT, *STORES)
    assert result.exit_code == 0
    assert "warning: there is no database file sqlite:///printing.db" in result.stderr
    assert desk.call(*AUDIT, "--store", "sqlite:///typo.db").exit_code == 4


def test_of_the_messages_of_one_queue_the_oldest_are_missing(desk: Desk) -> None:
    runs = desk.start(3, services=["assignment"], until="TicketAssigned")
    emptied(desk, QUEUE, 1)
    (item,) = desk.document(*AUDIT)["items"]
    assert (item["run"], item["why"]) == (runs[0], "the queue holds only 2, all sent later")


def test_without_the_app_the_queue_is_learned_from_earlier_runs(desk: Desk) -> None:
    desk.start(services=ALL, until="completed")
    (run,) = desk.start(services=["assignment"], until="TicketAssigned")
    emptied(desk, QUEUE, 1)
    result = desk.call("audit", *NOW, "-o", "name")
    assert (result.exit_code, result.stdout.split()) == (1, [run])
    assert desk.call("audit", *NOW, *REISSUE).exit_code == 0
    assert counts(desk) == {"started": 2, "completed": 1, "in_flight": 1}


def test_a_run_whose_way_nobody_knows_is_not_called_missing(desk: Desk) -> None:
    desk.start()
    emptied(desk, "assignment.NEW_TICKET.assign", 1)
    result = desk.call("audit", *NOW, "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["in_flight"]) == (0, {"not known": 1})
    assert "--app MODULE" in result.stderr


def test_what_was_seen_a_moment_ago_is_on_its_way(desk: Desk) -> None:
    desk.start()
    emptied(desk, "assignment.NEW_TICKET.assign", 1)
    document = desk.document("audit", "--app", "app")
    assert (document["counts"]["missing"], document["in_flight"]) == (0, {"on its way": 1})


def test_what_waits_in_an_outbox_is_in_flight(desk: Desk) -> None:
    (run,) = desk.start(services=["assignment"], until="TicketAssigned")
    message = desk_message(desk, run)
    emptied(desk, QUEUE, 1)
    other = replace(message, message_id=RUN, correlation_id=RUN)
    for each in (message, other):
        in_store("assignment", lambda tx, each=each: _emitted(tx, each))
    document = desk.document(*AUDIT, "--store", "sqlite:///assignment.db")
    assert document["counts"] | {"started": 2, "in_flight": 2, "missing": 0} == document["counts"]
    assert document["in_flight"] == {"an outbox": 2}


async def _emitted(tx: Any, message: Message) -> None:
    await tx.emit([Publication("NEW_TICKET", "TicketAssigned", message)], run=message.correlation_id or "")


def test_what_was_handled_and_has_no_successor_is_told_apart_and_is_not_sent_again(desk: Desk) -> None:
    (run,) = desk.start(services=["assignment"], until="TicketAssigned")
    key = inbox_key(run, desk_message(desk, run).message_id)
    emptied(desk, QUEUE, 1)
    in_store("printing", lambda tx: tx.first_seen(QUEUE, key, expires=None))
    words = (*AUDIT, "--store", "sqlite:///printing.db")
    (item,) = desk.document(*words)["items"]
    assert item["why"].startswith("it was handled there")
    assert item["copy"] is None
    result = desk.call(*words, *REISSUE)
    assert (result.exit_code, len(recorded(desk))) == (1, 2)
    assert "stamp explain missing" in result.stderr


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg"])
def test_inboxes_and_outboxes_on_postgresql_are_evidence_too(desk: Desk, postgres: str, scheme: str) -> None:
    first, second = desk.start(2, services=["assignment"], until="TicketAssigned")
    messages = [desk_message(desk, run) for run in (first, second)]
    emptied(desk, QUEUE, 2)
    place, schema = postgres.replace("postgresql", scheme, 1), f"audit_{len(scheme)}"

    async def left_behind() -> None:
        store = store_for(place, options={"schema": schema})
        await store.open()
        async with store.begin() as tx:
            await tx.first_seen(QUEUE, inbox_key(first, messages[0].message_id), expires=None)
            await _emitted(tx, messages[1])
        await store.close()

    asyncio.run(left_behind())
    document = desk.document(*AUDIT, "--store", place, "--schema", schema)
    assert document["in_flight"] == {"an outbox": 1}
    assert [(item["run"], item["copy"]) for item in document["items"]] == [(first, None)]


def test_a_held_message_that_somebody_purged_is_missing_and_goes_back_to_where_it_was_held(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    (run,) = desk.start(services=ALL, until="held")
    emptied(desk, "stamp.held.notification", 1)
    (item,) = desk.document(*AUDIT)["items"]
    assert (item["run"], item["queue"]) == (run, "stamp.held.notification")
    assert desk.call(*AUDIT, *REISSUE).exit_code == 0
    assert counts(desk) == {"started": 1, "held": 1}
    (held,) = desk.document("held", "list", "--service", "notification")["items"]
    assert (held["run"], held["reason"]) == (run, "failed")


def test_a_released_message_that_was_lost_is_sent_again_from_its_first_sending(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    (run,) = desk.start(services=ALL, until="held")
    desk.app.BROKEN["phone"] = False
    assert desk.call("held", "release", "--app", "app", "--yes").exit_code == 0
    emptied(desk, "notification.NEW_TICKET.notify", 1)
    assert counts(desk) == {"started": 1, "missing": 1}
    assert desk.call(*AUDIT, *REISSUE).exit_code == 0
    desk.work(ALL, completed([run]))
    assert counts(desk) == {"started": 1, "completed": 1}


def test_what_waits_for_its_retry_is_in_flight_and_missing_when_its_delay_queue_lost_it(desk: Desk) -> None:
    (run,) = desk.start(services=["assignment"], until="TicketAssigned")
    emptied(desk, QUEUE, 1)
    again = outgoing.again(desk_message(desk, run), QUEUE, attempt=2, delay=3600)
    asyncio.run(desk.broker.declare([*delay_parts(3600), *journal.taps([again.exchange])]))
    published(desk, again)
    assert desk.document(*AUDIT)["in_flight"] == {again.exchange: 1}
    asyncio.run(desk.broker.delete_queue(again.exchange))
    assert counts(desk) == {"started": 1, "missing": 1}


def test_a_dry_run_tells_what_would_be_sent_and_sends_nothing(desk: Desk) -> None:
    desk.start(2)
    emptied(desk, "assignment.NEW_TICKET.assign", 2)
    result = desk.call(*AUDIT, "--reissue", "--dry-run", "--limit", "1")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (0, "1 would be sent again")
    assert len(recorded(desk)) == 2


def test_sending_again_asks_and_without_a_terminal_wants_a_yes(desk: Desk) -> None:
    desk.start()
    emptied(desk, "assignment.NEW_TICKET.assign", 1)
    assert desk.call(*AUDIT, "--reissue").exit_code == 2


def test_who_sent_again_and_why_is_kept_in_the_journal(desk: Desk) -> None:
    (run,) = desk.start()
    emptied(desk, "assignment.NEW_TICKET.assign", 1)
    assert desk.call(*AUDIT, *REISSUE).exit_code == 0
    shown = desk.call("trace", run).stdout
    assert "sent again by " in shown
    assert ": a purge by mistake" in shown


def test_a_run_that_ended_twice_is_shown(desk: Desk) -> None:
    (run,) = desk.start(services=ALL, until="completed")
    forged = replace(desk_message(desk, run), message_id=RUN)
    published(desk, Publication("NEW_TICKET", "end.completed", forged, mandatory=False))
    result = desk.call(*AUDIT, "-o", "json")
    (item,) = json.loads(result.stdout)["ended_twice"]
    assert (result.exit_code, item["run"], len(item["ends"])) == (1, run, 2)


def test_a_step_that_ran_twice_with_two_results_is_shown(desk: Desk) -> None:
    (run,) = desk.start(services=["assignment"], until="TicketAssigned")
    message = desk_message(desk, run)
    stamp = json.loads(str(message.headers["stamp"]))
    other = {**message.headers, "stamp": json.dumps(stamp | {"state": {"ticket_id": "T-1", "expert": "Bob"}})}
    published(desk, Publication("NEW_TICKET", "TicketAssigned", replace(message, headers=other)))
    assert desk.document(*AUDIT)["done_twice"] == [run]


def test_audit_filters_by_workflow_and_start(desk: Desk) -> None:
    desk.start(2)
    assert counts(desk, "--workflow", "OTHER") == {}
    assert counts(desk, "--since", "1h") == {"started": 2, "in_flight": 2}


def test_a_copy_is_not_sent_to_an_exchange_that_is_not_its_workflows(desk: Desk) -> None:
    (run,) = desk.start(services=["assignment"], until="TicketAssigned")
    emptied(desk, QUEUE, 1)
    asyncio.run(desk.broker.declare([Exchange("ELSEWHERE"), *journal.taps(["ELSEWHERE"])]))
    published(desk, Publication("ELSEWHERE", "anywhere", desk_message(desk, run)))
    before = len(recorded(desk))
    result = desk.call(*AUDIT, *REISSUE)
    assert (result.exit_code, len(recorded(desk)) - before) == (1, 0)


def test_a_message_whose_older_history_is_broken_is_counted_as_unreadable(desk: Desk) -> None:
    desk.start()
    broken = {**STAMP, "seq": 2, "history": [{**ENTRY, "at": "yesterday"}, {**ENTRY, "seq": 2}]}
    message = Message(body=b"{}", message_id=RUN, headers={"stamp": json.dumps(broken)})
    published(desk, Publication("NEW_TICKET", "TicketAssigned", message))
    assert desk.document("list")["unreadable"] == desk.document(*AUDIT)["unreadable"] == 1
    assert "warning: 1 unreadable" in desk.call("list").stderr
    assert "warning: 1 unreadable" in desk.call(*AUDIT).stderr


def test_without_a_journal_audit_names_the_fix(desk: Desk) -> None:
    assert desk.call("audit").stderr.startswith("error[E065]: there is no journal")


def seen(offset: int, at: float) -> Recorded:
    """The desk's message, as the journal has it."""
    message = Message(
        body=b"{}",
        message_id=RUN,
        headers={"stamp": json.dumps(STAMP)},
        correlation_id=RUN,
        timestamp=int(at),
    )
    return Recorded(offset=offset, message=message, exchange="NEW_TICKET", routing_key="TicketAssigned")


def test_what_moved_between_two_looks_is_not_missing() -> None:
    book = Book(Routes({("NEW_TICKET", 1, "TicketAssigned"): QUEUE}))
    book.enter(seen(0, time.time()))
    looks = [judge(book, Evidence(depths={QUEUE: 0}), now=time.time() + 100, older_than=60)]
    looks.append(judge(book, Evidence(depths={QUEUE: 0}), now=time.time() + 100, older_than=60))
    book.enter(seen(1, time.time()))
    looks.append(judge(book, Evidence(depths={QUEUE: 0}), now=time.time() + 100, older_than=60))
    assert [agreed(looks[0], second).count("missing") for second in looks[1:]] == [1, 0]


def test_a_queue_that_was_not_asked_for_proves_nothing() -> None:
    book = Book(Routes({("NEW_TICKET", 1, "TicketAssigned"): QUEUE}))
    book.enter(seen(0, time.time()))
    assert judge(book, Evidence(), now=time.time() + 100, older_than=60).count("in flight") == 1


async def _deleted(url: str, queue: str) -> None:
    broker = RabbitBroker(url)
    await broker.open()
    await broker.delete_queue(queue)
    await broker.close()


@pytest.mark.rabbitmq
def test_messages_of_a_deleted_queue_are_found_and_healed_on_a_real_broker_and_twice_changes_nothing(url: str) -> None:
    runs = _start(url, 3)
    asyncio.run(_deleted(url, "assignment.NEW_TICKET.assign"))
    words = (*AUDIT, "--broker", url)
    assert sorted(call(*words, "-o", "name").stdout.split()) == sorted(runs)
    for expected in ("3 sent again", "0 sent again"):
        healed = call(*words, *REISSUE)
        assert (healed.returncode, healed.stderr.splitlines()[-1]) == (0, expected)
    with serving(["run", "app", "--broker", url, *STORES]):
        assert call("wait", *runs, "--broker", url, "--timeout", "30s").returncode == 0
    document = json.loads(call(*words, *STORES, "-o", "json").stdout)
    assert {fate: count for fate, count in document["counts"].items() if count} == {"started": 3, "completed": 3}
    assert (document["ended_twice"], document["done_twice"]) == ([], [])
