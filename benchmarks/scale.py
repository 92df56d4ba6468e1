"""Hops a second when a deployment grows: two processes of every service against one, four shards against one queue."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from benchmarks import machine, tickets
from benchmarks.measure import cpu_seconds, listener, ratio, rows
from benchmarks.scaled import READY, Part, workflow
from benchmarks.stamped import BURST, first
from brokers.contract import Binding, Queue
from brokers.node import Node
from brokers.rabbitmq import RabbitBroker
from stamp.layout import end_key

RESULTS = Path(__file__).parents[1] / "docs" / "explanation" / "scale.json"
PLUGIN = "rabbitmq_consistent_hash_exchange"
END = "benchmark.scale.end"
POLL = 0.01


@dataclass(frozen=True, slots=True)
class Layout:
    """So many processes, each with all four services; so many queues a step."""

    processes: int
    shards: int
    store: str = "none"
    wait_ms: float = 0

    @property
    def name(self) -> str:
        """In words, for the table."""
        queues = "1 queue a step" if self.shards == 1 else f"{self.shards} shards a step"
        return f"{self.processes} of each service, {queues}"


LAYOUTS = ((1, 1), (2, 1), (1, 4), (2, 4))
"""Processes and shards; the first is what the others are compared with."""


def add_to(commands: Any) -> None:
    """The command `scale`."""
    line = commands.add_parser("scale", help="two processes of each service, and shards")
    line.add_argument("--store", choices=("none", "sqlite"), default="none")
    line.add_argument("--wait", type=float, default=0, metavar="MS", help="what every handler waits, in milliseconds")
    line.add_argument("--runs", type=int, default=1500, help="runs a round")
    line.add_argument("--rounds", type=int, default=5)
    line.add_argument("--broker", metavar="URL", help="default: a private node; it needs the plugin " + PLUGIN)
    line.set_defaults(measure=measure)


def measure(options: argparse.Namespace) -> None:
    """Measure one store's table, keep it, and print it."""
    with ExitStack() as stack:
        url = options.broker or stack.enter_context(Node(plugins=(PLUGIN,))).url
        section = asyncio.run(run(url, options))
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {**known, f"store {options.store}, handlers wait {options.wait:g} ms": section}
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    print(table(section))


