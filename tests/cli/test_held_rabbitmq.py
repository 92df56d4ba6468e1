"""Held runs are repaired through the real command on a real broker; killed half-way, a repair is repeated."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from brokers.contract import Broker, Message
from brokers.rabbitmq import RabbitBroker
from stamp import journal, parking
from stamp.codec import STAMP
from stamp.layout import JOURNAL
from tests.cli.desk import order
from tests.cli.test_held_repair import SAGA
from tests.cli.test_processes import COMMAND, call, environment, serving
from tests.servers import Server

SERVICES = ("assignment", "printing", "notification", "stamp-cli")
ASSIGN = "assignment.NEW_TICKET.assign"
PRINT = "printing.NEW_TICKET.print"
QUEUES = (ASSIGN, PRINT, "notification.NEW_TICKET.notify")
MANY = 300
PART = 60

T = TypeVar("T")


@pytest.fixture
def url(rabbitmq: Server, folder: Path) -> Iterator[str]:
    """A broker without the queues of the desk, before and after, and the desk whose undo can fail."""
    (folder / "app.py").write_text(SAGA)
    with_broker(rabbitmq.url, clean)
    yield rabbitmq.url
    with_broker(rabbitmq.url, clean)


async def clean(broker: Broker) -> None:
    for queue in (*QUEUES, *(f"stamp.held.{name}" for name in SERVICES), JOURNAL):
        await broker.delete_queue(queue)


def with_broker(url: str, work: Callable[[Broker], Awaitable[T]]) -> T:
    async def opened() -> T:
        broker = RabbitBroker(url)
        await broker.open()
        try:
            return await work(broker)
        finally:
            await broker.close()

    return asyncio.run(opened())


def start(url: str, count: int) -> list[str]:
    lines = "".join(json.dumps(order(number)) + "\n" for number in range(count))
    done = call("start", "NEW_TICKET", "--app", "app", "--broker", url, input=lines)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def held(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return call("held", *words, "--app", "app", "--reason", "by hand", "--by", "ada", "--yes", "--broker", url)


async def taken(broker: Broker, queue: str, count: int) -> list[Message]:
    """The first messages of a queue, taken out."""
    consumer = await broker.consume(queue, prefetch=2 * MANY)
    found: list[Message] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            deliveries = await consumer.receive(count - len(found))
            found += [one.message for one in deliveries]
            await consumer.ack(deliveries)
    await consumer.close()
    return found


@pytest.mark.rabbitmq
def test_runs_held_by_a_failing_undo_are_repaired_from_the_shell_and_end_compensated_once(url: str) -> None:
    serve = ["run", "app", "--broker", url, "--store", "sqlite:///{service}.db"]
    runs = start(url, 3)
    with serving(serve, DESK_UNDO="1", DESK_PRINTER="1"):
        assert call("wait", *runs, "--broker", url, "--timeout", "30s").returncode == 1
    (group,) = json.loads(call("held", "list", "--app", "app", "--broker", url, "-o", "json").stdout)["groups"]
    assert (group["count"], group["reason"], group["error"]) == (3, "undo-failed", "ConnectionError")
    with serving(serve):
        for words in (("undo",), ("skip",), ("amend", "--set", 'expert="Grace"', "--release")):
            done = held(url, *words, runs[["undo", "skip", "amend"].index(words[0])])
            assert done.returncode == 0, done.stderr
        call("wait", *runs, "--broker", url, "--timeout", "30s")
    assert json.loads(call("list", "-o", "json", "--broker", url).stdout)["counts"] == {"compensated": 3}
    assert with_broker(url, ends) == [("end.compensated", run) for run in sorted(runs)]
    assert "nothing is held" in call("held", "list", "--app", "app", "--broker", url).stderr


async def ends(broker: Broker) -> list[tuple[str, str | None]]:
    seen = [(one.routing_key, one.message.correlation_id) async for one in journal.recorded(broker)]
    return sorted(one for one in seen if one[0].startswith("end."))


async def hold_all(broker: Broker) -> int:
    """All messages of the first step, held as if it had failed; where the journal ends then."""
    messages = await taken(broker, ASSIGN, MANY)
    parcels = [
        parking.park(one, service="assignment", reason="failed", detail="E: x", now=1.5, origin={parking.QUEUE: ASSIGN})
        for one in messages
    ]
    assert list(await broker.publish_all(parcels)) == [None] * MANY
    return await broker.end(JOURNAL)


def killed_half_way(url: str, words: tuple[str, ...], begin: int) -> int:
    """Kill the command once the journal shows that it is at work; how many messages are held after that."""
    command = [*COMMAND, "held", *words, "--app", "app", "--reason", "x", "--yes", "--broker", url, "--rate", "300"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())

    async def kill(broker: Broker) -> int:
        async with asyncio.timeout(30):
            while await broker.end(JOURNAL) < begin + PART:
                assert process.poll() is None
            process.kill()
            process.wait(10)
            before = -1
            while (now := await broker.depth("stamp.held.assignment")) != before or not now:
                before = now
        return now

    try:
        return with_broker(url, kill)
    finally:
        process.kill()
        process.wait(10)


async def handled(broker: Broker) -> list[Message]:
    """What the first step sent on, once it has handled everything that waits for it."""
    async with asyncio.timeout(30):
        while await broker.depth(PRINT) < MANY or await broker.depth(ASSIGN):  # noqa: ASYNC110  another process works
            await asyncio.sleep(0.05)
    return await taken(broker, PRINT, await broker.depth(PRINT))


@pytest.mark.rabbitmq
@pytest.mark.parametrize(
    "words", [("release",), ("amend", "--set", 'expert="Grace"', "--release")], ids=lambda words: words[0]
)
def test_a_bulk_repair_killed_half_way_is_repeated_and_nothing_is_lost_or_done_twice(
    url: str, words: tuple[str, ...]
) -> None:
    runs = start(url, MANY)
    begin = with_broker(url, hold_all)
    left = killed_half_way(url, words, begin)
    assert 0 < left <= MANY + 1
    done = held(url, *words)
    assert done.returncode == 0, done.stderr
    assert with_broker(url, lambda broker: broker.depth("stamp.held.assignment")) == 0
    with serving(["run", "app:assignment", "--broker", url, "--store", "sqlite:///{service}.db"]):
        messages = with_broker(url, handled)
    assert sorted(one.correlation_id or "" for one in messages) == sorted(runs)
    steps = [entry["step"] for entry in json.loads(messages[0].headers[STAMP])["history"]]
    assert steps == (["assign"] if words == ("release",) else ["amend:assign", "assign"])
