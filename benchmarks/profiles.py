"""Where the time of a round goes: cProfile tables, and their first lines as data."""

from __future__ import annotations

import asyncio
import cProfile
import io
import pstats
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

WAITING = "waiting for the broker, the disk or a core"
"""What the selector does when the process has nothing else to do."""

Lines = list[dict[str, Any]]
"""`where` and `share` (of the whole time, 0 to 1)."""


def of_round(contender: Any, runs: int) -> cProfile.Profile:
    """One round of a chain under the profiler; a shorter one goes before it."""
    profiler = cProfile.Profile()

    async def unwatched(work: Awaitable[None]) -> dict[str, float]:
        await work
        return {"hops_s": 0.0}

    async def watched(work: Awaitable[None]) -> dict[str, float]:
        with profiler:
            return await unwatched(work)

    async def both() -> None:
        await contender.round(max(1, runs // 5), unwatched)
        await contender.round(runs, watched)

    asyncio.run(both())
    return profiler


def text(profiler: cProfile.Profile, lines: int) -> str:
    """The table by own time."""
    page = io.StringIO()
    pstats.Stats(profiler, stream=page).strip_dirs().sort_stats("tottime").print_stats(lines)
    return page.getvalue()


def top(profiler: cProfile.Profile, count: int = 5) -> Lines:
    """The first lines of that table."""
    found = cast("dict[tuple[str, int, str], tuple[int, int, float, float, Any]]", pstats.Stats(profiler).stats)  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in found.values())
    dearest = sorted(found.items(), key=lambda item: item[1][2], reverse=True)[:count]
    return [{"where": _name(place), "share": round(own / total, 3)} for place, (_, _, own, _, _) in dearest]


def _name(place: tuple[str, int, str]) -> str:
    file, _, function = place
    if "select." in function:
        return WAITING
    return function.strip("<>{}") if file == "~" else f"{Path(file).name}: {function}"