async def run(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """One round of each layout in turn, as often as asked for, after a shorter one to warm up."""
    runs = options.runs
    layouts = [Layout(processes, shards, options.store, options.wait) for processes, shards in LAYOUTS]
    samples: dict[str, list[dict[str, float]]] = {layout.name: [] for layout in layouts}
    broker = RabbitBroker(url)
    await broker.open()
    try:
        for layout in layouts:
            await _round(broker, url, layout, max(1, runs // 5))
        for _ in range(options.rounds):
            for layout in layouts:
                samples[layout.name].append(await _round(broker, url, layout, runs))
    finally:
        await broker.close()
    results = {name: rows(taken, digits=2) for name, taken in samples.items()}
    base = results[layouts[0].name]
    allowed = {layout.name: cores_allow(layout, results[layout.name]) for layout in layouts}
    return {
        **machine.now(fsync_us=machine.fsync_us()),
        "rounds": options.rounds,
        "runs_per_round": runs,
        "layouts": results,
        "ratio_to_first": {name: ratio(figures, base, "hops_s") for name, figures in results.items()},
        "best_to_best": {
            name: round(figures["hops_s"]["max"] / base["hops_s"]["max"], 2) for name, figures in results.items()
        },
        "cores_allow": {name: round(hops) for name, hops in allowed.items()},
        "cores_allow_to_first": {name: round(hops / allowed[layouts[0].name], 2) for name, hops in allowed.items()},
    }


def cores_allow(layout: Layout, figures: dict[str, Any]) -> float:
    """The hops a second at which the cores of this machine are full, or each process its one core: no layout gets past.

    From the processor time that a hop took of the services and of the broker, whose cores they share here.
    """
    client, broker = figures["client_us"]["median"], figures["broker_us"]["median"]
    cores = len(os.sched_getaffinity(0))
    return float(1e6 * min(layout.processes / client, cores / (client + broker)))


async def _round(broker: RabbitBroker, url: str, layout: Layout, runs: int) -> dict[str, float]:
    """Fill the first step's queues, start the processes, then time how long all runs take."""
    with tempfile.TemporaryDirectory() as folder:
        places = [
            Part(
                url=url,
                shards=layout.shards,
                share=(number, layout.processes),
                folder=None if layout.store == "none" else folder,
                wait_ms=layout.wait_ms,
            )
            for number in range(layout.processes)
        ]
        with _processes(places) as workers:
            await _fill(broker, layout.shards, runs)
            sample = await _timed(broker, url, workers, runs)
    await broker.delete_queue(END)
    return sample


@contextmanager
def _processes(parts: Sequence[Part]) -> Iterator[list[subprocess.Popen[str]]]:
    """Worker processes that are ready and wait for `go`; they drain and end with the block."""
    command = [sys.executable, "-m", "benchmarks.scaled"]
    workers = []
    for part in parts:
        line = [*command, msgspec.json.encode(part).decode()]
        workers.append(subprocess.Popen(line, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        if _said(workers[-1]) != READY:
            raise RuntimeError("a worker did not start")
    try:
        yield workers
    finally:
        for worker in workers:
            worker.communicate()


def _said(worker: subprocess.Popen[str]) -> str:
    return worker.stdout.readline().strip() if worker.stdout else ""


async def _fill(broker: RabbitBroker, shards: int, runs: int) -> None:
    flow = workflow(shards)
    await broker.declare([Queue(name=END, kind="classic"), Binding(END, flow.name, end_key("completed"))])
    waiting = [first(flow, number) for number in range(runs)]
    for place in range(0, runs, BURST):
        if any(outcomes := await broker.publish_all(waiting[place : place + BURST])):
            raise RuntimeError(f"the first messages did not get through: {next(filter(None, outcomes))}")


async def _timed(
    broker: RabbitBroker, url: str, workers: Sequence[subprocess.Popen[str]], runs: int
) -> dict[str, float]:
    server, pids = listener(urlsplit(url).port or 5672), [worker.pid for worker in workers]
    began, clients, node = time.perf_counter(), sum(map(cpu_seconds, pids)), cpu_seconds(server)
    for worker in workers:
        if worker.stdin is not None:
            worker.stdin.write("go\n")
            worker.stdin.flush()
    while await broker.depth(END) < runs:  # noqa: ASYNC110  the queue is the broker's
        await asyncio.sleep(POLL)
    seconds = time.perf_counter() - began
    hops = runs * len(tickets.SERVICES)
    clients, node = sum(map(cpu_seconds, pids)) - clients, cpu_seconds(server) - node
    return {
        "hops_s": hops / seconds,
        "client_us": clients / hops * 1e6,
        "broker_us": node / hops * 1e6,
        "cores_busy": (clients + node) / seconds,
        "cores_of_services": clients / seconds,
        "load": os.getloadavg()[0],
    }


HEADS = ("deployment", "hops/s", "min", "max", "to the first", "best to best", "client CPU a hop", "broker CPU a hop")


def table(section: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [f"| {' | '.join(HEADS)} |", f"|---|{'--:|' * (len(HEADS) - 1)}"]
    for name, figures in section["layouts"].items():
        hops, client, broker = (figures[key] for key in ("hops_s", "client_us", "broker_us"))
        cells = [
            name,
            f"**{hops['median']:.0f}**",
            f"{hops['min']:.0f}",
            f"{hops['max']:.0f}",
            f"**{section['ratio_to_first'][name]:.2f}**",
            f"{section['best_to_best'][name]:.2f}",
            f"{client['median']:.0f} µs",
            f"{broker['median']:.0f} µs",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
