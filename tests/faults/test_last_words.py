"""A database server that is killed sends its last words to connections that nobody reads just then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg  # type: ignore[import-untyped]
import pytest

from stamp.errors import StoreUnavailable
from stamp.ports import Transaction
from stamp.stores.postgres import PostgresStore
from tests.faults.play import until
from tests.faults.proxy import Proxy, proxied

Ended = Callable[[], Awaitable[None]]


async def _the_users(tx: Transaction, ended: Ended) -> None:
    async with tx.savepoint():
        await ended()
        await tx.native.fetch("SELECT 1")


async def _the_toolkits(tx: Transaction, ended: Ended) -> None:
    await ended()
    await tx.first_seen("queue", "message", expires=None)


async def _a_rollback(tx: Transaction, ended: Ended) -> None:
    await ended()
    raise ValueError("the handler's own")


async def _unheard(url: str, statement: Callable[[Transaction, Ended], Awaitable[None]]) -> None:
    """Run a statement on a connection that the server has ended, in the moment before the client knows."""
    async with proxied(url) as (proxy, through):
        proxy.hides_ends = True
        store = PostgresStore(through, schema="last_words", connections=2)
        await store.open()
        try:
            async with store.begin() as tx:

                async def ended() -> None:
                    await _terminated(url, await tx.native.fetchval("SELECT pg_backend_pid()"))
                    await _heard(proxy)

                await statement(tx, ended)
        finally:
            proxy.cut()
            await store.close()


async def _terminated(url: str, pid: int) -> None:
    direct = await asyncpg.connect(url)

    async def gone() -> bool:
        return not await direct.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid)

    try:
        await direct.execute("SELECT pg_terminate_backend($1)", pid)
        await until(gone, 10, lambda: "the server process lives")
    finally:
        await direct.close()


async def _heard(proxy: Proxy) -> None:
    """Wait until the driver has what the server said last, and has not been told that the connection has ended."""

    async def passed() -> bool:
        return proxy.hidden > 0

    await until(passed, 10, lambda: "the server never ended the connection")
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("statement", [_the_users, _the_toolkits, _a_rollback])
def test_a_statement_after_the_servers_last_words_finds_the_store_unavailable(
    statement: Callable[[Transaction, Ended], Awaitable[None]], postgres: str
) -> None:
    with pytest.raises(StoreUnavailable):
        asyncio.run(_unheard(postgres, statement))
