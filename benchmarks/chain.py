"""Hops a second of a 4-hop chain on RabbitMQ: this toolkit against bare aio-pika, in alternating rounds."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aio_pika

from benchmarks import machine, profiles, tickets
from benchmarks.bare import BareChain
from benchmarks.measure import Row, cpu_seconds, listener, ratio, rows
from benchmarks.stamped import StampedChain
from brokers.node import Node
from stamp.testing.postgres import PostgresCluster

STORES = ("none", "sqlite", "postgres")
Timer = Callable[[Awaitable[None]], Awaitable[dict[str, float]]]


class Chain(Protocol):
    """One way to carry the tickets through their four hops."""

    @property
    def name(self) -> str: ...

    async def round(self, runs: int, timer: Timer) -> dict[str, float]: ...


@contextmanager
def rabbitmq(url: str | None, *, plugins: tuple[str, ...] = ()) -> Iterator[str]:
    """The broker that was named, or a private node for the time of the block."""
    if url is not None:
        yield url
        return
    with Node(plugins=plugins) as node:
        yield node.url


@contextmanager
def database(store: str) -> Iterator[None]:
    """For PostgreSQL the database that POSTGRES_URL names, or a private cluster for the time of the block."""
    if store != "postgres" or "POSTGRES_URL" in os.environ:
        yield
        return
    with PostgresCluster() as cluster:
        os.environ["POSTGRES_URL"] = cluster.url
        try:
            yield
        finally:
            del os.environ["POSTGRES_URL"]


def chains(url: str, store: str) -> list[Chain]:
    """The contenders of one alternating run, the bare one first."""
    bare = BareChain(url)
    if store == "none":
        return [bare, StampedChain(url, "stamped", journal=False), StampedChain(url, "stamped, journal", journal=True)]
    return [bare, StampedChain(url, f"stamped, {store}", journal=False, store=store_url(store))]


def store_url(store: str) -> Callable[[Path, str], str]:
    """Where a service keeps its rows, given a folder and the service's name."""
    if store == "sqlite":
        return lambda folder, service: f"sqlite:///{folder}/{service}.db"
    url = os.environ["POSTGRES_URL"]
    return lambda _folder, _service: url


async def run(url: str, *, store: str, runs: int, rounds: int) -> dict[str, Any]:
    """One round of each contender in turn, `rounds` times after a shorter one to warm up."""
    contenders = chains(url, store)
    timer = timed(listener(urlsplit(url).port or 5672), runs * len(tickets.SERVICES))
    samples: dict[str, list[dict[str, float]]] = {chain.name: [] for chain in contenders}
    for chain in contenders:
        await chain.round(max(1, runs // 5), timer)
    for _ in range(rounds):
        for chain in contenders:
            samples[chain.name].append(await chain.round(runs, timer))
    results = {name: rows(taken) for name, taken in samples.items()}
    bare = results[contenders[0].name]
    return {
        **machine.now(rabbitmq=await server_version(url), fsync_us=machine.fsync_us()),
        "rounds": rounds,
        "runs_per_round": runs,
        "chains": results,
        "ratio_to_bare": {name: ratio(figures, bare, "hops_s") for name, figures in results.items()},
        "cpu_ratio_to_bare": {name: round(_cpu(bare) / _cpu(figures), 2) for name, figures in results.items()},
    }


def _cpu(figures: dict[str, Row]) -> float:
    """Processor time of one hop, client and broker together."""
    return figures["client_us"]["median"] + figures["broker_us"]["median"]


def timed(broker: int | None, hops: int) -> Timer:
    """A stopwatch for one round: hops a second, and processor time a hop of this process and of the broker."""

    async def timer(work: Awaitable[None]) -> dict[str, float]:
        began, client, server = time.perf_counter(), time.process_time(), cpu_seconds(broker)
        await work
        seconds = time.perf_counter() - began
        return {
            "hops_s": hops / seconds,
            "client_us": (time.process_time() - client) / hops * 1e6,
            "broker_us": (cpu_seconds(broker) - server) / hops * 1e6,
        }

    return timer


async def server_version(url: str) -> str:
    """The version that the broker names in its greeting."""
    connection = await aio_pika.connect(url)
    async with connection:
        transport = connection.transport
        properties = transport.connection.server_properties if transport is not None else {}
        return str(properties.get("version", "unknown"))


def profile(url: str, *, store: str, runs: int, lines: int = 60) -> str:
    """A cProfile table of one round of the stamped chain, by own time."""
    return profiles.text(profiles.of_round(chains(url, store)[1], runs), lines)
