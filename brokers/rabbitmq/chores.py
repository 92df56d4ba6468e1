"""Small jobs that nobody waits for, kept alive until they end and finished before a close."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from brokers.rabbitmq.foreign import FOREIGN

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Chores:
    """Background tasks that may fail: what they close may be gone already."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, job: Awaitable[object]) -> None:
        """Run it in the background."""
        task = asyncio.get_running_loop().create_task(_harmless(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, timeout: float) -> None:
        """Wait for the jobs that run now; cancel what is not done after `timeout` seconds."""
        tasks = list(self._tasks)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=timeout)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _harmless(job: Awaitable[object]) -> None:
    try:
        await job
    except FOREIGN:
        return
