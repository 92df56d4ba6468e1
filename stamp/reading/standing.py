"""Where a run stands next to one of its held messages: what was good before, and whether the run has gone past it."""

from __future__ import annotations

from collections.abc import Iterable

from stamp.model import ENDED, Stamp
from stamp.sighting import Sighting


def last_good(seen: Iterable[Sighting], stamp: Stamp) -> Sighting | None:
    """The newest message of the run before this stamp that was handled; `None` when none was seen."""
    before = [
        sighting
        for sighting in seen
        if sighting.kind == "progress"
        and sighting.stamp.run == stamp.run
        and sighting.stamp.seq < stamp.seq
        and _contains(sighting.stamp.branch, stamp.branch)
    ]
    return max(before, key=lambda sighting: sighting.order, default=None)


def gone_past(seen: Iterable[Sighting], stamp: Stamp) -> str:
    """Where the run is when it has moved beyond this stamp, in words; empty while it waits for it.

    Only the stamp's own branch counts: other branches of a fork go on without it.
    """
    beyond = [
        sighting
        for sighting in seen
        if sighting.stamp.run == stamp.run and sighting.stamp.branch == stamp.branch and sighting.stamp.seq > stamp.seq
    ]
    if not beyond:
        return ""
    furthest = max(beyond, key=lambda sighting: sighting.order)
    if furthest.stamp.phase in ENDED:
        return f"the run is {furthest.stamp.phase}"
    return f"the run is at seq {furthest.stamp.seq} ({furthest.stamp.event})"


def _contains(outer: str | None, branch: str | None) -> bool:
    return outer is None or (branch is not None and (branch == outer or branch.startswith(f"{outer}|")))
