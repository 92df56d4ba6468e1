"""Facts about the machine and the versions that figures were taken on; without them no figure means anything."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("state-stamp", "aio-pika", "msgspec", "aiosqlite", "asyncpg")


def facts() -> dict[str, Any]:
    """Date, processor, load and versions, as they are now."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "versions": {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, **_packages()},
    }


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def line(known: dict[str, Any]) -> str:
    """The same in one line."""
    versions = known["versions"]
    return (
        f"{known['date']}, {known['processor']}, {known['cores']} cores, load {known['load']}, {known['system']}, "
        f"Python {versions['python']}"
    )
