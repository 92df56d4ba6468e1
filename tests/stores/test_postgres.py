# ruff: noqa: PT012  a transaction is the block that raises
"""What the PostgreSQL store does beyond the contract, and how it meets a server that dies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from brokers.contract import Message, Publication
from stamp.errors import BadConfiguration, StoreUnavailable, TransactionHijacked
from stamp.stores.postgres import PostgresStore
from stamp.testing.postgres import PostgresCluster
from tests.stores.places import postgres_places

Work = Callable[[PostgresStore], Awaitable[None]]


def with_store(url: str, work: Work) -> None:
    """Run `work` on an open store in a schema of its own, whose user table is `ticket_<schema>`."""

    async def run() -> None:
        async with postgres_places(url)() as place:
            store = PostgresStore(place.url, schema=place.name)
            await store.open()
            try:
                await work(store)
            finally:
                await store.close()

    asyncio.run(run())


def publication(message_id: str) -> Publication:
    return Publication("NEW_TICKET", "TicketCreated", Message(body=b"{}", message_id=message_id))


def test_a_statement_that_failed_and_was_swallowed_is_no_silent_rollback(postgres: str) -> None:
    async def work(store: PostgresStore) -> None:
        with pytest.raises(TransactionHijacked, match="the handler went on"):
            async with store.begin() as tx:
                with pytest.raises(asyncpg.UndefinedTableError):
                    await tx.native.execute("SELECT * FROM no_such_table")

    with_store(postgres, work)


def test_a_constraint_that_is_checked_at_commit_is_the_users_error(postgres: str) -> None:
    async def work(store: PostgresStore) -> None:
        table = f"expert_{store.schema.place}"
        async with store.begin() as tx:
            await tx.native.execute(f"CREATE TABLE {table} (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with store.begin() as tx:
                await tx.native.execute(f"INSERT INTO {table} VALUES (1), (1)")
                await tx.emit([publication("m")], run="run-1")
        assert await store.backlog() == 0

    with_store(postgres, work)


def test_a_deadlock_of_the_users_own_statements_is_the_users_error(postgres: str) -> None:
    async def work(store: PostgresStore) -> None:
        table = f"expert_{store.schema.place}"
        async with store.begin() as tx:
            await tx.native.execute(f"CREATE TABLE {table} (id int)")
            await tx.native.execute(f"INSERT INTO {table} VALUES (1), (2)")
        first, second = asyncio.Barrier(2), (1, 2)

        async def lock(order: tuple[int, ...]) -> None:
            async with store.begin() as tx:
                await tx.native.execute("SET LOCAL deadlock_timeout = '20ms'")
                await tx.native.execute(f"SELECT * FROM {table} WHERE id = $1 FOR UPDATE", order[0])
                await first.wait()
                await tx.native.execute(f"SELECT * FROM {table} WHERE id = $1 FOR UPDATE", order[1])

        found = await asyncio.gather(lock(second), lock(second[::-1]), return_exceptions=True)
        assert [type(error) for error in found if error] == [asyncpg.DeadlockDetectedError]

    with_store(postgres, work)


def test_a_transaction_of_the_driver_inside_a_handler_is_a_savepoint(postgres: str) -> None:
    async def work(store: PostgresStore) -> None:
        table = f"expert_{store.schema.place}"
        async with store.begin() as tx:
            await tx.native.execute(f"CREATE TABLE {table} (id int PRIMARY KEY)")
        async with store.begin() as tx, tx.savepoint():
            with pytest.raises(asyncpg.UniqueViolationError):
                async with tx.native.transaction():
                    await tx.native.execute(f"INSERT INTO {table} VALUES (1), (1)")
            await tx.native.execute(f"INSERT INTO {table} VALUES (2)")
        async with store.begin() as tx:
            assert await tx.native.fetchval(f"SELECT array_agg(id) FROM {table}") == [2]

    with_store(postgres, work)


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    async def run() -> None:
        await PostgresStore("postgresql://desk:hush@127.0.0.1:1/tickets", connect_timeout=5).open()

    with pytest.raises(StoreUnavailable) as caught:
        asyncio.run(run())
    assert "127.0.0.1:1/tickets" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_another_scheme_is_refused_without_showing_the_password() -> None:
    with pytest.raises(BadConfiguration) as caught:
        PostgresStore("mysql://desk:hush@127.0.0.1/tickets")
    assert "hush" not in str(caught.value)


def test_a_killed_server_is_unavailable_and_used_again_when_it_is_back(postgres_faults: PostgresCluster) -> None:
    async def run() -> None:
        store = PostgresStore(postgres_faults.url)
        await store.open()
        async with store.begin() as tx:
            await tx.emit([publication("committed")], run="run-1")
        with pytest.raises(StoreUnavailable):
            async with store.begin() as tx, tx.savepoint():
                await tx.first_seen("assign", "m", expires=None)
                await asyncio.to_thread(postgres_faults.kill)
        with pytest.raises(StoreUnavailable):
            await store.backlog()
        await asyncio.to_thread(postgres_faults.start)
        assert await store.backlog() == 1
        async with store.begin() as tx:
            assert await tx.first_seen("assign", "m", expires=None)
        await store.close()

    asyncio.run(run())


def test_closing_does_not_wait_for_a_server_that_is_gone(postgres_faults: PostgresCluster) -> None:
    async def run() -> None:
        store = PostgresStore(postgres_faults.url)
        await store.open()
        async with store.begin() as tx:
            await tx.emit([publication("m")], run="run-1")
        await store.sent(["m"])
        await asyncio.to_thread(postgres_faults.kill)
        async with asyncio.timeout(10):
            await store.close()

    asyncio.run(run())


def test_a_consumer_that_the_statistics_do_not_know_is_looked_up_by_the_whole_key(postgres: str) -> None:
    async def work(store: PostgresStore) -> None:
        inbox = store.schema.inbox
        async with store.begin() as tx:
            rows = "SELECT 'known', gen_random_uuid()::text, 0 FROM generate_series(1, 20000)"
            await tx.native.execute(f"INSERT INTO {inbox} {rows}")
            await tx.native.execute(f"ANALYZE {inbox}")
            await tx.native.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            look = await tx.native.prepare(store.schema.known)
            plan = str(await look.explain(["a", "b"], "new"))
            assert "message_id = asked.id" in plan
            assert "Filter" not in plan

    with_store(postgres, work)
