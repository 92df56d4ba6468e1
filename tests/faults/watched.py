"""The ports of a service with a trap in each: the product itself has no hook to be killed by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from brokers.contract import Broker, Consumer, Delivery, Publication
from brokers.errors import BrokerError
from stamp.codec import Codec
from stamp.ports import Foresight, Store, Transaction
from tests.faults.points import LEAST_BYTES, PATH, Trap, die

Outcomes = Sequence[BrokerError | None]


class WatchedCodec:
    """A codec; meets `decode`."""

    def __init__(self, inner: Codec, trap: Trap) -> None:
        self._inner = inner
        self._trap = trap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """As the codec's."""
        self._trap.strike("decode", "before")
        arrival = self._inner.decode(*args, **kwargs)
        self._trap.strike("decode", "after")
        return arrival


class WatchedStore:
    """A store; meets `begin`, `commit` (of outbox rows), `forget`, `claim` and `flush`.

    Claims are leased for `lease` seconds.
    """

    def __init__(self, inner: Store, trap: Trap, lease: float) -> None:
        self._inner = inner
        self._trap = trap
        self._lease = lease
        self._buffered = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[WatchedTransaction]:
        """As the store's."""
        self._trap.strike("begin", "before")
        async with self._inner.begin() as tx:
            self._trap.strike("begin", "after")
            watched = WatchedTransaction(tx, self._trap)
            yield watched
            if watched.emits:
                self._trap.strike("commit", "before")
        if watched.emits:
            self._trap.strike("commit", "after")

    async def sent(self, message_ids: Sequence[str]) -> None:
        """As the store's."""
        if message_ids:
            self._trap.strike("forget", "before")
        await self._inner.sent(message_ids)
        if message_ids:
            self._buffered = True
            self._trap.strike("forget", "after")

    async def flush(self) -> None:
        """As the store's; a flush of nothing is not met."""
        buffered, self._buffered = self._buffered, False
        if buffered:
            self._trap.strike("flush", "before")
        await self._inner.flush()
        if buffered:
            self._trap.strike("flush", "after")
        if PATH.get() == "relay":
            PATH.set("forward")

    async def claim(self, limit: int, *, lease: float) -> Sequence[Publication]:
        """As the store's; a claim of nothing is met `before` only."""
        self._trap.strike("claim", "before")
        rows = await self._inner.claim(limit, lease=min(lease, self._lease))
        if rows:
            PATH.set("relay")  # A worker that met a duplicate relays too, until the flush at the end.
            self._trap.strike("claim", "after")
        return rows


class WatchedTransaction:
    """A transaction; meets `inbox`, `outbox`, and at a join `gather` and `arrival`.

    The rows of a savepoint are in the table when it ends.
    """

    def __init__(self, inner: Transaction, trap: Trap) -> None:
        self._inner = inner
        self._trap = trap
        self._inside = False
        self._emitted = False
        self.emits = False
        """Whether anything was written to the outbox: a commit without it leaves nothing behind to be relayed."""

    @property
    def native(self) -> Any:
        """As the transaction's."""
        return self._inner.native

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """As the transaction's."""
        self._inside, self._emitted = True, False
        try:
            async with self._inner.savepoint():
                yield
        finally:
            self._inside = False
        if self._emitted:
            self._trap.strike("outbox", "after")

    async def foresee(self, consumer: str, message_ids: Sequence[str]) -> None:
        """As the transaction's, where it has it."""
        if isinstance(self._inner, Foresight):
            await self._inner.foresee(consumer, message_ids)

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:
        """As the transaction's."""
        self._trap.strike("inbox", "before")
        new = await self._inner.first_seen(consumer, message_id, expires=expires)
        self._trap.strike("inbox", "after")
        return new

    async def gather(self, join: str) -> Mapping[str, bytes]:
        """As the transaction's."""
        self._trap.strike("gather", "before")
        rows = await self._inner.gather(join)
        self._trap.strike("gather", "after")
        return rows

    async def put_arrivals(self, join: str, rows: Mapping[str, bytes], *, expires: float | None) -> None:
        """As the transaction's."""
        self._trap.strike("arrival", "before")
        await self._inner.put_arrivals(join, rows, expires=expires)
        self._trap.strike("arrival", "after")

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        """As the transaction's; an emit of nothing (a join that still waits) is not met."""
        if not publications:
            return
        self._trap.strike("outbox", "before")
        await self._inner.emit(publications, run=run)
        self._emitted = self.emits = True
        if not self._inside:
            self._trap.strike("outbox", "after")


class WatchedBroker:
    """A broker; meets `publish` and `confirm`, and `ack` through its consumers.

    After `publish` the bytes of a burst are out and nothing is known of it. Before `confirm` half of the burst is
    confirmed and the rest is out; after it all is confirmed and nobody has been told.
    """

    def __init__(self, inner: Broker, trap: Trap) -> None:
        self._inner = inner
        self._trap = trap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def consume(self, queue: str, *, prefetch: int = 100) -> WatchedConsumer:
        """As the broker's."""
        return WatchedConsumer(await self._inner.consume(queue, prefetch=prefetch), self._trap)

    async def publish_all(self, publications: Sequence[Publication]) -> Outcomes:
        """As the broker's."""
        if not publications:
            return await self._inner.publish_all(publications)
        self._trap.strike("publish", "before")
        if self._trap.due("publish", "after"):
            await self._out(publications)
        if self._trap.due("confirm", "before"):
            half = len(publications) // 2
            await self._inner.publish_all(publications[:half])
            await self._out(publications[half:])
        outcomes = await self._inner.publish_all(publications)
        self._trap.strike("confirm", "after")
        return outcomes

    async def _out(self, publications: Sequence[Publication]) -> None:
        await asyncio.wait([asyncio.ensure_future(self._inner.publish_all(publications))], timeout=LEAST_BYTES)
        die()


class WatchedConsumer:
    """A consumer; meets `ack`."""

    def __init__(self, inner: Consumer, trap: Trap) -> None:
        self._inner = inner
        self._trap = trap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """As the consumer's."""
        self._trap.strike("ack", "before")
        await self._inner.ack(deliveries)
        if self._trap.due("ack", "after"):
            await asyncio.sleep(LEAST_BYTES)
            die()
