"""The relay: what it sends, what it tidies up, what it survives."""

from __future__ import annotations

import asyncio

from brokers.memory import MemoryBroker
from stamp.stores.memory import MemoryStore
from tests.runtime.test_lifecycle import Desk, until


def test_inbox_rows_that_have_expired_go_by_themselves() -> None:
    async def scenario() -> None:
        store, node, desk = MemoryStore(), MemoryBroker(), Desk()
        await store.open()
        await node.open()
        async with store.begin() as tx:
            await tx.first_seen("queue", "late", expires=1.0)
            await tx.first_seen("queue", "kept", expires=None)
        pruned: list[int] = []
        prune = store.prune

        async def noted(now: float, *, limit: int = 1000) -> int:
            pruned.append(await prune(now, limit=limit))
            return pruned[-1]

        store.prune = noted  # type: ignore[method-assign]
        async with desk.service.open(broker=node, store=store):
            await until(lambda: pruned == [1])

    asyncio.run(scenario())
