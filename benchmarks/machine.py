"""Facts about the machine that figures were taken on; without them no figure means anything."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("aio-pika", "aiormq", "msgspec", "jsonschema-rs", "aiosqlite")
CHEAP_FSYNC_US = 500.0
"""Below this a disk does not wait for its platter or flash: a virtual disk or a battery-backed cache answers."""


def now(**more: object) -> dict[str, Any]:
    """Date and machine, as every section of the results begins."""
    return {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": {**_facts(), **more}}


def _facts() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def fsync_us(count: int = 100) -> float:
    """The median time of writing 4 KiB and forcing it to the disk of the temporary folder, in microseconds."""
    samples = []
    with tempfile.TemporaryFile() as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            samples.append((time.perf_counter() - began) * 1e6)
    return round(statistics.median(samples), 1)
