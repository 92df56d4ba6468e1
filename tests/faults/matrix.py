"""One cell of the crash matrix: kill a service at a point, start it again, compare with a run without a crash."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.faults.account import Account
from tests.faults.orders import SERVICES
from tests.faults.play import DONE, READY, Play, TooLateError, playing
from tests.faults.points import LEFT_BEHIND, Point

ORDERS = 12


async def crashed(
    point: Point | None,
    *,
    broker: str,
    stores: Mapping[str, str],
    folder: Path,
    nth: int = 2,
    sabotage: str | None = None,
    patience: float = DONE,
) -> Account:
    """The account after `ORDERS` orders of which some were on their way when a service died at `point`."""
    async with playing(broker=broker, stores=stores, folder=folder, count=ORDERS) as play:
        name = point.victim if point else "bank"
        others = play.child("others", [service for service in SERVICES if service != name], sabotage=sabotage)
        victim = play.child("victim", [name], sabotage=sabotage)
        others.start()
        for kill in deaths(point):
            victim.start(kill=kill, nth=nth if kill.path != "relay" else 1)
            assert await victim.wait(READY) == -signal.SIGKILL, f"{kill} was never met\n{victim.tail()}"
        victim.start()
        await victim.ready()
        return await counted(play, patience)


async def counted(play: Play, patience: float = DONE) -> Account:
    """The account when the play is complete, or when it still is not after `patience` seconds."""
    try:
        await play.complete(patience)
    except TooLateError as late:
        print(late, file=sys.stderr)
    return await play.ended()


def deaths(point: Point | None) -> list[Point]:
    """The points at which the victim dies, one after the other: a relay needs rows that a dead process left."""
    if point is None:
        return []
    left_behind = point.path == "relay" and point.place in {"claim", "publish", "confirm", "forget"}
    return [LEFT_BEHIND, point] if left_behind else [point]
