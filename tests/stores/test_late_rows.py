"""Savepoints are entered late, and only where a handler writes: nothing may come past them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from brokers.contract import Message, Publication
from stamp.errors import StampError
from stamp.stores.link import Link
from stamp.stores.postgres import PostgresStore
from stamp.stores.postgres_connection import StoreConnection
from stamp.stores.sqlite import SQLiteStore
from tests.stores.places import PostgresPlace, postgres_places

INSERT = "INSERT INTO expert VALUES ('ada') RETURNING name"


class Refused(Exception):  # noqa: N818
    """What a handler raises."""


async def by_cursor(native: Any) -> None:
    async for _ in native.cursor(INSERT):
        pass


async def by_statement(native: Any) -> None:
    await (await native.prepare(INSERT)).fetch()


async def by_driver_transaction(native: Any) -> None:
    async with native.transaction():
        await native.execute(INSERT)


WAYS: dict[str, Callable[[Any], Awaitable[object]]] = {
    "execute": lambda native: native.execute(INSERT),
    "execute with a parameter": lambda native: native.execute("INSERT INTO expert VALUES ($1)", "ada"),
    "executemany": lambda native: native.executemany("INSERT INTO expert VALUES ($1)", [("ada",)]),
    "fetch": lambda native: native.fetch(INSERT),
    "fetchrow": lambda native: native.fetchrow(INSERT),
    "fetchval": lambda native: native.fetchval(INSERT),
    "fetchmany": lambda native: native.fetchmany("INSERT INTO expert VALUES ($1) RETURNING name", [("ada",)]),
    "copy_records_to_table": lambda native: native.copy_records_to_table("expert", records=[("ada",)]),
    "copy_to_table": lambda native: native.copy_to_table("expert", source=_Lines()),
    "copy_from_query": lambda native: native.copy_from_query(INSERT, output=_drop),
    "cursor": by_cursor,
    "prepare": by_statement,
    "transaction": by_driver_transaction,
}


class _Lines:
    def __init__(self) -> None:
        self._left = [b"ada\n"]

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


async def _drop(_: bytes) -> None: ...


def publication(message_id: str) -> Publication:
    return Publication("NEW_TICKET", "TicketCreated", Message(body=b"{}", message_id=message_id))


async def hop(tx: Any, key: str, act: Callable[[Any], Awaitable[object]] | None = None) -> None:
    """A delivery whose handler does `act`, and then fails."""
    async with tx.savepoint():
        assert await tx.first_seen("assign", key, expires=None)
        if act is not None:
            await act(tx.native)
            raise Refused
        await tx.emit([publication(f"out-{key}")], run="run-1")


def on_postgres(url: str, work: Callable[[PostgresStore], Awaitable[None]]) -> None:
    """Run `work` on an open store whose user has a table `expert`."""

    async def run() -> None:
        async with postgres_places(url)() as place:
            assert isinstance(place, PostgresPlace)
            store = PostgresStore(place.url, schema=place.name)
            await store.open()
            try:
                async with store.begin() as tx:
                    await tx.native.execute("DROP TABLE IF EXISTS expert; CREATE TABLE expert (name text)")
                await work(store)
            finally:
                await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("way", WAYS)
def test_a_statement_of_any_kind_is_undone_with_its_savepoint_and_nothing_else_is(postgres: str, way: str) -> None:
    async def work(store: PostgresStore) -> None:
        async with store.begin() as tx:
            await tx.foresee("assign", ["a", "b", "c"])
            await hop(tx, "a")
            with pytest.raises(Refused):
                await hop(tx, "b", WAYS[way])
            await hop(tx, "c")
        async with store.begin() as tx:
            assert await tx.native.fetchval("SELECT count(*) FROM expert") == 0
        assert await store.backlog() == 2

    on_postgres(postgres, work)


def test_a_statement_prepared_by_one_handler_and_run_by_the_next_is_undone_with_the_next(postgres: str) -> None:
    async def work(store: PostgresStore) -> None:
        kept: list[Any] = []

        async def prepare(native: StoreConnection) -> None:
            kept.append(await native.prepare(INSERT))

        async with store.begin() as tx:
            await tx.foresee("assign", ["a", "b"])
            with pytest.raises(Refused):
                await hop(tx, "a", prepare)
            with pytest.raises(Refused):
                await hop(tx, "b", lambda _: kept[0].fetch())
        async with store.begin() as tx:
            assert await tx.native.fetchval("SELECT count(*) FROM expert") == 0

    on_postgres(postgres, work)


def test_a_first_statement_that_is_cancelled_undoes_no_neighbour(postgres: str) -> None:
    async def impatient(native: StoreConnection) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await native.execute(INSERT)

    async def play(store: PostgresStore) -> None:
        async with store.begin() as tx:
            await tx.foresee("assign", ["a", "b"])
            async with tx.savepoint():
                assert await tx.first_seen("assign", "a", expires=None)
                await tx.native.execute(INSERT)
                await tx.emit([publication("out-a")], run="run-1")
            with suppress(Refused):
                await hop(tx, "b", impatient)

    async def work(store: PostgresStore) -> None:
        with suppress(StampError):
            await play(store)
        async with store.begin() as tx:
            rows = await tx.native.fetchval("SELECT count(*) FROM expert")
        assert rows == await store.backlog()

    on_postgres(postgres, work)


def test_hops_that_write_nothing_share_four_statements_on_postgres(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[object] = []
    come_first = StoreConnection._come_first

    async def counting(self: StoreConnection) -> None:
        statements.append(self)
        await come_first(self)

    async def work(store: PostgresStore) -> None:
        async with store.begin() as tx:
            await _batch(tx, "first, as the driver asks what the types are")
        monkeypatch.setattr(StoreConnection, "_come_first", counting)
        async with store.begin() as tx:
            await _batch(tx, "second")
        assert len(statements) == 4  # BEGIN, the look, all rows, COMMIT

    on_postgres(postgres, work)


async def _batch(tx: Any, name: str) -> None:
    names = [f"{name} {number}" for number in range(20)]
    await tx.foresee("assign", names)
    for key in names:
        await hop(tx, key)


def test_hops_that_write_nothing_post_nothing_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[object] = []
    post = Link.post
    monkeypatch.setattr(Link, "post", lambda self, work: posted.append(work) or post(self, work))  # type: ignore[func-returns-value]

    async def work() -> None:
        store = SQLiteStore(f"sqlite:///{tmp_path}/desk.db")
        await store.open()
        posted.clear()
        async with store.begin() as tx:
            await _batch(tx, "only")
        assert len(posted) == 3  # begin, look, commit
        await store.close()

    asyncio.run(work())


def test_a_connection_kept_from_an_earlier_hop_is_inside_the_savepoint_of_the_later_one(tmp_path: Path) -> None:
    async def work() -> Sequence[Any]:
        store = SQLiteStore(f"sqlite:///{tmp_path}/desk.db")
        await store.open()
        async with store.begin() as tx:
            kept = tx.native
            await kept.execute("CREATE TABLE expert (name text)")
        async with store.begin() as tx:
            await tx.foresee("assign", ["a", "b"])
            await hop(tx, "a")
            with pytest.raises(Refused):
                await _fails(tx, kept)
        async with store.begin() as tx:
            rows = list(await tx.native.execute_fetchall("SELECT * FROM expert"))
        assert await store.backlog() == 1
        await store.close()
        return rows

    assert asyncio.run(work()) == []


async def _fails(tx: Any, kept: Any) -> None:
    async with tx.savepoint():
        await kept.execute("INSERT INTO expert VALUES ('ada')")
        raise Refused
