"""Tasks that wait for something to arrive."""

from __future__ import annotations

import asyncio
from collections import deque


class Bell:
    """Wakes waiting tasks, the longest waiting first. Each looks again for itself what has changed."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return after a ring. A task that is cancelled after its ring passes the ring on."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.ring()
            raise

    def ring(self) -> None:
        """Wake one task, if any waits."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def ring_all(self) -> None:
        """Wake every task that waits."""
        while self._waiting:
            self.ring()
