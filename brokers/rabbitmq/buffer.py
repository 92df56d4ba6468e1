"""What has arrived and nobody has taken yet."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from brokers.errors import BrokerError

T = TypeVar("T")


class Buffer(Generic[T]):
    """A queue for several takers; each item goes to one, in order, and a cancelled taker loses nothing."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._takers: deque[asyncio.Future[None]] = deque()
        self._ended = False
        self._error: BrokerError | None = None

    def push(self, item: T) -> None:
        """Add an item at the end; after `end` it is forgotten."""
        if self._ended:
            return
        self._items.append(item)
        self._wake(1)

    async def take(self, limit: int) -> list[T]:
        """Wait for one item; return all that are here, at most `limit`. Empty only after `end`."""
        while not self._items:
            if self._error is not None:
                raise type(self._error)(*self._error.args)
            if self._ended:
                return []
            await self._wait()
        items = self._items
        taken = [items.popleft() for _ in range(min(limit, len(items)))]
        if items:
            self._wake(1)
        return taken

    def clear(self) -> None:
        """Forget what is here."""
        self._items.clear()

    def end(self) -> list[T]:
        """No more will come: takers get nothing. What nobody had taken is returned."""
        self._ended = True
        left = list(self._items)
        self._items.clear()
        self._wake(len(self._takers))
        return left

    def fail(self, error: BrokerError) -> None:
        """No more will come: takers get this error."""
        self._error = error
        self._items.clear()
        self._wake(len(self._takers))

    async def _wait(self) -> None:
        taker = asyncio.get_running_loop().create_future()
        self._takers.append(taker)
        try:
            await taker
        except BaseException:
            if taker in self._takers:
                self._takers.remove(taker)
            if self._items:
                self._wake(1)
            raise

    def _wake(self, number: int) -> None:
        while number and self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                number -= 1
