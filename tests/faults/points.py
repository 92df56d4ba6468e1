"""Where a process can die, as data, and the trap that kills it there.

A point is a path (`forward`, `start`, `relay`), a place on it and a side. A process meets most of them many times;
`nth` says which time kills it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextvars import ContextVar
from dataclasses import dataclass

PATH: ContextVar[str] = ContextVar("path", default="forward")
"""Set to `start` by the task that starts runs, to `relay` by whoever claims rows of a dead process."""

LEAST_BYTES = 0.005
"""Seconds for bytes that were handed to the event loop to leave the process; a confirm takes longer."""


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the life of a message at which a process dies."""

    path: str
    place: str
    side: str

    def __str__(self) -> str:
        return f"{self.path} {self.side} {self.place}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """The point that `str` wrote."""
        path, side, place = text.split(" ")
        return cls(path, place, side)

    @property
    def victim(self) -> str:
        """The service that dies there: only the shop starts runs."""
        return "shop" if self.path == "start" else "bank"


FORWARD = ("decode", "begin", "inbox", "handler", "outbox", "commit", "publish", "confirm", "forget", "ack")
JOIN = ("gather", "arrival")
"""What a join reads and writes in its transaction, next to inbox and outbox."""
START = ("begin", "outbox", "commit", "publish", "confirm", "forget")
RELAY = ("claim", "publish", "confirm", "forget", "flush")
"""`forget` hands confirmed ids to the store, which may buffer them; `flush` deletes what it buffered."""

_SIDES = ("before", "after")
POINTS: tuple[Point, ...] = (
    *(Point("forward", place, side) for place in FORWARD for side in _SIDES),
    *(Point("forward", place, side) for place in ("undo", *JOIN) for side in _SIDES),
    *(Point("start", place, side) for place in START for side in _SIDES),
    *(Point("relay", place, side) for place in RELAY for side in _SIDES),
)

LEFT_BEHIND = Point("forward", "commit", "after")
"""Dying here leaves rows in the outbox: the relay's own points need some to be met."""


class Trap:
    """Kills this process with SIGKILL when a point is met for the n-th time."""

    def __init__(self, point: Point | None, nth: int = 1) -> None:
        self._point = point
        self._left = nth

    def due(self, place: str, side: str) -> bool:
        """Whether now is the time; the caller may still do something before `die`."""
        if self._point is None or (self._point.place, self._point.side) != (place, side):
            return False
        if self._point.path != path():
            return False
        self._left -= 1
        return self._left == 0

    def strike(self, place: str, side: str) -> None:
        """Die here when it is time."""
        if self.due(place, side):
            die()


def path() -> str:
    """Which path the running task is on."""
    task = asyncio.current_task()
    return "relay" if task is not None and task.get_name().startswith("relay of ") else PATH.get()


def die() -> None:
    """End as a crash does: nothing is closed, nothing is flushed, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)
