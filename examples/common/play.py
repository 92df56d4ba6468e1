"""Plays a whole example: files in, services at work, the account at the end. `stamp demo` is its command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from brokers.contract import Broker, Queue
from brokers.errors import NotFound
from common import owner
from common.crew import apart
from common.databases import Databases
from common.example import Example, together
from common.feed import Intake, Rejected, count, feed
from common.summary import Summary, account, samples
from common.watch import Watch, journal_end
from stamp.inquiry import Picture
from stamp.layout import HELD, delay_exchange
from stamp.ledger import Record
from stamp.registry import store_for
from stamp.retry import LADDER

PATIENCE = 60.0
"""Seconds without any movement after which the account is drawn up as it stands. Longer than the relay's lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Whom to tell what, while it runs."""

    rejected: Callable[[Rejected], None]
    progress: Callable[[int, int, int], None]
    """Lines dealt with, lines in all, finished hops."""
    note: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Played:
    """How it ended, and two runs worth a look."""

    summary: Summary
    samples: Sequence[tuple[str, Record]]
    """Each with the key of its line: `T-0001`."""
    answers: Sequence[Picture] = ()
    """What the services said of those two when they were asked."""


class OccupiedError(Exception):
    """The queues of the example are there already: somebody else's, or left behind."""

    def __init__(self, queues: Sequence[str]) -> None:
        super().__init__(", ".join(queues))


def queues(example: Example) -> list[str]:
    """Every queue the example makes, rungs of the delay ladder included."""
    return [*(part.name for part in example.topology() if isinstance(part, Queue)), *map(delay_exchange, LADDER)]


async def existing(example: Example, broker: Broker) -> list[str]:
    """Which of them the broker has now."""
    return [name for name in queues(example) if await _depth(broker, name) is not None]


@asynccontextmanager
async def stage(example: Example, broker: Broker, *, replace: bool) -> AsyncIterator[None]:
    """The example's queues for the time of the block. Raises `OccupiedError` when some hold somebody else's messages.

    The journal and the delays are shared with everything on the broker: they go at the end only if they came here.
    """
    before = set(await existing(example, broker))
    own = sorted(name for name in before if name.partition(".")[0] in example.services or name.startswith(f"{HELD}."))
    if own and not replace:
        raise OccupiedError(own)
    for name in own:
        await broker.delete_queue(name)
    try:
        await broker.declare(example.topology())
        yield
    finally:
        for name in queues(example):
            if name in own or name not in before:
                await broker.delete_queue(name)


async def play(
    example: Example,
    files: Sequence[Path],
    *,
    broker: Broker,
    databases: Databases,
    listener: Listener,
    url: str | None,
    patience: float = PATIENCE,
) -> Played:
    """Run it on an open broker with its stage set. With `url` each service is a process of its own."""
    await databases.prepare(example.ddl)
    watch, intake = Watch(example.workflow.name), Intake()
    following = asyncio.create_task(watch.follow(broker, start=await journal_end(broker)))
    ticking = asyncio.create_task(_tick(watch, intake, listener, sum(map(count, files))))
    try:
        async with _services(example, broker, databases, listener, url):
            began = time.monotonic()
            await feed(example, files, intake, on_rejected=listener.rejected)
            await watch.until_settled(intake.runs, patience=patience)
            seconds = max(watch.moved - began, 0.001)
            ours = [watch.rows[run] for run in intake.runs if run in watch.rows]
            ledger = await owner.claim(example, databases, ours)
            answers = await owner.answers(example, broker, [record.run for record in samples(ours)])
    finally:
        for task in (following, ticking):
            task.cancel()
        await asyncio.gather(following, ticking, return_exceptions=True)
    waiting = 0 if watch.settled >= set(intake.runs) else await _waiting(example, broker, databases)
    ours = [watch.rows[run] for run in intake.runs if run in watch.rows]
    books = [*await example.audit(databases, ours, intake.runs), *ledger]
    summary = account(intake, ours, waiting=waiting, seconds=seconds, now=time.time(), books=books)
    shown = [(getattr(intake.runs[record.run], example.key), record) for record in samples(ours)]
    return Played(summary, shown, answers)


def _services(
    example: Example, broker: Broker, databases: Databases, listener: Listener, url: str | None
) -> AbstractAsyncContextManager[None]:
    if url is None:
        return together(example, broker, databases)
    return apart(example, broker, databases, url=url, note=listener.note)


async def _tick(watch: Watch, intake: Intake, listener: Listener, total: int) -> None:
    while True:
        done = len(watch.settled) + intake.duplicates + len(intake.rejected)
        listener.progress(min(done, total), total, watch.hops)
        await asyncio.sleep(0.1)


async def _waiting(example: Example, broker: Broker, databases: Databases) -> int:
    """Messages that are neither lost nor done: in work queues, in delays, in outboxes."""
    shelves = [name for name in queues(example) if not name.startswith((f"{HELD}.", "stamp.journal"))]
    queued = sum([await _depth(broker, name) or 0 for name in shelves])
    return queued + sum([await _backlog(databases.url(name)) for name in example.services])


async def _depth(broker: Broker, queue: str) -> int | None:
    try:
        return await broker.depth(queue)
    except NotFound:
        return None


async def _backlog(url: str) -> int:
    store = store_for(url)
    await store.open()
    try:
        return await store.backlog()
    finally:
        await store.close()
