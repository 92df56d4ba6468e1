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
    sleeper: asyncio.Task[Any] | None = field(compare=False)
    """The task that sleeps, when it is a sleep."""
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
        return self._add(seconds, callback, None)

    def sleeps(self) -> Sleeps:
        """A view for tasks that sleep."""
        return Sleeps(self)

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

    def _add(
        self, seconds: float, callback: Callable[[], None], sleeper: asyncio.Task[Any] | None
    ) -> Callable[[], None]:
        if seconds <= 0:
            return asyncio.get_running_loop().call_soon(callback).cancel
        timer = Timer(self._now + seconds, next(self._places), callback, sleeper)
        heappush(self._timers, timer)
        return timer.cancel


class Sleeps:
    """The clock as a service gets it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return self._clock.now()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """As the clock's own, on behalf of the task that runs."""
        return self._clock._add(seconds, callback, asyncio.current_task())  # noqa: SLF001  a view of the same clock
