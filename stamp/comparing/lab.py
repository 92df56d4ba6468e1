"""One style at work: its services on the shared broker, with databases and counters of their own."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, cast

from brokers.contract import Broker, Queue
from stamp.comparing.counting import CountingStore, Counts, counting_broker, counting_hops
from stamp.comparing.ends import Ends
from stamp.comparing.variants import Variant
from stamp.ports import Store
from stamp.registry import store_for
from stamp.runtime import Runtime

TOGETHER = 25
"""Runs that are started in one transaction."""

LOOK = 0.05
QUIET = 0.3
"""Seconds in which nothing moves, after which nothing more is expected of services that had their say."""

BOUND = 15.0
"""Seconds after which it is not waited for any longer that nothing moves."""


class Input(NamedTuple):
    """What a run is started with."""

    event: Any
    state: Any


Urls = Callable[[str, str], str]
"""The URL of a database, by style and service."""


@dataclass(slots=True, kw_only=True)
class Lab:
    """What one style needs for the time of a comparison. Its databases stay open from turn to turn."""

    variant: Variant
    broker: Broker
    counted: Broker
    stores: Mapping[str, CountingStore]
    inputs: Iterator[Input]
    ends: Ends
    patience: float
    """Seconds without any end after which what has not ended counts as missing."""
    counts: Counts = field(default_factory=Counter)
    at_work: list[Runtime] = field(default_factory=list)

    @property
    def queues(self) -> list[str]:
        """The queues that its services declare."""
        parts = [part for service in self.variant.services.values() for part in service.topology()]
        return list(dict.fromkeys(part.name for part in parts if isinstance(part, Queue)))

    @asynccontextmanager
    async def serving(self, names: Iterable[str] | None = None) -> AsyncIterator[None]:
        """These services at work; all of them when none are named."""
        services = self.variant.services
        async with AsyncExitStack() as stack:
            for name in services if names is None else names:
                store = cast("Store", self.stores[name])
                runtime = await stack.enter_async_context(services[name].open(broker=self.counted, store=store))
                self.at_work.append(runtime)
                stack.callback(self.at_work.remove, runtime)
            yield

    async def start(self, count: int) -> list[str]:
        """Start runs as fast as it goes; returns their ids."""
        flow, started = self.variant.workflow, list[str]()
        inputs = list(islice(self.inputs, count))
        for place in range(0, count, TOGETHER):
            async with self.variant.services[self.variant.first].transaction() as tx:
                chunk = inputs[place : place + TOGETHER]
                started += [await tx.start(flow, given.event, state=given.state) for given in chunk]
        return started

    async def start_one(self) -> tuple[str, float]:
        """Start one run; its id, and when its transaction had committed."""
        given, store = next(self.inputs), self.stores[self.variant.first]
        async with self.variant.services[self.variant.first].transaction() as tx:
            run = await tx.start(self.variant.workflow, given.event, state=given.state)
            store.mark()
        return run, store.committed

    async def until(self, reached: Callable[[], bool], *, bound: float) -> None:
        """Wait until this is so, at most until `bound` has passed."""
        deadline = time.monotonic() + bound
        while not reached() and time.monotonic() < deadline:  # noqa: ASYNC110  counters ring no bell
            await asyncio.sleep(LOOK)

    async def quiet(self, seconds: float | None = None, *, bound: float = BOUND) -> None:
        """Wait until nobody had work and nothing was counted for so many seconds, at most until `bound` has passed."""
        seconds = QUIET if seconds is None else seconds
        began = moved = time.monotonic()
        before = self.counts.copy()
        while time.monotonic() < min(moved + seconds, began + bound):
            await asyncio.sleep(LOOK)
            if self.counts != before or any(runtime.busy for runtime in self.at_work):
                before, moved = self.counts.copy(), time.monotonic()

    async def clear(self) -> None:
        """Delete the queues, so that the next style's services begin on a bare broker."""
        for queue in self.queues:
            await self.broker.delete_queue(queue)


@asynccontextmanager
async def lab(
    variant: Variant, broker: Broker, *, urls: Urls, inputs: Iterator[Input], ends: Ends, patience: float
) -> AsyncIterator[Lab]:
    """Open the databases of a style; they close at the end. Raises `StoreUnavailable`."""
    counts: Counts = Counter()
    async with AsyncExitStack() as stack:
        stores = {}
        for name, service in variant.services.items():
            store = store_for(urls(variant.name, name))
            await store.open()
            stack.push_async_callback(store.close)
            stores[name] = CountingStore(store, counts)
            service.observers.append(counting_hops(counts))
        yield Lab(
            variant=variant,
            broker=broker,
            counted=counting_broker(broker, counts),
            stores=stores,
            inputs=inputs,
            ends=ends,
            patience=patience,
            counts=counts,
        )
