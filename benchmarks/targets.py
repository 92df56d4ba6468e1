"""The targets, what was measured of them in one run, and what explains those that were missed."""

from __future__ import annotations

import asyncio
import math
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import branches, chain, codec, command, growth, latency, machine, memory, profiles, scale
from benchmarks.peers import alternating
from benchmarks.profiles import Lines
from benchmarks.progress import say

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table: what must hold, what is aimed at, and where the measured figure lies in the results."""

    what: str
    must: float
    goal: float
    place: tuple[str, ...]
    at_most: bool = False
    unit: str = ""
    why: str = ""
    """Which explanation belongs to it; see `EXPLANATIONS`."""
    limit: tuple[str, ...] = ()
    """Where the results say how far this machine allows it to get."""

    def measured(self, results: Results) -> float | None:
        """The figure; `None` when it was not measured."""
        return _found(results, self.place)

    def allowed(self, results: Results) -> float | None:
        """The figure that the machine does not let it pass, where that is known."""
        return _found(results, self.limit) if self.limit else None

    def reaches(self, value: float, bound: float) -> bool:
        """Whether `value` is as good as `bound`."""
        return value <= bound if self.at_most else value >= bound


def _found(results: Results, place: tuple[str, ...]) -> float | None:
    found: Any = results
    for name in place:
        found = found.get(name) if isinstance(found, dict) else None
    return None if found is None else float(found)


_TWO = "2 of each service, 1 queue a step"
WAIT_MS = 5
"""What a handler of the scaled services waits for something outside, as handlers do."""
_LIGHT = "one ticket at a time, p50"

TARGETS = (
    Target(
        "stamped chain without a store : bare aio-pika",
        1.5,
        2.5,
        ("chain", "none", "ratio_to_bare", "stamped"),
        why="chain none",
    ),
    Target("the same : FastStream", 2.5, 4.0, ("peers", "stamped_to", "FastStream"), why="chain none"),
    Target("the same : taskiq", 2.0, 3.0, ("peers", "stamped_to", "taskiq"), why="chain none"),
    Target("the same : Celery", 5.0, 8.0, ("peers", "stamped_to", "Celery (solo)"), why="chain none"),
    Target(
        "effectively once on SQLite : bare aio-pika without a store",
        0.8,
        2.0,
        ("chain", "sqlite", "ratio_to_bare", "stamped, sqlite"),
        why="chain sqlite",
    ),
    Target(
        "effectively once on PostgreSQL : bare aio-pika without a store",
        0.6,
        1.5,
        ("chain", "postgres", "ratio_to_bare", "stamped, postgres"),
        why="chain postgres",
    ),
    Target(
        "effectively once on PostgreSQL : DBOS, workflows of 4 steps",
        3.0,
        6.0,
        ("peers", "stamped_postgres_to", "DBOS"),
        why="chain postgres",
    ),
    Target(
        f"{_LIGHT}: stamped : bare aio-pika",
        1.15,
        1.0,
        ("latency", "ratio_to_bare", "stamped"),
        at_most=True,
        why="latency",
    ),
    Target(
        f"{_LIGHT}: on SQLite : without a store",
        2.0,
        2.0,
        ("latency", "ratio_to_stamped", "stamped, sqlite"),
        at_most=True,
        why="latency",
    ),
    Target(
        f"{_LIGHT}: on PostgreSQL : without a store",
        2.0,
        2.0,
        ("latency", "ratio_to_stamped", "stamped, postgres"),
        at_most=True,
        why="latency",
    ),
    Target(
        "CPU of a hop on RabbitMQ, history 32 : 1",
        1.5,
        1.2,
        ("growth", "history", "client_to_1", "32"),
        at_most=True,
        why="history",
    ),
    Target("the stamp alone, history 32 : 1", 1.5, 1.2, ("codec", "ratio_32_to_1"), at_most=True, why="codec"),
    Target(
        "hops/s over 1,000,000 finished runs : none, SQLite",
        0.9,
        0.97,
        ("growth", "inbox sqlite", "ratio_full_to_empty"),
        why="inbox sqlite",
    ),
    Target(
        "hops/s over 1,000,000 finished runs : none, PostgreSQL",
        0.9,
        0.97,
        ("growth", "inbox postgres", "ratio_full_to_empty"),
        why="inbox postgres",
    ),
    Target(
        "the same with a front controller and its ledger, SQLite",
        0.9,
        0.97,
        ("growth", "owner sqlite", "ratio_full_to_empty"),
        why="owner sqlite",
    ),
    Target(
        "the same with a front controller and its ledger, PostgreSQL",
        0.9,
        0.97,
        ("growth", "owner postgres", "ratio_full_to_empty"),
        why="owner postgres",
    ),
    Target(
        "memory after 1,000,000 hops : 10,000, no store",
        1.1,
        1.02,
        ("growth", "memory none", "ratio_at_1m"),
        at_most=True,
        why="memory none",
    ),
    Target(
        "memory after 1,000,000 hops : 10,000, SQLite",
        1.1,
        1.02,
        ("growth", "memory sqlite", "ratio_at_1m"),
        at_most=True,
        why="memory sqlite",
    ),
    Target(
        f"two processes of each service : one, handlers wait {WAIT_MS} ms",
        1.4,
        1.7,
        ("scale waiting", "ratio_to_first", _TWO),
        why="scale waiting",
    ),
    Target(
        "the same, handlers wait for nothing: services and broker share the cores",
        1.4,
        1.7,
        ("scale", "ratio_to_first", _TWO),
        why="scale",
        limit=("scale", "cores_allow_to_first", _TWO),
    ),
    Target(
        "`stamp --help`, CPU",
        120,
        80,
        ("command", "ms", "stamp --help", "median"),
        at_most=True,
        unit=" ms",
        why="help",
    ),
    Target(
        "`stamp decode`, CPU",
        120,
        80,
        ("command", "ms", "stamp decode", "median"),
        at_most=True,
        unit=" ms",
        why="decode",
    ),
)


def verdict(target: Target, results: Results) -> str:
    """`goal`, `must` (the goal is missed), `missed`, `limit` (missed, where the machine allows no more than a miss), or
    `not measured`.
    """
    value = target.measured(results)
    if value is None:
        return "not measured"
    if target.reaches(value, target.goal):
        return "goal"
    if target.reaches(value, target.must):
        return "must"
    allowed = target.allowed(results)
    return "missed" if allowed is None or target.reaches(allowed, target.must) else "limit"


def unexplained(results: Results) -> list[str]:
    """The explanations that the missed goals ask for, each once."""
    asked = [target.why for target in TARGETS if verdict(target, results) in {"must", "missed", "limit"}]
    return list(dict.fromkeys(asked))


REMEMBERED = tuple((kind, store) for kind in growth.STYLES for store in ("sqlite", "postgres"))
"""What remembers the runs that have ended: inboxes, and an owner's ledger beside them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured; as it stands it takes about 21 minutes on two cores, nine of them for the memory."""

    runs: int = 1000
    rounds: int = 5
    peers_runs: int = 500
    peers_rounds: int = 3
    finished_runs: int = 1_000_000
    hops: int = 1_000_000
    memory_seconds: float = math.inf
    inbox_rounds: int = 9


