"""Two processes share the shards of a step, and one of them ends: every page once, and each book in order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from brokers.rabbitmq import RabbitBroker
from tests.scale.press import READY, VARIABLE, Plan, order, prepare, press, printed, shards
from tests.servers import Server

ROOT = Path(__file__).parents[2]
BOOKS, PAGES = 24, 20
PATIENCE = 40.0


@contextmanager
def process(plan: Plan, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A press of its own; killed at the end if it still runs."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.scale.press"],
            cwd=ROOT,
            env={**os.environ, VARIABLE: msgspec.json.encode(plan).decode()},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        until(lambda: READY in log.read_text(), log.read_text)
        yield child
    finally:
        child.kill()
        child.wait()


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


async def placed(plan: Plan) -> None:
    broker = RabbitBroker(plan.broker)
    await broker.open()
    outcomes = await broker.publish_all(order(plan.tag, BOOKS, PAGES, time.time()))
    await broker.close()
    assert not any(outcomes), outcomes


async def declared(plan: Plan) -> None:
    async with press(plan.tag).open(broker=plan.broker, consume=False):
        pass


async def cleared(plan: Plan) -> None:
    broker = RabbitBroker(plan.broker)
    await broker.open()
    for queue in [*shards(plan.tag), f"stamp.held.press-{plan.tag}"]:
        await broker.delete_queue(queue)
    await broker.close()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_when_one_of_two_processes_ends_the_other_goes_on_in_order(
    rabbitmq: Server, tmp_path: Path, ending: signal.Signals
) -> None:
    database = tmp_path / "press.db"
    plan = Plan(tag=uuid4().hex[:8], broker=rabbitmq.url, database=str(database), share=(0, 2))
    other = msgspec.structs.replace(plan, share=(1, 2))
    prepare(database)
    asyncio.run(declared(plan))
    with process(plan, tmp_path / "first.log") as first, process(other, tmp_path / "second.log") as second:
        asyncio.run(placed(plan))
        until(lambda: {pid for _, _, pid in printed(database)} == {first.pid, second.pid}, lambda: "one has no part")
        first.send_signal(ending)
        until(lambda: len(printed(database)) >= BOOKS * PAGES, lambda: f"only {len(printed(database))} pages")
        first.wait()
        done_by = Counter(pid for _, _, pid in printed(database))
        assert done_by[second.pid] > BOOKS * PAGES / 2, "the second took over"
    books: defaultdict[int, list[int]] = defaultdict(list)
    for book, page, _ in printed(database):
        books[book].append(page)
    assert dict(books) == {book: list(range(PAGES)) for book in range(BOOKS)}
    asyncio.run(cleared(plan))
