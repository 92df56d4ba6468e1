"""A subscription that is kept up: through closed channels, lost connections and restarted brokers."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from brokers.errors import BrokerError
from brokers.rabbitmq.buffer import Buffer
from brokers.rabbitmq.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from brokers.rabbitmq.wire import Arrived, Verdict

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 3.0

T = TypeVar("T")


class Feed(Generic[T]):
    """Fills a buffer from one queue. Handler code never runs in a callback of the library: they only push here."""

    def __init__(
        self,
        subscribe: Callable[[], Subscription],
        convert: Callable[[int, Arrived], T | None],
        *,
        prefetch: int,
        arguments: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._make = subscribe
        self._convert = convert
        self._prefetch = prefetch
        self._arguments = arguments
        self._buffer: Buffer[tuple[int, T]] = Buffer()
        self._subscription = subscribe()
        self._keeper: asyncio.Task[None] | None = None
        self._stopped = False
        self.closed = False

    async def begin(self) -> None:
        """Subscribe for the first time, then keep it up. Raises what the first time raises."""
        await self._start(self._subscription)
        self._keeper = asyncio.create_task(self._keep())

    async def take(self, limit: int) -> list[tuple[int, T]]:
        """Wait for one item; return it with all that wait, each with its tag. Empty only after `stop`."""
        return await self._buffer.take(limit)

    async def settle(self, tags: Iterable[int], verdict: Verdict) -> None:
        """Settle on the channel that they came from; tags of a lost channel are skipped."""
        await self._subscription.settle(tags, verdict)

    async def stop(self) -> None:
        """Take no more and give back what nobody took. Idempotent."""
        if self._stopped:
            return
        await self._keep_no_more()
        await self._subscription.cancel()
        await self.settle([tag for tag, _ in self._buffer.end()], "requeue")

    async def retire(self) -> None:
        """Hand out no more; the broker is not told, so that it gives nothing to anybody else. Idempotent."""
        if self._stopped:
            return
        await self._keep_no_more()
        self._buffer.end()

    async def close(self) -> None:
        """Give back everything unsettled. Idempotent.

        By closing the channel: after a `basic.cancel` the next consumer would get later messages before these.
        """
        self.closed = True
        await self.retire()
        await self._subscription.close()

    async def _keep_no_more(self) -> None:
        self._stopped = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _start(self, subscription: Subscription) -> None:
        def deliver(tag: int, arrived: Arrived) -> None:
            item = self._convert(tag, arrived)
            if item is not None:
                self._buffer.push((tag, item))

        await subscription.start(deliver, prefetch=self._prefetch, arguments=self._arguments())

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._subscription.lost.wait()
            self._buffer.clear()
            self._subscription = self._make()
            try:
                await self._start(self._subscription)
                pause = FIRST_PAUSE
            except BrokerError as error:
                if not error.transient:
                    self._buffer.fail(error)
                    return
                self._subscription.lost.set()
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (spreads reconnects, no secret)
                pause = min(pause * 2, LONGEST_PAUSE)
