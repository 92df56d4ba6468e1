"""Light load: how long one ticket takes through four hops while nothing else is under way."""

from __future__ import annotations

import asyncio
import cProfile
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from benchmarks import chain, machine, tickets
from benchmarks.bare import BareChain
from benchmarks.measure import cpu_seconds, listener, ratio, rows
from benchmarks.progress import say
from benchmarks.stamped import StampedChain
from benchmarks.tickets import Start

PAUSE = 0.002
"""Seconds between two tickets, in which the last service settles what it has in hand."""

PATIENCE = 30.0


class Serving(Protocol):
    """A chain that can be kept at work."""

    @property
    def name(self) -> str: ...
    @property
    def end(self) -> tuple[str, str]: ...
    def serving(self) -> Any: ...


class Probe:
    """A listener of its own for the last event of a chain: what anybody outside would see, on both sides the same."""

    def __init__(self) -> None:
        self._awaited: dict[str, asyncio.Future[None]] = {}

    def expect(self, run: str) -> asyncio.Future[None]:
        """Done when the last event of this run arrives."""
        awaited = self._awaited[run] = asyncio.get_running_loop().create_future()
        return awaited

    async def __call__(self, message: AbstractIncomingMessage) -> None:
        awaited = self._awaited.pop(str(message.correlation_id), None)
        if awaited is not None:
            awaited.set_result(None)


@dataclass(frozen=True, slots=True)
class Lane:
    """One contender at work."""

    name: str
    start: Callable[[int], Start]
    probe: Probe

    async def ticket(self, number: int) -> float:
        """Milliseconds from the first publish until the event of the fourth service is seen."""
        one = self.start(number)
        seen = self.probe.expect(one.run)
        began = time.perf_counter()
        await one.send()
        await asyncio.wait_for(seen, PATIENCE)
        return (time.perf_counter() - began) * 1000

    async def block(self, count: int, broker: int | None) -> dict[str, float]:
        """`count` tickets, one after the other; times in milliseconds, processor time in microseconds a hop."""
        client, server = time.process_time(), cpu_seconds(broker)
        samples = []
        for number in range(count):
            samples.append(await self.ticket(number))
            await asyncio.sleep(PAUSE)
        hops = count * len(tickets.SERVICES)
        return {
            "p50_ms": statistics.median(samples),
            "p95_ms": statistics.quantiles(samples, n=20)[-1],
            "client_us": (time.process_time() - client) / hops * 1e6,
            "broker_us": (cpu_seconds(broker) - server) / hops * 1e6,
        }


def contenders(url: str, stores: Sequence[str]) -> list[Serving]:
    """The bare chain, and the stamped one for each kind of store."""
    found: list[Serving] = [BareChain(url)]
    for store in stores:
        name = "stamped" if store == "none" else f"stamped, {store}"
        place = None if store == "none" else chain.store_url(store)
        found.append(StampedChain(url, name, journal=False, store=place, label=f"LIGHT_{store}".upper()))
    return found


async def run(url: str, *, stores: Sequence[str], tickets_a_round: int, rounds: int) -> dict[str, Any]:
    """Every contender stays at work the whole time; their blocks of tickets take turns."""
    broker = listener(urlsplit(url).port or 5672)
    samples: dict[str, list[dict[str, float]]] = {}
    async with AsyncExitStack() as stack:
        lanes = [await stack.enter_async_context(_lane(url, one)) for one in contenders(url, stores)]
        for lane in lanes:
            await lane.block(max(2, tickets_a_round // 2), broker)
        for turn in range(rounds):
            say(f"latency: round {turn + 1} of {rounds}")
            for lane in lanes:
                samples.setdefault(lane.name, []).append(await lane.block(tickets_a_round, broker))
    return {
        **machine.now(rabbitmq=await chain.server_version(url), fsync_us=machine.fsync_us()),
        "rounds": rounds,
        "tickets_per_round": tickets_a_round,
        **_compared({name: rows(taken, digits=2) for name, taken in samples.items()}),
    }


def _compared(chains: dict[str, Any]) -> dict[str, Any]:
    bare = chains[BareChain.name]
    plain = chains.get("stamped")
    return {
        "chains": chains,
        "ratio_to_bare": {name: ratio(figures, bare, "p50_ms") for name, figures in chains.items()},
        "ratio_to_bare_p95": {name: ratio(figures, bare, "p95_ms") for name, figures in chains.items()},
        "ratio_to_stamped": {
            name: ratio(figures, plain, "p50_ms") for name, figures in chains.items() if plain and "," in name
        },
    }


@asynccontextmanager
async def _lane(url: str, one: Serving) -> AsyncIterator[Lane]:
    probe = Probe()
    async with one.serving() as start, await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(*one.end)
        await queue.consume(probe, no_ack=True)
        yield Lane(one.name, start, probe)


async def profiled(url: str, count: int = 200) -> cProfile.Profile:
    """Tickets of the stamped chain without a store under the profiler, one at a time."""
    profiler = cProfile.Profile()
    async with _lane(url, contenders(url, ["none"])[1]) as lane:
        await lane.block(20, None)
        with profiler:
            for number in range(count):
                await lane.ticket(number)
    return profiler
