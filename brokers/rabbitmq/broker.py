"""`brokers.contract.Broker` on RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Literal

from brokers.contract import Capabilities
from brokers.rabbitmq.choice import best_wire
from brokers.rabbitmq.chores import Chores
from brokers.rabbitmq.connection import Link, split_urls, spread
from brokers.rabbitmq.consuming import RabbitConsumer, RabbitReader
from brokers.rabbitmq.declaring import Desk
from brokers.rabbitmq.publishing import Publisher
from brokers.rabbitmq.subscription import Subscription
from brokers.rabbitmq.wire import PlainWire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from brokers.contract import Binding, Declarable, ExchangeBinding, Publication
    from brokers.errors import BrokerError
    from brokers.rabbitmq.wire import Wire


class RabbitBroker:
    """RabbitMQ 3.10 or newer. Two connections: one publishes and may be blocked by an alarm, one does the rest.

    `url` may name several nodes, separated by commas. Each broker object begins at one of them by chance, its two
    connections at different ones, so that processes spread over the nodes; after a loss the next node is used.
    `heartbeat` (seconds) notices a dead link after about three times its value. `timeout` (seconds) bounds
    every question to the broker, a confirm included. `fast=False` keeps to the public calls of aio-pika.
    """

    def __init__(
        self, url: str, *, heartbeat: int = 10, timeout: float = 10.0, name: str | None = None, fast: bool = True
    ) -> None:
        urls = spread(split_urls(url))
        label = name or "stamp"
        self._timeout = timeout
        self._chores = Chores()
        self._wire: Wire = best_wire() if fast else PlainWire()
        self._out = Link(
            urls, self._wire, self._chores, name=f"{label} (publish)", heartbeat=heartbeat, timeout=timeout
        )
        self._in = Link(
            urls[1:] + urls[:1],
            self._wire,
            self._chores,
            name=f"{label} (consume)",
            heartbeat=heartbeat,
            timeout=timeout,
            level=logging.WARNING,
        )
        self._publisher = Publisher(self._out, self._wire, self._chores, timeout=timeout)
        self._desk = Desk(self._in, self._chores, timeout=timeout)
        self._feeds: list[RabbitConsumer | RabbitReader] = []
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """All of them."""
        return Capabilities()

    async def open(self) -> None:
        """Connect. Raises `BrokerUnreachable` (naming the URL without its password) or `AccessRefused`.

        After an error it may be called again.
        """
        try:
            await self._in.connection()
            await self._publisher.open()
        except BaseException:
            await asyncio.gather(self._out.disconnect(), self._in.disconnect())
            await self._chores.finish(self._timeout)
            raise

    async def close(self) -> None:
        """Close consumers, flush confirms, close connections. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(feed.close() for feed in self._feeds))
        self._publisher.close()
        await self._chores.finish(self._timeout)
        await asyncio.gather(self._out.close(), self._in.close())
        await self._chores.finish(self._timeout)

    async def declare(self, parts: Iterable[Declarable]) -> None:
        """Create what is missing, in the order given. Raises `TopologyMismatch` naming the part, or `NotFound`."""
        for part in parts:
            await self._desk.declare(part)

    async def unbind(self, binding: Binding | ExchangeBinding) -> None:
        """Take a binding away; a missing one, or one between missing ends, is no error."""
        await self._desk.unbind(binding)

    async def delete_queue(self, name: str) -> None:
        """Delete a queue and what is in it; a missing queue is no error."""
        await self._desk.delete_queue(name)

    async def depth(self, queue: str) -> int:
        """Messages ready in the queue, without touching them. Raises `NotFound`."""
        return await self._desk.depth(queue)

    async def publish(self, publication: Publication) -> None:
        """Returns when the broker has confirmed and routed the message, raises a `BrokerError` otherwise."""
        (outcome,) = await self._publisher.send([publication])
        if outcome is not None:
            raise outcome

    async def publish_all(self, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        """One pipelined burst. The outcome of each, in order: `None` is confirmed and routed."""
        return await self._publisher.send(publications)

    async def consume(self, queue: str, *, prefetch: int = 100) -> RabbitConsumer:
        """Subscribe. At most `prefetch` deliveries are unsettled at a time. Raises `NotFound`."""
        consumer = RabbitConsumer(queue, self._subscribing(queue), prefetch=prefetch)
        await consumer.begin()
        self._remember(consumer)
        return consumer

    async def end(self, stream: str) -> int:
        """The offset one past the last message of the stream; 0 when it is empty. Raises `NotFound`."""
        return await self._desk.end(stream)

    async def read(self, stream: str, *, start: int | Literal["next"] = 0) -> RabbitReader:
        """Read a stream without changing it, from an offset or (`next`) from what comes after this call."""
        first = await self._desk.end(stream) if start == "next" else start
        reader = RabbitReader(self._subscribing(stream), start=first)
        await reader.begin()
        self._remember(reader)
        return reader

    def _remember(self, feed: RabbitConsumer | RabbitReader) -> None:
        self._feeds = [*(known for known in self._feeds if not known.closed), feed]

    def _subscribing(self, queue: str) -> Callable[[], Subscription]:
        return lambda: Subscription(self._in, self._wire, self._chores, queue=queue, timeout=self._timeout)
