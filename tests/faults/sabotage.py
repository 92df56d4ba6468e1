"""A toolkit that is broken on purpose: the account of a crash must find each of these."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from brokers.contract import Broker, Consumer, Delivery, Publication
from stamp.ports import Store, Transaction


def broken_store(inner: Store, how: str | None) -> Store:
    """The store, or one that breaks a promise: `no-inbox`, `no-outbox`, `forgets-early`."""
    return _Store(inner, how) if how in {"no-inbox", "no-outbox", "forgets-early"} else inner


def broken_broker(inner: Broker, how: str | None) -> Broker:
    """The broker, or one whose consumers acknowledge what they receive at once: `acks-early`."""
    return _Broker(inner) if how == "acks-early" else inner


class _Wrapper:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Store(_Wrapper):
    def __init__(self, inner: Store, how: str | None) -> None:
        super().__init__(inner)
        self._how = how

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[_Transaction]:
        async with self._inner.begin() as tx:
            broken = _Transaction(tx, self._how)
            yield broken
        if self._how == "forgets-early":
            await self._inner.sent(broken.emitted)
            await self._inner.flush()


class _Transaction(_Wrapper):
    def __init__(self, inner: Transaction, how: str | None) -> None:
        super().__init__(inner)
        self._how = how
        self.emitted: list[str] = []

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:
        new: bool = await self._inner.first_seen(consumer, message_id, expires=expires)
        return new or self._how == "no-inbox"

    async def foresee(self, consumer: str, message_ids: Sequence[str]) -> None:
        await self._inner.foresee(consumer, message_ids)

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        self.emitted += [publication.message.message_id for publication in publications]
        if self._how != "no-outbox":
            await self._inner.emit(publications, run=run)


class _Broker(_Wrapper):
    async def consume(self, queue: str, *, prefetch: int = 100) -> _Consumer:
        return _Consumer(await self._inner.consume(queue, prefetch=prefetch), self._inner, queue)


class _Consumer(_Wrapper):
    def __init__(self, inner: Consumer, broker: Broker, queue: str) -> None:
        super().__init__(inner)
        self._broker = broker
        self._queue = queue

    async def receive(self, limit: int) -> Sequence[Delivery]:
        deliveries: Sequence[Delivery] = await self._inner.receive(limit)
        await self._inner.ack(deliveries)
        await self._broker.depth(self._queue)  # until an answer is back, the acknowledgement may still be in here
        return deliveries