def run(url: str, plan: Plan) -> Results:
    """Everything, each section in alternating rounds. `POSTGRES_URL` names a database server."""
    began = time.monotonic()
    results: Results = {}
    for name, section in _sections(url, plan):
        outer, _, inner = name.partition("/")
        results = {**results, outer: {**results.get(outer, {}), inner: section} if inner else section}
    why = {name: _explained(name, url, plan, results) for name in unexplained(results)}
    seconds = round(time.monotonic() - began)
    return {**results, "targets": {**machine.now(), "seconds": seconds, "why": why}}


def _sections(url: str, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    say("targets: the stamp alone, the command line")
    yield "codec", codec.run(rounds=plan.rounds, count=1000)
    yield "command", command.run(rounds=2 * plan.rounds)
    for store in chain.STORES:
        say(f"targets: chain, {store}")
        yield f"chain/{store}", asyncio.run(chain.run(url, store=store, runs=plan.runs, rounds=plan.rounds))
    yield "peers", alternating.run(url, runs=plan.peers_runs, rounds=plan.peers_rounds)
    yield "latency", asyncio.run(latency.run(url, stores=chain.STORES, tickets_a_round=30, rounds=2 * plan.rounds))
    for name, wait in (("scale", 0), ("scale waiting", WAIT_MS)):
        say(f"targets: two processes of each service, handlers wait {wait} ms")
        line = Namespace(store="none", wait=wait, runs=plan.runs, rounds=plan.peers_rounds)
        yield name, asyncio.run(scale.run(url, line))
    yield from _grown(url, plan)


def _grown(url: str, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "growth/history", asyncio.run(growth.history(url, runs=plan.runs // 2, rounds=plan.rounds))
    for kind, store in REMEMBERED:
        found = growth.remembered(
            url,
            store=store,
            style=growth.STYLES[kind],
            finished_runs=plan.finished_runs,
            runs=plan.runs // 2,
            rounds=plan.inbox_rounds,
        )
        yield f"growth/{kind} {store}", asyncio.run(found)
    for store in ("none", "sqlite"):
        yield f"growth/memory {store}", memory.service(url, store=store, hops=plan.hops, seconds=plan.memory_seconds)
    yield "growth/ledger", memory.ledger()
    yield "growth/branches", branches.run(rounds=plan.rounds)


def _explained(name: str, url: str, plan: Plan, results: Results) -> Lines:
    say(f"targets: why, {name}")
    return EXPLANATIONS[name](url, plan.runs // 2, results)


def _of_chain(store: str) -> Callable[[str, int, Results], Lines]:
    return lambda url, runs, _: profiles.top(profiles.of_round(chain.chains(url, store)[1], runs))


def _of_remembered(kind: str, store: str) -> Callable[[str, int, Results], Lines]:
    def lines(_url: str, _runs: int, results: Results) -> Lines:
        chains = results["growth"][f"{kind} {store}"]["chains"]
        empty, full = (chains[name] for name in ("empty", "full"))
        figures = ["client_us", "hops_per_commit", "written_kib" if store == "sqlite" else "wal_kib"]
        return [
            {"where": f"{figure}: {empty[figure]['median']} when empty, {full[figure]['median']} when full"}
            for figure in figures
        ]

    return lines


def _of_memory(store: str) -> Callable[[str, int, Results], Lines]:
    def lines(_url: str, _runs: int, results: Results) -> Lines:
        found = results["growth"][f"memory {store}"]
        sizes = ", ".join(f"{size / 1024:.1f} at {hops:,}" for hops, size in found["samples"][-8:])
        return [{"where": f"MiB resident: {sizes} hops; {found['bytes_a_hop']} bytes a hop"}]

    return lines


def _of_scale(name: str) -> Callable[[str, int, Results], Lines]:
    def lines(_url: str, _runs: int, results: Results) -> Lines:
        section = results[name]
        found, cores = section["layouts"][_TWO], section["machine"]["cores"]
        figures = ("cores_busy", "cores_of_services", "client_us", "broker_us")
        busy, services, client, broker = (found[figure]["median"] for figure in figures)
        return [
            {"where": f"of {cores} cores {busy} are busy with services and broker, {services} of them with services"},
            {"where": f"a hop takes {client:.0f} µs of a service's core and {broker:.0f} µs of the broker's"},
            {"where": f"so these cores allow {section['cores_allow_to_first'][_TWO]} × the hops of one at most"},
        ]

    return lines


EXPLANATIONS: dict[str, Callable[[str, int, Results], Lines]] = {
    **{f"chain {store}": _of_chain(store) for store in chain.STORES},
    "latency": lambda url, _runs, _: profiles.top(asyncio.run(latency.profiled(url))),
    "history": lambda url, runs, _: profiles.top(profiles.of_round(growth.HopAt(url, 32), runs)),
    "codec": lambda _url, runs, _: profiles.top(codec.profiled(runs, length=32)),
    **{f"{kind} {store}": _of_remembered(kind, store) for kind, store in REMEMBERED},
    **{f"memory {store}": _of_memory(store) for store in ("none", "sqlite")},
    **{name: _of_scale(name) for name in ("scale", "scale waiting")},
    "help": lambda *_: command.slowest_imports("stamp --help"),
    "decode": lambda *_: command.slowest_imports("stamp decode"),
}
"""Why a goal is missed: the first lines of a profile, or the figures that tell."""
