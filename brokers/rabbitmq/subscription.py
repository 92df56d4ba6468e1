"""One channel that consumes one queue until it is lost, and what is unsettled on it."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

from brokers.errors import BrokerError
from brokers.rabbitmq.foreign import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aio_pika.abc import AbstractChannel
    from aiormq.abc import AbstractChannel as Underlay

    from brokers.rabbitmq.chores import Chores
    from brokers.rabbitmq.connection import Link
    from brokers.rabbitmq.wire import Arrived, Verdict, Wire

_EPOCHS = count(1)
_EPOCH_BITS = 40
_TAG_MASK = (1 << _EPOCH_BITS) - 1


class Unsettled:
    """Delivery tags of one channel, in the order of their arrival."""

    def __init__(self) -> None:
        self._tags: dict[int, None] = {}

    def add(self, tag: int) -> None:
        """It arrived."""
        self._tags[tag] = None

    def settle(self, tags: Iterable[int]) -> list[tuple[int, bool]]:
        """Forget these tags; the frames to send for them, as (tag, multiple).

        All that lie before any other unsettled tag go in one frame with `multiple`, which can't touch a tag that
        was not asked for. Unknown tags are skipped.
        """
        chosen = {tag for tag in tags if tag in self._tags}
        prefix: list[int] = []
        for tag in self._tags:
            if tag not in chosen:
                break
            prefix.append(tag)
        for tag in chosen:
            del self._tags[tag]
        frames = [(prefix[-1], len(prefix) > 1)] if prefix else []
        return frames + [(tag, False) for tag in sorted(chosen.difference(prefix))]


class Subscription:
    """A consumer on a channel of its own. Its tags carry its epoch, so no other subscription takes them for its own."""

    def __init__(self, link: Link, wire: Wire, chores: Chores, *, queue: str, timeout: float) -> None:
        self._link = link
        self._wire = wire
        self._chores = chores
        self._queue = queue
        self._timeout = timeout
        self._epoch = next(_EPOCHS)
        self._channel: AbstractChannel | None = None
        self._underlay: Underlay | None = None
        self._consumer_tag = ""
        self._unsettled = Unsettled()
        self.lost = asyncio.Event()
        """Set when the channel closed or the broker cancelled the consumer; nothing comes any more."""

    async def start(self, deliver: Callable[[int, Arrived], None], *, prefetch: int, arguments: dict[str, Any]) -> None:
        """Open the channel and consume; `deliver` gets a tag and the message. Raises a `BrokerError`."""

        def on_arrival(arrived: Arrived) -> None:
            if self.lost.is_set():
                return
            self._unsettled.add(arrived.tag)
            deliver(self._epoch << _EPOCH_BITS | arrived.tag, arrived)

        channel = self._channel = await self._link.channel(confirms=False)
        try:
            with translated(f"consuming {self._queue!r}"):
                channel.close_callbacks.add(self._on_lost)
                underlay = self._underlay = await channel.get_underlay_channel()
                underlay.on_consumer_cancel_callbacks.add(self._on_cancel)
                await underlay.basic_qos(prefetch_count=prefetch, timeout=self._timeout)
                self._consumer_tag = await self._wire.consume(
                    underlay, self._queue, on_arrival, arguments=arguments, timeout=self._timeout
                )
        except BaseException:
            self.drop()
            raise

    async def settle(self, tags: Iterable[int], verdict: Verdict) -> None:
        """Settle those of this subscription; skips those of others and, when it is lost, all."""
        mine = [tag & _TAG_MASK for tag in tags if tag >> _EPOCH_BITS == self._epoch]
        frames = self._unsettled.settle(mine)
        if self._underlay is None or self.lost.is_set():
            return
        try:
            with translated(f"settling on {self._queue!r}"):
                for tag, multiple in frames:
                    await self._wire.settle(self._underlay, tag, multiple=multiple, verdict=verdict)
        except BrokerError:
            return  # The channel went meanwhile: the broker hands them out again.

    async def cancel(self) -> None:
        """Take no more deliveries; what came can still be settled."""
        if self._underlay is None or self.lost.is_set():
            return
        try:
            with translated(f"cancelling the consumer of {self._queue!r}"):
                await self._underlay.basic_cancel(self._consumer_tag, timeout=self._timeout)
        except BrokerError:
            return

    async def close(self) -> None:
        """Close the channel: the broker gives back what is unsettled."""
        if self._channel is None or self._channel.is_closed:
            return
        try:
            with translated(f"closing the channel of {self._queue!r}"):
                await self._channel.close()
        except BrokerError:
            return

    def drop(self) -> None:
        """`close`, without waiting for it."""
        self.lost.set()
        self._chores.add(self.close())

    def _on_lost(self, _channel: object, _error: BaseException | None) -> None:
        self.lost.set()

    def _on_cancel(self, _frame: object) -> None:
        self.drop()
