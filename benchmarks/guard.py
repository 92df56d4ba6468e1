"""Has a hop become dearer? Its instructions, calls and processor time against `benchmarks/baseline.json`.

Instructions and calls are counted: the same on every machine and under any load, so the tests look at them. They don't
see what C code does inside a call. Processor time does; it is taken as a ratio to work that never changes, in slices
that take turns, so that neither the machine's speed nor other work on it shows.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import counting, guarded
from benchmarks.guarded import Watch
from benchmarks.measure import no_collector
from benchmarks.progress import say

BASELINE = Path(__file__).parent / "baseline.json"

COUNTS_MARGIN = 1.2
"""Counts don't waver; this leaves room for small features."""

OTHER_PYTHON_MARGIN = 1.5
"""Another Python compiles the same source to other instructions."""

CPU_MARGIN = 1.35
TRIES = 3
SLICES = 60
SLICE = 40
"""Hops of the codec, and turns of the calibration, in one slice: a few milliseconds."""

Figures = dict[str, dict[str, float]]
"""By work: `instructions` and `calls`, or `cpu`: processor time as a multiple of the calibration's."""


def counts() -> Figures:
    """Instructions and calls of one hop."""
    watches: dict[str, Watch] = {"instructions": counting.instructions, "calls": counting.calls}
    work: dict[str, Callable[[Watch], float]] = {
        "codec": guarded.codec_hop,
        "memory broker": lambda watch: guarded.memory_hop(watch, store=False),
        "memory broker and store": lambda watch: guarded.memory_hop(watch, store=True),
    }
    with no_collector():  # it would end what others left behind, and that would be counted too
        return {name: {figure: round(one(watch)) for figure, watch in watches.items()} for name, one in work.items()}


def cpu() -> Figures:
    """Processor time of one hop in turns of the calibration: the median of many pairs of slices."""
    samples: dict[str, list[float]] = {"codec": [], "memory broker": []}
    for _ in range(SLICES):
        machine = guarded.calibration_slice(SLICE)
        samples["codec"].append(guarded.codec_slice(SLICE) / machine)
        samples["memory broker"].append(guarded.memory_slice() / machine)
    return {name: {"cpu": round(statistics.median(taken), 3)} for name, taken in samples.items()}


def dearer(now: Figures, then: Figures, margin: float) -> list[str]:
    """What grew past the margin, in words; empty when nothing did."""
    grown = [
        (work, figure, then[work][figure], value)
        for work, figures in now.items()
        for figure, value in figures.items()
        if value > then[work][figure] * margin
    ]
    return [
        f"{work}: {figure} {before:g} -> {value:g}, {value / before:.2f} × where {margin:g} is allowed"
        for work, figure, before, value in grown
    ]


def baseline() -> dict[str, Any]:
    """The committed figures, and the Python they were counted on."""
    found: dict[str, Any] = json.loads(BASELINE.read_text())
    return found


def counts_margin(known: dict[str, Any]) -> float:
    """How much more may be counted here."""
    return COUNTS_MARGIN if known["python"] == _python() else OTHER_PYTHON_MARGIN


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def add_to(commands: Any) -> None:
    """The command `guard`."""
    line = commands.add_parser("guard", help="has a hop become dearer than the committed baseline?")
    line.add_argument("--write", action="store_true", help="make what is measured now the baseline")
    line.set_defaults(measure=measure)


def measure(options: argparse.Namespace) -> None:
    """Compare and exit with 1 when a hop became dearer; or write a new baseline."""
    if options.write:
        found = {"python": _python(), "counts": counts(), "cpu": cpu()}
        BASELINE.write_text(json.dumps(found, indent=2) + "\n")
        print(BASELINE.read_text())
        return
    known = baseline()
    found_counts = counts()
    worse = dearer(found_counts, known["counts"], counts_margin(known)) + _dearer_by_cpu(known["cpu"])
    print("\n".join(worse) or f"no hop is dearer than the baseline: {found_counts}")
    sys.exit(1 if worse else 0)


def _dearer_by_cpu(then: Figures) -> list[str]:
    """A slow-down shows every time; a disturbed round does not come three times in a row."""
    worse: list[str] = []
    for _ in range(TRIES):
        found = cpu()
        say(f"guard: processor time in turns of the calibration: {found}")
        worse = dearer(found, then, CPU_MARGIN)
        if not worse:
            break
    return worse
