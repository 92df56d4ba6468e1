"""The ports of a service with a counter at each: what goes through is counted, and nothing is changed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from brokers.contract import Broker, Consumer, Delivery, Message, Publication
from brokers.errors import BrokerError
from brokers.framesize import header_frame_size
from stamp.codec import STAMP
from stamp.events import Event, HopFinished
from stamp.notes import UNDONE
from stamp.ports import Bookkeeping, Books, Foresight, LedgerRow, Store, Transaction

WRITTEN = ("inbox", "outbox", "ledger", "notes")
"""Rows that the toolkit inserts or changes; `notes` are those of joins and of stateless services."""

Counts = Counter[str]
"""Beside WRITTEN: published, delivered, stamp_bytes, bytes, commits, forgotten, rows_read, hops, undone (of those)."""


def counting_broker(inner: Broker, counts: Counts) -> Broker:
    """The broker, with everything that is published and delivered through it counted."""
    return cast("Broker", CountingBroker(inner, counts))


def counting_hops(counts: Counts) -> Any:
    """An observer that counts finished hops."""

    def observe(event: Event) -> None:
        if isinstance(event, HopFinished):
            counts["hops"] += 1
            counts["undone"] += event.outcome == UNDONE

    return observe


def size(message: Message) -> int:
    """Bytes of a message as AMQP carries it: properties, headers and body."""
    return header_frame_size(message) + len(message.body)


class CountingBroker:
    """A broker; counts messages that it has confirmed, and those that its consumers got."""

    def __init__(self, inner: Broker, counts: Counts) -> None:
        self._inner = inner
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def publish(self, publication: Publication) -> None:
        """As the broker's."""
        await self._inner.publish(publication)
        self._published(publication.message)

    async def publish_all(self, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        """As the broker's."""
        outcomes = await self._inner.publish_all(publications)
        for publication, error in zip(publications, outcomes, strict=True):
            if error is None:
                self._published(publication.message)
        return outcomes

    def _published(self, message: Message) -> None:
        self._counts["published"] += 1
        self._counts["bytes"] += size(message)
        self._counts["stamp_bytes"] += len(str(message.headers.get(STAMP, "")).encode())

    async def consume(self, queue: str, *, prefetch: int = 100) -> CountingConsumer:
        """As the broker's."""
        return CountingConsumer(await self._inner.consume(queue, prefetch=prefetch), self._counts)


class CountingConsumer:
    """A consumer; counts deliveries."""

    def __init__(self, inner: Consumer, counts: Counts) -> None:
        self._inner = inner
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """As the consumer's."""
        deliveries = await self._inner.receive(limit)
        self._counts["delivered"] += len(deliveries)
        return deliveries


class CountingStore:
    """A store with a ledger; counts what its transactions leave behind once they have committed."""

    def __init__(self, inner: Store, counts: Counts) -> None:
        self._inner = inner
        self._counts = counts
        self.committed = 0.0
        """When the first transaction after `mark` had committed (`time.perf_counter`)."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def mark(self) -> None:
        """Note the moment of the next commit."""
        self.committed = 0.0

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[CountingTransaction]:
        """As the store's."""
        async with self._inner.begin() as tx:
            counting = CountingTransaction(tx)
            yield counting
        self.committed = self.committed or time.perf_counter()
        self._counts.update({**counting.rows, "commits": 1})

    async def sent(self, message_ids: Sequence[str]) -> None:
        """As the store's."""
        self._counts["forgotten"] += len(message_ids)
        await self._inner.sent(message_ids)

    async def ledger(self, **narrowed: Any) -> Sequence[LedgerRow]:
        """As the store's."""
        assert isinstance(self._inner, Books)
        rows = await self._inner.ledger(**narrowed)
        self._counts["rows_read"] += len(rows)
        return rows

    async def counts(self, workflow: str | None = None) -> Mapping[str, int]:
        """As the store's."""
        assert isinstance(self._inner, Books)
        return await self._inner.counts(workflow)


class CountingTransaction:
    """A transaction; its rows are counted in `rows`, and those of a savepoint that was rolled back are not."""

    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.rows: Counts = Counter()

    @property
    def native(self) -> Any:
        """As the transaction's."""
        return self._inner.native

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """As the transaction's."""
        return self._savepoint()

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        before = self.rows.copy()
        try:
            async with self._inner.savepoint():
                yield
        except BaseException:
            self.rows = before
            raise

    async def foresee(self, consumer: str, message_ids: Sequence[str]) -> None:
        """As the transaction's, where it has it."""
        if isinstance(self._inner, Foresight):
            await self._inner.foresee(consumer, message_ids)

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:
        """As the transaction's."""
        new = await self._inner.first_seen(consumer, message_id, expires=expires)
        self.rows["inbox"] += new
        return new

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        """As the transaction's."""
        await self._inner.emit(publications, run=run)
        self.rows["outbox"] += len(publications)

    async def gather(self, join: str) -> Mapping[str, bytes]:
        """As the transaction's."""
        rows = await self._inner.gather(join)
        self.rows["rows_read"] += len(rows)
        return rows

    async def put_arrivals(self, join: str, rows: Mapping[str, bytes], *, expires: float | None) -> None:
        """As the transaction's."""
        await self._inner.put_arrivals(join, rows, expires=expires)
        self.rows["notes"] += len(rows)

    async def read_runs(self, runs: Sequence[str]) -> Mapping[str, bytes]:
        """As the transaction's."""
        assert isinstance(self._inner, Bookkeeping)
        return await self._inner.read_runs(runs)

    async def write_runs(self, rows: Sequence[LedgerRow]) -> None:
        """As the transaction's."""
        assert isinstance(self._inner, Bookkeeping)
        await self._inner.write_runs(rows)
        self.rows["ledger"] += len(rows)


def written(counts: Mapping[str, int], kinds: Iterable[str] = WRITTEN) -> int:
    """Rows that were inserted or changed."""
    return sum(counts.get(kind, 0) for kind in kinds)
