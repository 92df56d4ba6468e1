"""A subscription to a queue and a cursor on a stream."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from brokers.contract import Delivery, Recorded
from brokers.errors import NotFound, ProtocolMisuse
from brokers.memory.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brokers.contract import Message
    from brokers.memory.queue import Entry, MemoryQueue
    from brokers.memory.stream import MemoryStream


class MemoryConsumer:
    """One subscription. Tags come from `tags`, which the whole node shares, so no foreign tag is ever settled."""

    def __init__(
        self,
        queue: MemoryQueue,
        prefetch: int,
        *,
        tags: Iterator[int],
        on_close: Callable[[MemoryConsumer], None],
    ) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._tags = tags
        self._on_close = on_close
        self._arrived: deque[Delivery] = deque()
        self._unsettled: dict[int, Entry] = {}
        self._bell = Bell()
        self._stopped = False
        self._retired = False
        self._lost = False

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self._queue.spec.name

    @property
    def credit(self) -> int:
        """How many more deliveries may be pushed."""
        return self._prefetch - len(self._unsettled)

    @property
    def unacked(self) -> int:
        """How many deliveries are pushed and not settled."""
        return len(self._unsettled)

    def push(self, entry: Entry) -> None:
        """Take a delivery; it counts as unsettled from here on."""
        delivery = _delivery(self._queue, entry, next(self._tags))
        self._unsettled[delivery.tag] = entry
        self._arrived.append(delivery)
        self._bell.ring()

    def lost(self) -> None:
        """The queue was deleted: whoever waits learns it."""
        self._lost = True
        self._unsettled.clear()
        self._arrived.clear()
        self._bell.ring_all()

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for one delivery; return it with all that already wait, at most `limit`."""
        if limit < 1:
            raise ProtocolMisuse(f"receive({limit}) asks for nothing")
        while self._retired or not self._arrived:
            if self._stopped or self._retired:
                return ()
            if self._lost:
                raise NotFound(f"queue {self.queue!r} was deleted")
            await self._bell.wait()
        return self._next(limit)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Forget them."""
        self._settled(deliveries)
        self._queue.dispatch()
        self._leave_when_empty()

    async def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Give them back to the queue."""
        self._queue.give_back(self._settled(deliveries))
        self._leave_when_empty()

    async def reject(self, deliveries: Sequence[Delivery]) -> None:
        """Dead-letter them."""
        self._queue.reject(self._settled(deliveries))
        self._leave_when_empty()

    async def stop(self) -> None:
        """Take no more; what was pushed and not received goes back."""
        self._stopped = True
        self._queue.unsubscribe(self)
        await self.requeue(tuple(self._arrived))
        self._arrived.clear()
        self._bell.ring_all()

    async def retire(self) -> None:
        """Hand out no more, and keep the place in line until `close`."""
        self._retired = True
        self._bell.ring_all()

    async def close(self) -> None:
        """Take no more, and give back what was received too, all at once."""
        self._stopped = True
        self._bell.ring_all()
        self._queue.unsubscribe(self)
        self._give_back_all()
        self._leave_when_empty()
        self._on_close(self)

    def reconnect(self) -> None:
        """What a lost connection does: everything unsettled goes back, the subscription comes again."""
        if self._stopped or self._lost:
            self._give_back_all()
            self._leave_when_empty()
            return
        self._queue.unsubscribe(self)
        self._give_back_all()
        self._queue.forget(self)
        self._queue.subscribe(self)

    def _next(self, limit: int) -> list[Delivery]:
        arrived = self._arrived
        return [arrived.popleft() for _ in range(min(limit, len(arrived)))]

    def _settled(self, deliveries: Sequence[Delivery]) -> list[Entry]:
        found = (self._unsettled.pop(delivery.tag, None) for delivery in deliveries)
        return [entry for entry in found if entry is not None]

    def _give_back_all(self) -> None:
        entries = list(self._unsettled.values())
        self._unsettled.clear()
        self._arrived.clear()
        self._queue.give_back(entries)

    def _leave_when_empty(self) -> None:
        if self._stopped and not self._unsettled:
            self._queue.forget(self)


class MemoryReader:
    """A cursor on a stream."""

    def __init__(self, stream: MemoryStream, start: int, *, on_close: Callable[[MemoryReader], None]) -> None:
        self._stream = stream
        self._offset = start
        self._on_close = on_close
        self._closed = False

    async def receive(self, limit: int) -> Sequence[Recorded]:
        """Wait for one record; return it with all that already wait, at most `limit`."""
        if limit < 1:
            raise ProtocolMisuse(f"receive({limit}) asks for nothing")
        while not self._closed:
            if self._stream.gone:
                raise NotFound(f"stream {self._stream.spec.name!r} was deleted")
            if found := self._stream.records(self._offset, limit):
                self._offset = found[-1].offset + 1
                return found
            await self._stream.bell.wait()
        return ()

    async def close(self) -> None:
        """Stop reading."""
        self._closed = True
        self._stream.bell.ring_all()
        self._on_close(self)


def _delivery(queue: MemoryQueue, entry: Entry, tag: int) -> Delivery:
    counted = queue.spec.kind == "quorum" and entry.returned > 0
    return Delivery(
        message=_counted(entry.message, entry.returned) if counted else entry.message,
        queue=queue.spec.name,
        exchange=entry.exchange,
        routing_key=entry.routing_key,
        tag=tag,
        redelivered=entry.returned > 0,
        delivery_count=entry.returned if counted else 0,
    )


def _counted(message: Message, returned: int) -> Message:
    return replace(message, headers={**message.headers, "x-delivery-count": returned})
