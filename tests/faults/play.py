"""One play: its names, its databases, its processes, and the wait for its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
import msgspec

from brokers.errors import BrokerError
from brokers.rabbitmq import RabbitBroker
from tests.faults import account, orders
from tests.faults.account import Account
from tests.faults.places import Place, place_of
from tests.faults.plan import READY_WORD, VARIABLE, Plan
from tests.faults.points import Point

ROOT = Path(__file__).parents[2]
READY = 30.0
STARTED = "--- started"
DONE = 60.0
GIVEN_BACK = 5
"""How often what a stopping process gives back is served again."""
POLL = 0.05

AWAY = (BrokerError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a look at the databases or the broker may raise while a fault is on."""


class TooLateError(AssertionError):
    """A condition did not come true in time."""


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, what: Callable[[], str]) -> None:
    """Poll until it holds. Raises `TooLateError` with what `what` says after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise TooLateError(what())
        await asyncio.sleep(POLL)


class Child:
    """A process of the play: started, killed by itself or by us, started again with the same plan."""

    def __init__(self, name: str, plan: Plan, log: Path) -> None:
        self.name = name
        self.plan = plan
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self, *, kill: Point | None = None, nth: int = 1) -> None:
        """Start it, with or without a trap. From the main thread: it dies with the thread that started it."""
        plan = msgspec.structs.replace(self.plan, kill=str(kill) if kill else None, nth=nth)
        self._starts += 1
        with self.log.open("a") as log:
            log.write(f"{STARTED} {self._starts}\n")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.child"],
                cwd=ROOT,
                env={**os.environ, VARIABLE: plan.text()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def ended(self) -> int | None:
        """How it ended: 0 is well, -9 is SIGKILL, `None` is not at all."""
        return None if self._process is None else self._process.poll()

    @property
    def served(self) -> bool:
        """Whether it was ready at some time since its latest start."""
        return READY_WORD in self.log.read_text(errors="replace").rpartition(STARTED)[2].splitlines()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; silent when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def wait(self, seconds: float) -> int:
        """How it ended, within `seconds`."""

        async def ended() -> bool:
            return self.ended is not None

        await until(ended, seconds, lambda: f"{self.name} has not ended\n{self.tail()}")
        assert self.ended is not None
        return self.ended

    async def ready(self, seconds: float = READY) -> None:
        """Wait until it serves, after its latest start."""

        async def ready() -> bool:
            assert self.ended is None, f"{self.name} ended by itself: {self.ended}\n{self.tail()}"
            return self.served

        await until(ready, seconds, lambda: f"{self.name} is not ready\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it said."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.name}\n" + "\n".join(text.splitlines()[-25:])


@dataclass(slots=True, kw_only=True)
class Play:
    """`count` orders through services of a tag of their own."""

    tag: str
    url: str
    """The broker as the services see it."""
    broker: RabbitBroker
    places: Mapping[str, Place]
    urls: Mapping[str, str]
    folder: Path
    count: int
    since: int
    children: list[Child] = field(default_factory=list)

    def child(self, name: str, services: Sequence[str], **plan: object) -> Child:
        """A process with these services, not yet started. The one with the shop places the orders."""
        urls = {service: self.urls[service] for service in services}
        made = Plan(tag=self.tag, broker=self.url, places=urls, orders=self.count)
        child = Child(name, msgspec.structs.replace(made, **plan), self.folder / f"{name}.log")
        self.children.append(child)
        return child

    async def said(self, name: str, words: str, seconds: float = DONE) -> None:
        """Wait until a process has said these words."""
        child = next(child for child in self.children if child.name == name)

        async def said() -> bool:
            return words in child.log.read_text(errors="replace")

        await until(said, seconds, lambda: f"never said {words!r}\n{child.tail()}")

    async def complete(self, seconds: float = DONE) -> None:
        """Wait until every row is there and every outbox is empty, and no process has ended by itself."""
        progress: list[str] = []

        async def done() -> bool:
            for child in self.children:
                assert child.ended is None, f"{child.name} ended by itself: {child.ended}\n{child.tail()}"
            progress[:] = [await self.state()]
            return progress == ["all done"]

        await until(done, seconds, lambda: "\n".join([*progress, *(child.tail() for child in self.children)]))

    async def done(self) -> float:
        """The share of all rows that is there; 0 while the databases are out of reach."""
        want = sum(rows.total() for rows in orders.expected(self.count).values())
        try:
            return sum([(await place.rows()).total() for place in self.places.values()]) / want
        except AWAY:
            return 0.0

    async def state(self) -> str:
        """`all done`, or what is still to come."""
        want = orders.expected(self.count)
        try:
            for name, place in self.places.items():
                missing, left = want[name] - await place.rows(), await place.outbox()
                if missing or left:
                    return f"{name}: {missing.total()} rows missing, {left} in the outbox: {list(missing)[:5]}"
        except AWAY as error:
            return f"out of reach: {error!r}"
        return "all done"

    async def ended(self) -> Account:
        """Stop every process well, then draw up the account.

        What went back into a queue then, such as a twin from a broker that lost the acknowledgement, is served first:
        it must change nothing.
        """
        await self._stopped()
        await until(self._reachable, DONE, lambda: "the journal is out of reach")
        for _ in range(GIVEN_BACK):
            if await self._idle():
                break
            for child in self.children:
                child.start()
            for child in self.children:
                await child.ready()
            await until(self._idle, DONE, lambda: "\n".join(child.tail() for child in self.children))
            await self._stopped()
        return await account.drawn(self.broker, self.places, tag=self.tag, count=self.count, since=self.since)

    async def _reachable(self) -> bool:
        """Whether the broker answers for its stream: after a restart that takes a moment longer than for its queues."""
        try:
            await account.journal_end(self.broker)
        except BrokerError:
            return False
        return True

    async def _idle(self) -> bool:
        return not await account.waiting(self.broker, account.work_queues(self.tag))

    async def _stopped(self) -> None:
        """A process that was started again a moment ago heeds SIGTERM only when it is ready."""
        for child in self.children:
            await child.ready()
        for child in self.children:
            child.signal(signal.SIGTERM)
        ends = [await child.wait(40.0) for child in self.children]
        assert not any(ends), "\n".join([str(ends), *(child.tail() for child in self.children)])


@asynccontextmanager
async def playing(
    *, broker: str, stores: Mapping[str, str], folder: Path, count: int, through: str | None = None
) -> AsyncIterator[Play]:
    """A prepared play. `through` is the broker's URL as the services see it (a proxy's). Nothing of it is left."""
    tag = uuid4().hex[:8]
    urls = {name: stores[name].format(service=name, tag=tag, folder=folder) for name in orders.SERVICES}
    places = {name: place_of(url) for name, url in urls.items()}
    async with AsyncExitStack() as stack:
        link = RabbitBroker(broker)
        await link.open()
        stack.push_async_callback(link.close)
        for place in places.values():
            await place.prepare()
        since = await account.journal_end(link)
        play = Play(
            tag=tag,
            url=through or broker,
            broker=link,
            places=places,
            urls=urls,
            folder=folder,
            count=count,
            since=since,
        )
        try:
            yield play
        finally:
            for child in play.children:
                child.kill()
            await _cleared(play)


async def _cleared(play: Play) -> None:
    for name in account.queues(play.tag):
        await play.broker.delete_queue(name)


def everywhere(store: str) -> dict[str, str]:
    """The same kind of database for every service; `store` has places for `{service}`, `{tag}` and `{folder}`."""
    return dict.fromkeys(orders.SERVICES, store)


SQLITE = "sqlite:///{folder}/{service}-{tag}.db"


def schemas(url: str) -> str:
    """A schema a service in that database."""
    return url + "#{service}_{tag}"
