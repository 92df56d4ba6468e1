"""The work that the guard looks at: one hop of the codec, and one hop over the embedded broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, nullcontext
from hashlib import sha256
from json import dumps, loads

from benchmarks import codec, tickets
from benchmarks.counting import Count
from benchmarks.measure import no_collector
from benchmarks.stamped import first
from brokers.memory import MemoryBroker
from stamp.runtime import Runtime
from stamp.stores.memory import MemoryStore
from stamp.testing.clock import VirtualClock

HISTORY = 8
BATCH = 64

Watch = Callable[[], AbstractContextManager[Count]]


def codec_hop(watch: Watch) -> float:
    """What one hop from message to message comes to; the caches are warm."""
    one = codec.case(HISTORY)
    for _ in range(3):
        one.hop()
    with watch() as count:
        one.hop()
    return count.number


def memory_hop(watch: Watch, *, store: bool) -> float:
    """The same over the embedded broker, with or without the embedded store: the mean of a batch."""

    async def counted() -> float:
        carrier = Carrier(store=store)
        await carrier.batch(nullcontext)
        count = await carrier.batch(watch)
        return count.number / BATCH

    return asyncio.run(counted())


class Carrier:
    """One service on an embedded broker; time stands still, so that nothing but its hops is at work."""

    def __init__(self, *, store: bool) -> None:
        self._workflow = tickets.chain("GUARD")
        self._store = store

    async def batch(self, watch: Callable[[], AbstractContextManager[Count | None]]) -> Count:
        """Carry a batch that waits in the queue; `watch` sees nothing but its way."""
        clock = VirtualClock(time.time())
        broker, service = MemoryBroker(clock=clock), tickets.services(self._workflow, tickets.Tally())[0]
        async with AsyncExitStack() as stack:
            await broker.open()
            stack.push_async_callback(broker.close)
            store = await self._opened_store(stack, clock)
            opened = service.open(broker=broker, store=store, clock=clock, journal=False, consume=False)
            runtime = await stack.enter_async_context(opened)
            await broker.publish_all([first(self._workflow, number) for number in range(BATCH)])
            with watch() as count:
                await _carried(runtime, broker)
        return count or Count()

    async def _opened_store(self, stack: AsyncExitStack, clock: VirtualClock) -> MemoryStore | None:
        if not self._store:
            return None
        store = MemoryStore(now=clock.now)
        await store.open()
        stack.push_async_callback(store.close)
        return store


async def _carried(runtime: Runtime, broker: MemoryBroker) -> None:
    await runtime.start_consuming()
    while runtime.busy or not broker.idle:  # noqa: ASYNC110  it has no event for this
        await asyncio.sleep(0)


def calibration() -> None:
    """Work of the same kind that never changes: JSON, a hash, dictionaries, calls. It stands for the machine."""
    text = dumps(_SAMPLE)
    for _ in range(3):
        value = loads(text)
        value["members"] = {name: len(str(item)) for name, item in value.items()}
        sha256(dumps(value, sort_keys=True).encode()).hexdigest()


_SAMPLE = {"run": codec.RUN, "text": tickets.problem(), "history": [{"seq": n, "step": f"step-{n}"} for n in range(8)]}


def codec_slice(count: int) -> float:
    """Microseconds of processor time a hop of the codec."""
    return codec.timed(codec.case(HISTORY).hop, count)


def calibration_slice(count: int) -> float:
    """Microseconds of processor time a turn of the calibration."""
    return codec.timed(calibration, count)


def memory_slice() -> float:
    """Microseconds of processor time a hop over the embedded broker, no store."""
    with no_collector():
        count = asyncio.run(Carrier(store=False).batch(_nanoseconds))
    return count.number / BATCH / 1000


@contextmanager
def _nanoseconds() -> Iterator[Count]:
    count, began = Count(), time.thread_time_ns()
    yield count
    count.number = time.thread_time_ns() - began
