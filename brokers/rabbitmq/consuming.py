"""Deliveries of a queue, and records of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brokers.contract import Delivery, Message, Recorded
from brokers.rabbitmq.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brokers.rabbitmq.subscription import Subscription
    from brokers.rabbitmq.wire import Arrived

OFFSET = "x-stream-offset"


class RabbitConsumer:
    """`brokers.contract.Consumer` on a channel of its own."""

    def __init__(self, queue: str, subscribe: Callable[[], Subscription], *, prefetch: int) -> None:
        self._queue = queue
        self._feed: Feed[Delivery] = Feed(subscribe, self._delivery, prefetch=prefetch)

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self._queue

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._feed.closed

    async def begin(self) -> None:
        """Subscribe. Raises `NotFound`, `AccessRefused` or `BrokerUnreachable`."""
        await self._feed.begin()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for one delivery; return it with all that already wait, in order, at most `limit`."""
        return [delivery for _, delivery in await self._feed.take(limit)]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Done: the broker forgets them."""
        await self._feed.settle([delivery.tag for delivery in deliveries], "ack")

    async def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Give back: they are delivered again."""
        await self._feed.settle([delivery.tag for delivery in deliveries], "requeue")

    async def reject(self, deliveries: Sequence[Delivery]) -> None:
        """Dead-letter by the queue's own rule."""
        await self._feed.settle([delivery.tag for delivery in deliveries], "reject")

    async def stop(self) -> None:
        """Take no more; what was received can still be settled."""
        await self._feed.stop()

    async def retire(self) -> None:
        """Hand out no more, and keep the place in line until `close`."""
        await self._feed.retire()

    async def close(self) -> None:
        """Take no more and give back everything unsettled, at once and in order. Idempotent."""
        await self._feed.close()

    def _delivery(self, tag: int, arrived: Arrived) -> Delivery:
        return Delivery(
            message=arrived.message,
            queue=self._queue,
            exchange=arrived.exchange,
            routing_key=arrived.routing_key,
            tag=tag,
            redelivered=arrived.redelivered,
            delivery_count=delivery_count_of(arrived.message),
        )


class RabbitReader:
    """`brokers.contract.Reader`: resumes after a lost connection at the first record that nobody got."""

    def __init__(self, subscribe: Callable[[], Subscription], *, start: int, prefetch: int = 500) -> None:
        self._next = start
        self._feed: Feed[Recorded] = Feed(subscribe, self._recorded, prefetch=prefetch, arguments=self._position)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._feed.closed

    async def begin(self) -> None:
        """Subscribe. Raises `NotFound`, `AccessRefused` or `BrokerUnreachable`."""
        await self._feed.begin()

    async def receive(self, limit: int) -> Sequence[Recorded]:
        """Wait for one record; return it with all that already wait, at most `limit`. Empty only after `close`."""
        items = await self._feed.take(limit)
        if items:
            self._next = items[-1][1].offset + 1
            # On a stream an ack takes nothing away: it only asks for more.
            await self._feed.settle([tag for tag, _ in items], "ack")
        return [record for _, record in items]

    async def close(self) -> None:
        """Stop reading. Idempotent."""
        await self._feed.close()

    def _position(self) -> dict[str, Any]:
        return {OFFSET: self._next}

    def _recorded(self, _tag: int, arrived: Arrived) -> Recorded | None:
        offset = offset_of(arrived.message)
        if offset < self._next:
            return None  # A stream is read by chunks: the first may begin before the offset asked for.
        return Recorded(
            offset=offset, message=arrived.message, exchange=arrived.exchange, routing_key=arrived.routing_key
        )


def delivery_count_of(message: Message) -> int:
    """How often the broker had handed it out before; a quorum queue counts in a header."""
    count = message.headers.get("x-delivery-count", 0)
    return count if isinstance(count, int) else 0


def offset_of(message: Message) -> int:
    """Where a stream keeps this message."""
    value = message.headers.get(OFFSET)
    return value if isinstance(value, int) else -1
