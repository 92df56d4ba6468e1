"""Time that moves only when somebody moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from typing import Any

START = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
"""When a bench's time begins: always the same, so that what a test sees never depends on the day it runs."""


@dataclass(slots=True, order=True)
class Timer:
    """A callback that waits for its time."""

    due: float
    place: int
    callback: Callable[[], None] = field(compare=False)
    sleeper: asyncio.Task[Any] | None = field(default=None, compare=False)
    """The task that sleeps, when it is a sleep."""
    owner: str = field(default="", compare=False)
    """The service that sleeps."""
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """It will not fire. May be called at any time."""
        self.cancelled = True


class VirtualClock:
    """A clock for one event loop. `jump` moves it; between two jumps it stands still.

    A callback without delay runs on the loop's next turn. `sleeps` gives a view of the same clock that remembers
    which task waits for each timer: the bench tells by it who waits for time from who works.
    """

    def __init__(self, start: float = START) -> None:
        self._now = start
        self._timers: list[Timer] = []
        self._places = count()

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when the clock has moved by `seconds`; the returned function cancels it."""
        return self.add(seconds, callback)

    def sleeps(self, owner: str) -> Sleeps:
        """A view for the tasks of a service."""
        return Sleeps(self, owner)

    def pending(self) -> list[Timer]:
        """The timers that still wait, the next one first."""
        self._timers = sorted(timer for timer in self._timers if not timer.cancelled)
        return self._timers

    def jump(self, to: float) -> None:
        """Make it `to` o'clock and fire what is due by then, in order; every callback sees the new time."""
        self._now = max(self._now, to)
        while self._timers and self._timers[0].due <= self._now:
            timer = heappop(self._timers)
            if not timer.cancelled:
                timer.cancelled = True
                timer.callback()

    def add(
        self,
        seconds: float,
        callback: Callable[[], None],
        *,
        sleeper: asyncio.Task[Any] | None = None,
        owner: str = "",
    ) -> Callable[[], None]:
        """As `call_later`, saying on whose behalf."""
        if seconds <= 0:
            return asyncio.get_running_loop().call_soon(callback).cancel
        timer = Timer(self._now + seconds, next(self._places), callback, sleeper, owner)
        heappush(self._timers, timer)
        return timer.cancel


class Sleeps:
    """The clock as a service gets it."""

    def __init__(self, clock: VirtualClock, owner: str) -> None:
        self._clock = clock
        self._owner = owner

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return self._clock.now()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """As the clock's own, on behalf of the task that runs."""
        return self._clock.add(seconds, callback, sleeper=asyncio.current_task(), owner=self._owner)
