"""The application before and after, on RabbitMQ: the same work and the same bodies, and then what is new."""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from existing_consumer.business import EXCHANGE, QUEUE, TicketCreated
from existing_consumer.workflow import HELPDESK, mail

from brokers.contract import Binding, Broker, Exchange, Message, Publication, Queue
from brokers.registry import broker_for
from stamp import Service
from stamp.journal import recorded
from stamp.layout import JOURNAL
from stamp.ledger import project
from stamp.resources import examples
from stamp.sighting import sight
from stamp.starting import start_run
from tests.servers import Server

HOME = examples() / "existing_consumer"
EXPECTED = json.loads((HOME / "expected.json").read_text("utf-8"))
TICKETS = [TicketCreated(*ticket) for ticket in EXPECTED["tickets"]]
TAP = "tests.helpdesk.tap"
MANY = 60

portal = Service("portal")


@contextmanager
def application(version: str, url: str, database: Path) -> Iterator[subprocess.Popen[str]]:
    """The application in its own process, ready; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"existing_consumer.{version}", url, str(database)],
        env={**os.environ, "PYTHONPATH": str(examples())},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


@asynccontextmanager
async def desk(url: str) -> AsyncIterator[Broker]:
    """A connection, with a tap on what the application publishes; the queues are gone afterwards."""
    broker = broker_for(url)
    await broker.open()
    queues = [TAP, QUEUE, "mail.HELPDESK.tell", "stamp.held.mail", "stamp.held.assignment", "stamp.held.portal"]
    try:
        await broker.declare([Exchange(EXCHANGE), Queue(name=TAP), Binding(TAP, EXCHANGE, "TicketAssigned")])
        yield broker
    finally:
        for queue in queues:
            await broker.delete_queue(queue)
        await broker.close()


@asynccontextmanager
async def neighbours(broker: Broker) -> AsyncIterator[int]:
    """Who starts runs, and who takes what the application sends. Gives the place in the journal where that begins."""
    async with portal.open(broker=broker, consume=False), mail.open(broker=broker):
        yield await broker.end(JOURNAL)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async def wait() -> None:
        while not await condition():  # noqa: ASYNC110  the condition lives in another process
            await asyncio.sleep(0.05)

    await asyncio.wait_for(wait(), 60)


async def bodies(broker: Broker, count: int) -> list[list[str]]:
    """What came out, as plain bodies."""
    consumer = await broker.consume(TAP)
    found: list[bytes] = []
    while len(found) < count:
        deliveries = await consumer.receive(count)
        found += [delivery.message.body for delivery in deliveries]
        await consumer.ack(deliveries)
    await consumer.close()
    return sorted(list(json.loads(body).values()) for body in found)


def rows(database: Path) -> list[list[str]]:
    with closing(sqlite3.connect(database)) as connection:
        return [list(row) for row in connection.execute("SELECT ticket_id, expert FROM assignment ORDER BY 1")]


def test_before_it_publishes_plain_bodies(rabbitmq: Server, tmp_path: Path) -> None:
    async def play() -> None:
        async with desk(rabbitmq.url) as broker:
            with application("before", rabbitmq.url, tmp_path / "desk.db"):
                for number, (ticket, product) in enumerate(EXPECTED["tickets"]):
                    body = json.dumps({"ticket_id": ticket, "product": product}).encode()
                    await broker.publish(
                        Publication(EXCHANGE, "TicketCreated", Message(body=body, message_id=str(number)))
                    )
                assert await bodies(broker, len(TICKETS)) == EXPECTED["assigned"]
        assert rows(tmp_path / "desk.db") == EXPECTED["assigned"]

    asyncio.run(play())


def test_after_it_publishes_the_same_bodies_and_the_runs_complete(rabbitmq: Server, tmp_path: Path) -> None:
    async def play() -> None:
        async with desk(rabbitmq.url) as broker, neighbours(broker) as since:
            with application("after", rabbitmq.url, tmp_path / "desk.db"):
                runs = await started(TICKETS)
                assert await bodies(broker, len(TICKETS)) == EXPECTED["assigned"]
                await until(lambda: completed(broker, runs, since))
        assert rows(tmp_path / "desk.db") == EXPECTED["assigned"]

    asyncio.run(play())


def test_after_a_message_that_comes_twice_is_handled_once(rabbitmq: Server, tmp_path: Path) -> None:
    async def play() -> None:
        async with desk(rabbitmq.url) as broker, neighbours(broker) as since:
            with application("after", rabbitmq.url, tmp_path / "desk.db"):
                (run,) = await started(TICKETS[:1])
                await until(lambda: completed(broker, [run], since))
                first, *_ = [r async for r in recorded(broker, start=since) if r.message.correlation_id == run]
                await broker.publish(Publication("", QUEUE, first.message))
                (other,) = await started(TICKETS[1:2])
                await until(lambda: completed(broker, [other], since))
        assert rows(tmp_path / "desk.db") == EXPECTED["assigned"][:2]

    asyncio.run(play())


def test_after_it_may_be_killed_at_any_time(rabbitmq: Server, tmp_path: Path) -> None:
    database = tmp_path / "desk.db"
    tickets = [TicketCreated(f"T-{number:03d}", "mail") for number in range(MANY)]

    async def play() -> None:
        async with desk(rabbitmq.url) as broker, neighbours(broker) as since:
            with application("after", rabbitmq.url, database):
                runs = await started(tickets)
                await until(lambda: has_rows(database, 5))
            with application("after", rabbitmq.url, database):
                await until(lambda: completed(broker, runs, since))
        assert rows(database) == [[ticket.ticket_id, "Barbara"] for ticket in tickets]

    asyncio.run(play())


def test_five_lines_change() -> None:
    before, after = (code_lines(HOME / f"{version}.py") for version in ("before", "after"))
    new = [line[2:] for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert len(new) == 5, new


def code_lines(path: Path) -> list[str]:
    """The lines of a module without its docstring, blank lines and indentation."""
    return [line.strip() for line in path.read_text().splitlines()[1:] if line.strip()]


async def has_rows(database: Path, count: int) -> bool:
    return len(rows(database)) >= count


async def completed(broker: Broker, runs: list[str], since: int) -> bool:
    """Whether the journal has seen the end of these runs, from an offset on."""
    seen = [
        sight(record.message, record.exchange, record.routing_key) async for record in recorded(broker, start=since)
    ]
    ledger = project(sighting for sighting in seen if sighting is not None)
    return all(run in ledger and ledger[run].stamp.phase == "completed" for run in runs)


async def started(tickets: list[TicketCreated]) -> list[str]:
    """Start a run for each ticket; their ids."""
    return [await start_run(portal, HELPDESK, ticket) for ticket in tickets]
