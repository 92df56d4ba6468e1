"""Numbers from rounds: medians with their range, and the processor time of this process and of the broker."""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = dict[str, float]
"""`median`, `min` and `max` of one figure over the rounds."""

_TICKS = os.sysconf("SC_CLK_TCK")


def row(samples: Sequence[float], *, digits: int = 1) -> Row:
    """The median of the rounds and how far they lie apart."""
    return {
        "median": round(statistics.median(samples), digits),
        "min": round(min(samples), digits),
        "max": round(max(samples), digits),
    }


def rows(samples: Sequence[dict[str, float]], *, digits: int = 1) -> dict[str, Row]:
    """One row a figure, of samples that all have the same figures."""
    return {name: row([sample[name] for sample in samples], digits=digits) for name in samples[0]}


@contextmanager
def no_collector() -> Iterator[None]:
    """Leave the garbage collector out of a round of pure computing, as `timeit` does."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def cpu_seconds(pid: int | None) -> float:
    """Processor time that a process has used so far, in seconds (`proc(5)`); 0 when it is not known."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_kib() -> int:
    """What this process has in memory now (`proc(5)`)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def written_kib() -> float:
    """What this process has given the disk to write so far (`proc(5)`)."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes")) / 1024


def listener(port: int) -> int | None:
    """The process of this machine that listens on a port; `None` when it is another's or on another machine."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(table, port)}
    for process in Path("/proc").glob("[0-9]*"):
        if inodes & set(_open_files(process)):
            return int(process.name)
    return None


def _listening(table: str, port: int) -> Iterator[str]:
    path = Path("/proc/net") / table
    for entry in path.read_text().splitlines()[1:] if path.exists() else ():
        fields = entry.split()
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            yield fields[9]


def _open_files(process: Path) -> list[str]:
    try:
        return [os.readlink(file) for file in (process / "fd").iterdir()]
    except OSError:
        return []


def ratio(one: dict[str, Any], other: dict[str, Any], figure: str) -> float:
    """One median divided by another."""
    quotient: float = round(one[figure]["median"] / other[figure]["median"], 2)
    return quotient
