"""What a service and a ledger keep in memory: resident size over very many hops, and over very many runs.

`python -m benchmarks.memory URL HOPS SECONDS` is the process that is watched; it prints its samples as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import chain, codec, machine, tickets
from benchmarks.measure import no_collector, resident_kib
from benchmarks.progress import say
from benchmarks.stamped import StampedChain
from brokers.contract import Publication
from stamp.codec import STAMP, Codec
from stamp.ids import run_id
from stamp.ledger import Record, apply
from stamp.sighting import sight

WAVE = 500
"""Runs that are under way together."""

SETTLED = 10_000
"""Hops after which a service has everything in memory that it will ever need; later sizes are compared with it."""

FULL = 1_000_000
"""Hops the size is told for."""

LEDGER_HOPS = 4


async def served(url: str, *, store: str, hops: int, seconds: float) -> list[tuple[int, int]]:
    """Hops done and resident size (KiB), wave by wave, in a process with four services at work."""
    place = None if store == "none" else chain.store_url(store)
    stamped = StampedChain(url, "soak", journal=False, store=place, label="MEMORY")
    until = time.monotonic() + seconds
    samples = []
    async with aclosing(stamped.waves(WAVE)) as waves:
        async for done in waves:
            samples.append((done, resident_kib()))
            if done >= hops or time.monotonic() > until:
                break
    return samples


def service(url: str, *, store: str, hops: int, seconds: float) -> dict[str, Any]:
    """Run the four services in a fresh process and tell how its resident size grew."""
    say(f"growth, memory: {hops:,} hops" + (f", or {seconds:.0f} s" if seconds < math.inf else ""))
    words = [sys.executable, "-m", "benchmarks.memory", url, store, str(hops), str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    samples = [(int(count), int(size)) for count, size in json.loads(done.stdout.splitlines()[-1])]
    return {**machine.now(), "store": store, "wave_runs": WAVE, **grown(samples)}


def grown(samples: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Size after `SETTLED` hops, at the end, and where its slope leads; a median of neighbours for each.

    The slope is taken over the second half of the hops. What was not reached is named as extrapolated.
    """
    begun = [(hops, size) for hops, size in samples if hops >= SETTLED] or list(samples[-1:])
    early, late = begun[:5], begun[-5:]
    first, last = _middle(early), _middle(late)
    reached = samples[-1][0]
    slope = max(0.0, _slope(begun[len(begun) // 2 :]))
    expected = last + slope * max(0, FULL - reached)
    return {
        "hops": reached,
        "settled_hops": begun[0][0],
        "settled_mib": round(first / 1024, 1),
        "end_mib": round(last / 1024, 1),
        "ratio": round(last / first, 3),
        "bytes_a_hop": round(slope * 1024, 2),
        "ratio_at_1m": round(expected / first, 3),
        "extrapolated": reached < FULL,
        "samples": [[hops, size] for hops, size in samples[:: max(1, len(samples) // 24)]],
    }


def _middle(samples: Sequence[tuple[int, int]]) -> float:
    return statistics.median(size for _, size in samples)


def _slope(samples: Sequence[tuple[int, int]]) -> float:
    """KiB a hop, by least squares; 0 for fewer than three samples."""
    if len(samples) < 3:
        return 0.0
    hops, sizes = zip(*samples, strict=True)
    return statistics.linear_regression(hops, sizes).slope


def ledger(counts: Sequence[int] = (5_000, 20_000)) -> dict[str, Any]:
    """Processor time of one sighting, parsed and applied, and bytes of one run, when many runs are projected."""
    found = {}
    for count in counts:
        say(f"growth, ledger: {count:,} runs")
        found[str(count)] = {"us_a_sighting": round(_projected_us(count), 1)}
    return {**machine.now(), "sightings_a_run": LEDGER_HOPS + 1, "runs": found, "bytes_a_run": _bytes_a_run()}


def _projected_us(count: int) -> float:
    rows: dict[str, Record] = {}
    with no_collector():
        spent = sum(_sighted(messages, rows) for messages in _runs(count))
    return spent / count / (LEDGER_HOPS + 1) / 1000


def _sighted(messages: Sequence[Publication], rows: dict[str, Record]) -> int:
    """Nanoseconds of processor time that the messages of one run take."""
    began = time.thread_time_ns()
    for one in messages:
        sighting = sight(one.message, one.exchange, one.routing_key)
        if sighting is not None:
            rows[sighting.stamp.run] = apply(rows.get(sighting.stamp.run), sighting)
    return time.thread_time_ns() - began


def _bytes_a_run(count: int = 1_000) -> int:
    rows: dict[str, Record] = {}
    _sighted(next(_runs(1)), {})
    gc.collect()
    tracemalloc.start()
    try:
        for messages in _runs(count):
            _sighted(messages, rows)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return held // len(rows)


def _runs(count: int) -> Iterator[list[Publication]]:
    """The messages of `count` runs, each with a run id of its own: the start, three hops and the fourth."""
    line = tickets.line(max(codec.LENGTHS) + 2)
    written = [codec.gone(line, Codec(keys=codec.keys()), length) for length in range(LEDGER_HOPS + 1)]
    for number in range(count):
        run = run_id(codec.NOW, number.to_bytes(10))
        yield [_renamed(one, run) for one in written]


def _renamed(one: Publication, run: str) -> Publication:
    headers = {**one.message.headers, STAMP: one.message.headers[STAMP].replace(codec.RUN, run)}
    return replace(one, message=replace(one.message, headers=headers, correlation_id=run))


def main() -> None:
    """The watched process."""
    url, store, hops, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(served(url, store=store, hops=int(hops), seconds=float(seconds)))))


if __name__ == "__main__":
    main()
