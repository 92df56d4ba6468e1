"""A connection to the embedded broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from brokers.clock import SystemClock
from brokers.contract import Capabilities
from brokers.errors import BrokerUnreachable, ProtocolMisuse
from brokers.memory.consumer import MemoryConsumer, MemoryReader
from brokers.memory.node import MemoryNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brokers.contract import Binding, Clock, Declarable, ExchangeBinding, Publication
    from brokers.errors import BrokerError
    from brokers.memory.queue import QueueCounts

_CAPABILITIES = Capabilities(survives_restart=False)


class MemoryBroker:
    """A broker in this process, for tests, demonstrations and single-process use. Nothing survives the process.

    Every `MemoryBroker(...)` has a node of its own unless it is given one; services that should talk to each
    other share one object, or one node through `peer`. Whoever created the object opens and closes it: `open` and
    `close` are idempotent and not counted. Messages outlive `close` as long as the node does.

    A publish takes a turn of the event loop, as a confirm would: a consumer may be done before it returns.
    """

    def __init__(self, url: str = "memory:", *, clock: Clock | None = None, node: MemoryNode | None = None) -> None:
        if not url.lower().startswith("memory:"):
            raise ProtocolMisuse(f"not a URL of the embedded broker: {url.partition(':')[0]!r}; use 'memory:'")
        self.node = node or MemoryNode(clock or SystemClock())
        self._consumers: dict[MemoryConsumer, None] = {}
        self._readers: dict[MemoryReader, None] = {}
        self._open = False

    @property
    def capabilities(self) -> Capabilities:
        """Everything but surviving a restart."""
        return _CAPABILITIES

    @property
    def idle(self) -> bool:
        """No consumer of the node holds a delivery or could take one; delays may still be running."""
        return self.node.idle

    @property
    def queues(self) -> Mapping[str, QueueCounts]:
        """Ready and unacknowledged messages of each queue of the node, by name: a snapshot."""
        return self.node.queues

    def peer(self) -> MemoryBroker:
        """Another connection to the same node, not yet open."""
        return MemoryBroker(node=self.node)

    async def open(self) -> None:
        """Ready for calls. Idempotent."""
        self._open = True

    async def close(self) -> None:
        """Close consumers and readers; what they held goes back to its queues. Idempotent."""
        self._open = False
        for consumer in tuple(self._consumers):
            await consumer.close()
        for reader in tuple(self._readers):
            await reader.close()

    async def declare(self, parts: Iterable[Declarable]) -> None:
        """Create what is missing, in the order given."""
        node = self._connected()
        for part in parts:
            node.declare(part)

    async def unbind(self, binding: Binding | ExchangeBinding) -> None:
        """Take a binding away; a missing one, or one between missing ends, is no error."""
        self._connected().unbind(binding)

    async def delete_queue(self, name: str) -> None:
        """Delete a queue and what is in it."""
        self._connected().delete_queue(name)

    async def depth(self, queue: str) -> int:
        """Messages ready in the queue, or kept in the stream."""
        return self._connected().target(queue).depth

    async def publish(self, publication: Publication) -> None:
        """Returns when the message is in its queues, raises a `BrokerError` otherwise."""
        (outcome,) = await self.publish_all((publication,))
        if outcome is not None:
            raise outcome

    async def publish_all(self, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        """The outcome of each, in order: `None` is confirmed and routed."""
        if not self._open:
            return [_not_open() for _ in publications]
        publish = self.node.publish
        outcomes = [publish(publication) for publication in publications]
        await asyncio.sleep(0)
        return outcomes

    async def consume(self, queue: str, *, prefetch: int = 100) -> MemoryConsumer:
        """Subscribe; at most `prefetch` deliveries are unsettled at a time."""
        if prefetch < 1:
            raise ProtocolMisuse(f"prefetch {prefetch} would never deliver anything, or without a bound")
        target = self._connected().queue(queue)
        consumer = MemoryConsumer(target, prefetch, tags=self.node.tags, on_close=self._forget)
        self._consumers[consumer] = None
        target.subscribe(consumer)
        return consumer

    async def end(self, stream: str) -> int:
        """The offset one past the last record."""
        return self._connected().stream(stream).end

    async def read(self, stream: str, *, start: int | Literal["next"] = 0) -> MemoryReader:
        """A cursor from this offset on, or on what comes after this call."""
        source = self._connected().stream(stream)
        reader = MemoryReader(source, source.end if start == "next" else start, on_close=self._forget)
        self._readers[reader] = None
        return reader

    async def cut(self) -> None:
        """Lose the connection and get it back, for fault tests: what was unsettled is handed out again."""
        for consumer in tuple(self._consumers):
            consumer.reconnect()

    def _connected(self) -> MemoryNode:
        if not self._open:
            raise _not_open()
        return self.node

    def _forget(self, subscription: MemoryConsumer | MemoryReader) -> None:
        if isinstance(subscription, MemoryReader):
            self._readers.pop(subscription, None)
        else:
            self._consumers.pop(subscription, None)


def _not_open() -> BrokerUnreachable:
    return BrokerUnreachable("the embedded broker is not open: call open() first")
