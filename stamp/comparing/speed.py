"""One turn of one style: a burst of runs, some runs one by one, and a question for the newest."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stamp.comparing.asking import Answer, answers
from stamp.comparing.counting import Counts
from stamp.comparing.lab import Lab
from stamp.layout import JOURNAL

PAUSE = 0.02
"""Seconds between two runs that have the services to themselves."""

WARM_UP = 1
"""Runs at the beginning of a turn that are not counted."""

ASKED = 5
ASK_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What was measured in one turn."""

    runs: int
    seconds: float
    """From the start of the first to the end of the last run of the burst."""
    counts: Counts
    """Of the burst."""
    ends: Counts
    latencies: Sequence[float]
    """Milliseconds of each run that had the services to itself, from its commit to its end."""
    answers: Sequence[Answer]
    missing: int = 0


@dataclass(frozen=True, slots=True)
class _Burst:
    runs: list[str]
    seconds: float
    counts: Counts
    ends: Counts
    missing: int


async def turn(lab: Lab, *, runs: int, alone: int) -> Turn:
    """Open all services, measure, close them and delete their queues."""
    try:
        async with lab.serving():
            since = await lab.broker.end(JOURNAL)
            await _warm_up(lab)
            burst = await _burst(lab, runs)
            latencies = await _latencies(lab, alone) if not burst.missing else []
            await lab.quiet()
            asked = await answers(lab, burst.runs[-ASKED:], since=since, timeout=ASK_TIMEOUT)
    finally:
        await lab.clear()
    return Turn(
        runs=runs,
        seconds=burst.seconds,
        counts=burst.counts,
        ends=burst.ends,
        latencies=latencies,
        answers=asked,
        missing=burst.missing,
    )


async def _warm_up(lab: Lab) -> None:
    await lab.ends.until(await lab.start(WARM_UP), patience=lab.patience)
    await lab.quiet()


async def _burst(lab: Lab, runs: int) -> _Burst:
    before, began = lab.counts.copy(), time.perf_counter()
    started = await lab.start(runs)
    await lab.ends.until(started, patience=lab.patience)
    ended = [lab.ends.seen[run] for run in started if run in lab.ends.seen]
    last = max((end.at for end in ended), default=time.perf_counter())
    await lab.quiet()
    outcomes = Counter(end.outcome for end in ended)
    return _Burst(started, last - began, lab.counts - before, outcomes, len(started) - len(ended))


async def _latencies(lab: Lab, count: int) -> list[float]:
    """Of runs one by one; those that did not end by themselves have none."""
    return [ms for _ in range(count) if (ms := await _alone(lab)) is not None]


async def _alone(lab: Lab) -> float | None:
    """Milliseconds of one run; `None` when it did not end by itself."""
    run, committed = await lab.start_one()
    await lab.ends.until([run], patience=lab.patience)
    end = lab.ends.seen.get(run)
    await asyncio.sleep(PAUSE)
    return None if end is None or end.outcome == "held" else (end.at - committed) * 1000
