"""Where the services of a play keep their rows: as the services open it, and as direct SQL reads it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Protocol

import asyncpg  # type: ignore[import-untyped]

from stamp.ports import Store
from stamp.stores.postgres import PostgresStore
from stamp.stores.sqlite import SQLiteStore, SQLiteTransaction
from tests.faults.orders import Books, Row
from tests.faults.plan import Plan

UNBOUNDED = 1_000_000
"""Pages that a test never fills."""

_TABLE = "CREATE TABLE IF NOT EXISTS {done} (number integer NOT NULL, step text NOT NULL, action text NOT NULL)"
_ROWS = "SELECT number, step, action, count(*) FROM {done} GROUP BY number, step, action"


class Place(Protocol):
    """The database of one service. There is no unique constraint on its rows: doubling would show."""

    def store(self, plan: Plan) -> Store:
        """A store on it, not yet open."""
        ...

    def books(self) -> Books:
        """Its own table for handlers."""
        ...

    async def prepare(self) -> None:
        """Create it."""
        ...

    async def rows(self) -> Counter[Row]:
        """What the service did, by direct SQL."""
        ...

    async def outbox(self) -> int:
        """How many outbox rows are left, by direct SQL."""
        ...


def place_of(url: str) -> Place:
    """`sqlite:////file.db`, or `postgresql://…#schema`."""
    return SQLitePlace(url) if url.startswith("sqlite:") else PostgresPlace(url)


class SQLitePlace:
    """A file."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.path = Path(url.removeprefix("sqlite:///"))

    def store(self, plan: Plan) -> Store:
        """A store on it, not yet open."""
        store = SQLiteStore(self._url, lease=plan.lease, busy_timeout=plan.busy)
        return store if plan.pages is None else Crowded(store, plan.pages, self.path.with_suffix(".roomy"))

    def books(self) -> Books:
        """Its own table for handlers."""
        return SQLiteBooks()

    async def prepare(self) -> None:
        """Create it."""
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(_TABLE.format(done="done"))

    async def rows(self) -> Counter[Row]:
        """What the service did, by direct SQL."""
        found = self._read(_ROWS.format(done="done"))
        return Counter({(number, step, action): times for number, step, action, times in found})

    async def outbox(self) -> int:
        """How many outbox rows are left, by direct SQL."""
        tables = self._read("SELECT 1 FROM sqlite_master WHERE name = 'stamp_outbox'")
        return int(self._read("SELECT count(*) FROM stamp_outbox")[0][0]) if tables else 0

    def _read(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, timeout=10)) as db:
            return db.execute(sql).fetchall()


class Crowded(SQLiteStore):
    """A SQLite store on a disk that is full at so many pages, until there is a file `roomy`."""

    def __init__(self, inner: SQLiteStore, pages: int, roomy: Path) -> None:
        vars(self).update(vars(inner))
        self._pages = pages
        self._roomy = roomy

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SQLiteTransaction]:
        """A transaction in which the file may grow no further than that."""
        async with super().begin() as transaction:
            pages = UNBOUNDED if self._roomy.exists() else self._pages
            await (await transaction.native.execute(f"PRAGMA max_page_count = {pages}")).close()
            yield transaction


class PostgresPlace:
    """A schema."""

    def __init__(self, url: str) -> None:
        self._full, _, self._schema = url.partition("#")

    def store(self, plan: Plan) -> Store:
        """A store on it, not yet open."""
        return PostgresStore(self._full, schema=self._schema, lease=plan.lease, connections=4)

    def books(self) -> Books:
        """Its own table for handlers."""
        return PostgresBooks(f'"{self._schema}".done')

    async def prepare(self) -> None:
        """Create it."""
        await self._read(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
        await self._read(_TABLE.format(done=f'"{self._schema}".done'))

    async def rows(self) -> Counter[Row]:
        """What the service did, by direct SQL."""
        found = await self._read(_ROWS.format(done=f'"{self._schema}".done'))
        return Counter({(number, step, action): times for number, step, action, times in found})

    async def outbox(self) -> int:
        """How many outbox rows are left, by direct SQL."""
        if not (await self._read(f"SELECT to_regclass('\"{self._schema}\".outbox')::text"))[0][0]:
            return 0
        return int((await self._read(f'SELECT count(*) FROM "{self._schema}".outbox'))[0][0])

    async def _read(self, sql: str) -> list[Any]:
        connection = await asyncpg.connect(self._full, timeout=10)
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()


class SQLiteBooks:
    """The table in the words of aiosqlite."""

    async def write(self, tx: Any, row: Row) -> None:
        """One more row."""
        await tx.execute("INSERT INTO done (number, step, action) VALUES (?, ?, ?)", row)

    async def known(self, tx: Any, row: Row) -> bool:
        """Whether there is such a row."""
        sql = "SELECT 1 FROM done WHERE number = ? AND step = ? AND action = ?"
        return bool(await (await tx.execute(sql, row)).fetchall())


class PostgresBooks:
    """The table in the words of asyncpg."""

    def __init__(self, table: str) -> None:
        self._table = table

    async def write(self, tx: Any, row: Row) -> None:
        """One more row."""
        await tx.execute(f"INSERT INTO {self._table} (number, step, action) VALUES ($1, $2, $3)", *row)

    async def known(self, tx: Any, row: Row) -> bool:
        """Whether there is such a row."""
        sql = f"SELECT 1 FROM {self._table} WHERE number = $1 AND step = $2 AND action = $3"
        return bool(await tx.fetch(sql, *row))
