"""An aiosqlite connection that can run several statements in one trip to its thread.

Each trip costs 20-90 µs, more than most statements, so the toolkit packs its own statements into as few as it can.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import aiosqlite

T = TypeVar("T")


class Link(aiosqlite.Connection):
    """What handlers get as `hop.tx`: an aiosqlite connection in every respect."""

    watcher: Callable[[], None] | None = None
    """Called before any statement that is not posted: also those of a handler that kept the connection elsewhere."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.watcher is not None:
            self.watcher()
        return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]

    def post(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Queue `work` for the connection's thread, behind everything queued before it; await it or not.

        Not awaiting is safe, and so is being cancelled while awaiting: the work is done all the same. Raises
        `ValueError` when the connection is closed.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_seen)
        self._tx.put_nowait((future, partial(work, self._conn)))
        return future


def _seen(future: asyncio.Future[T]) -> None:
    """Mark the outcome as looked at: what nobody waits for is no forgotten error."""
    if not future.cancelled():
        future.exception()


async def connect(url: str, *, timeout: float) -> Link:
    """Open `url` (a `file:` URI), in autocommit: a transaction begins only where we say BEGIN.

    `timeout` is how long a statement waits for another process's lock, in seconds.
    """
    # Opened here, not in the thread: it only opens a file, and an aiosqlite connection that fails to connect leaves a
    # thread behind that wakes its event loop when that may be closed already.
    opened = sqlite3.connect(url, timeout=timeout, isolation_level=None, uri=True, check_same_thread=False)
    link = Link(lambda: opened, 64)
    await link
    return link
