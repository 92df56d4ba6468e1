"""The same chain on this toolkit: four services in one process, with or without journal and stores."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, cast

import msgspec

from benchmarks import tickets
from benchmarks.tickets import Start
from brokers.contract import Publication
from stamp import Service
from stamp.beginning import begin
from stamp.codec import Codec
from stamp.ids import run_id
from stamp.layout import end_key
from stamp.outgoing import publications
from stamp.ports import Store, Transaction
from stamp.registry import store_for
from stamp.runtime import Runtime
from stamp.slim import begun
from stamp.style import Style
from stamp.workflow import Workflow

BURST = 200


class Counted:
    """A store that counts its transactions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.transactions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def begin(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction of the store."""
        self.transactions += 1
        return self._store.begin()


class StampedChain:
    """Four services of one workflow. `store` makes the URL of a service's store, given a folder and the service.

    Two chains that are open together need a `label` each: the name of their workflow.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        journal: bool,
        store: Callable[[Path, str], str] | None = None,
        label: str = "",
        style: Style = tickets.STAMPED,
    ) -> None:
        self.name = name
        self._url = url
        self._journal = journal
        self.place = store
        """Where a service keeps its rows, by a folder and its name; `None` is no store."""
        label = label or f"TICKET{'_JOURNAL' if journal else ''}{'_STORE' if store else ''}"
        self._workflow = tickets.chain(label, style)

    async def round(
        self, runs: int, timer: Callable[[Awaitable[None]], Awaitable[dict[str, float]]]
    ) -> dict[str, float]:
        """Fill the first queue, then time how long all runs take through the four services."""
        tally = tickets.Tally()
        with tempfile.TemporaryDirectory() as folder:
            async with self._services(tally, Path(folder)) as (runtimes, stores):
                await self._fill(runtimes[0], runs)
                sample = await timer(_carried(runtimes, tally, runs))
                return {**sample, **_commits(stores, sample, runs)}

    @property
    def end(self) -> tuple[str, str]:
        """Exchange and routing key of the last message."""
        return self._workflow.name, end_key("completed")

    @property
    def consumers(self) -> dict[str, str]:
        """By the service's name the one whose messages its inbox remembers: the queue of its step."""
        services = tickets.services(self._workflow, tickets.Tally())
        return {service.name: station.queue for service in services for station in service.stations()}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Callable[[int], Start]]:
        """The four services at work; what the block gets prepares one ticket."""
        with tempfile.TemporaryDirectory() as folder:
            async with self._services(tickets.Tally(), Path(folder)) as (runtimes, _):
                for runtime in runtimes:
                    await runtime.start_consuming()
                yield lambda number: self._start(runtimes[0], number)

    async def waves(self, runs: int) -> AsyncGenerator[int, None]:
        """Send `runs` tickets through again and again; yields the hops done so far, until the caller stops."""
        tally = tickets.Tally()
        with tempfile.TemporaryDirectory() as folder:
            async with self._services(tally, Path(folder)) as (runtimes, _):
                for runtime in runtimes:
                    await runtime.start_consuming()
                for target in count(runs, runs):
                    await self._fill(runtimes[0], runs)
                    await _ended(runtimes, tally, target)
                    yield target * len(tickets.SERVICES)

    def _start(self, runtime: Runtime, number: int) -> Start:
        publication = first(self._workflow, number)
        return Start(str(publication.message.correlation_id), lambda: runtime.broker.publish(publication))

    @asynccontextmanager
    async def _services(self, tally: tickets.Tally, folder: Path) -> AsyncIterator[tuple[list[Runtime], list[Counted]]]:
        async with AsyncExitStack() as stack:
            stores: list[Counted] = []
            runtimes = []
            for service in tickets.services(self._workflow, tally):
                store = await self._opened_store(stack, folder, service)
                stores += [store] if store else []
                opened = service.open(
                    broker=self._url, store=cast("Store | None", store), journal=self._journal, consume=False
                )
                runtimes.append(await stack.enter_async_context(opened))
            yield runtimes, stores

    async def _opened_store(self, stack: AsyncExitStack, folder: Path, service: Service) -> Counted | None:
        if self.place is None:
            return None
        store = store_for(self.place(folder, service.name))
        await store.open()
        stack.push_async_callback(store.close)
        return Counted(store)

    async def _fill(self, runtime: Runtime, runs: int) -> None:
        waiting = [message for number in range(runs) for message in started(self._workflow, number)]
        for place in range(0, len(waiting), BURST):
            outcomes = await runtime.broker.publish_all(waiting[place : place + BURST])
            if any(outcomes):
                raise RuntimeError(f"the first messages did not get through: {next(filter(None, outcomes))}")


def first(workflow: Workflow, number: int) -> Publication:
    """The message that starts a run."""
    return started(workflow, number)[0]


def started(workflow: Workflow, number: int) -> Sequence[Publication]:
    """What starts a run: its first message, and the word to its owner if it has one."""
    event = tickets.TicketOpened(f"T-{number:06d}", tickets.problem(number))
    state = msgspec.to_builtins(tickets.ticket(number))
    now = time.time()
    run = run_id(now, os.urandom(10))
    decision = begun(workflow, begin(workflow, event, run=run, state=state, now=now))
    return publications(decision, workflow, Codec(), service="tickets", now=now, trace={})


async def _carried(runtimes: Sequence[Runtime], tally: tickets.Tally, runs: int) -> None:
    for runtime in runtimes:
        await runtime.start_consuming()
    await _ended(runtimes, tally, runs)


async def _ended(runtimes: Sequence[Runtime], tally: tickets.Tally, runs: int) -> None:
    owned = any(runtime.keeper for runtime in runtimes)

    def under_way() -> bool:
        return min(tally.ended, tally.noted if owned else runs) < runs or any(runtime.busy for runtime in runtimes)

    while under_way():  # noqa: ASYNC110  it has no event for this
        await asyncio.sleep(0.002)


def _commits(stores: Sequence[Counted], sample: dict[str, float], runs: int) -> dict[str, float]:
    commits = sum(store.transactions for store in stores)
    if not commits:
        return {}
    hops = runs * len(tickets.SERVICES)
    return {"hops_per_commit": hops / commits, "commits_s": sample["hops_s"] * commits / hops}
