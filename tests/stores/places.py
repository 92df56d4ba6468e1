"""Empty databases for the conformance suite: one place class an adapter."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from stamp.ports import Store
from stamp.stores.conformance import PlaceFactory, UserRows
from stamp.stores.memory import MemoryDatabase, MemoryStore
from stamp.stores.postgres import PostgresStore
from stamp.stores.sqlalchemy import SQLAlchemyStore
from stamp.stores.sqlite import SQLiteStore
from tests.stores.rows import MemoryRows, PostgresRows, SQLAlchemyRows, SQLiteRows

BUSY = 0.6
PATIENCE = 5.0
DATABASE = "stamp_conformance"


class MemoryPlace:
    """Rows in this process."""

    def __init__(self) -> None:
        self.rows: UserRows = MemoryRows()
        self._database = MemoryDatabase()

    def store(self, *, now: Callable[[], float], lease: float) -> Store:
        return MemoryStore(database=self._database, now=now, lease=lease)

    async def go_away(self) -> None:
        self._database.away = True

    async def come_back(self) -> None:
        self._database.away = False

    async def open_transactions(self) -> int:
        return int(self._database.log.open)

    async def open_connections(self) -> int:
        return 0


class SQLitePlace:
    """One file in a temporary folder."""

    def __init__(self, path: Path) -> None:
        self.rows: UserRows = SQLiteRows()
        self.path = path
        self._lock = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)
        self._lock.execute("PRAGMA journal_mode = WAL")
        self._threads = set(threading.enumerate())

    def store(self, *, now: Callable[[], float], lease: float) -> Store:
        return SQLiteStore(f"sqlite:///{self.path}", now=now, lease=lease, busy_timeout=BUSY)

    async def go_away(self) -> None:
        self._lock.execute("BEGIN EXCLUSIVE")

    async def come_back(self) -> None:
        self._lock.execute("ROLLBACK")

    async def open_transactions(self) -> int:
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return 1
        self._lock.execute("ROLLBACK")
        return 0

    async def open_connections(self) -> int:
        return await settled(self._new_threads)

    async def close(self) -> None:
        self._lock.close()

    async def _new_threads(self) -> int:
        return len(set(threading.enumerate()) - self._threads)


class SQLAlchemySQLitePlace(SQLitePlace):
    """The same through an engine, which belongs to the place."""

    def __init__(self, path: Path, *, connections: bool) -> None:
        super().__init__(path)
        self.rows = SQLAlchemyRows("user_rows")
        self._by_connection = connections
        self._engines: list[AsyncEngine] = []

    def store(self, *, now: Callable[[], float], lease: float) -> Store:
        engine = create_async_engine(f"sqlite+aiosqlite:///{self.path}", connect_args={"timeout": BUSY})
        self._engines.append(engine)
        return SQLAlchemyStore(engine, session=engine.connect if self._by_connection else None, now=now, lease=lease)

    async def open_connections(self) -> int:
        await self.close_engines()
        return await super().open_connections()

    async def close(self) -> None:
        await self.close_engines()
        await super().close()

    async def close_engines(self) -> None:
        for engine in self._engines:
            await engine.dispose()


class PostgresPlace:
    """A schema of its own in a database of the suite."""

    def __init__(self, url: str, control: asyncpg.Connection) -> None:
        self.name = f"s{uuid4().hex[:12]}"
        self.url = f"{url.rpartition('/')[0]}/{DATABASE}"
        self.rows: UserRows = PostgresRows(f"user_{self.name}")
        self._control = control

    def store(self, *, now: Callable[[], float], lease: float) -> Store:
        return PostgresStore(self.url, schema=self.name, now=now, lease=lease)

    async def go_away(self) -> None:
        await self._control.execute(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false")
        await self._control.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", DATABASE
        )
        assert await settled(self._connections) == 0

    async def come_back(self) -> None:
        await self._control.execute(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true")

    async def open_transactions(self) -> int:
        return await settled(self._transactions)

    async def open_connections(self) -> int:
        return await settled(self._connections)

    async def close(self) -> None:
        """Whatever a failed scenario left open."""

    async def _transactions(self) -> int:
        return await self._control.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND xact_start IS NOT NULL"
            " AND backend_type = 'client backend'",
            DATABASE,
        )

    async def _connections(self) -> int:
        return await self._control.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'", DATABASE
        )


class SQLAlchemyPostgresPlace(PostgresPlace):
    """The same through an engine, which belongs to the place."""

    def __init__(self, url: str, control: asyncpg.Connection, *, connections: bool) -> None:
        super().__init__(url, control)
        self.rows = SQLAlchemyRows(f"user_{self.name}")
        self._by_connection = connections
        self._engines: list[AsyncEngine] = []

    def store(self, *, now: Callable[[], float], lease: float) -> Store:
        engine = create_async_engine(self.url.replace("postgresql://", "postgresql+asyncpg://"))
        self._engines.append(engine)
        session = engine.connect if self._by_connection else None
        return SQLAlchemyStore(engine, session=session, schema=self.name, now=now, lease=lease)

    async def open_connections(self) -> int:
        await self.close_engines()
        return await super().open_connections()

    async def close(self) -> None:
        await self.close_engines()
        await super().close()

    async def close_engines(self) -> None:
        for engine in self._engines:
            await engine.dispose()


@asynccontextmanager
async def memory_place() -> AsyncIterator[MemoryPlace]:
    """An empty database in memory."""
    yield MemoryPlace()


def sqlite_places(folder: Path, *, sqlalchemy: str = "") -> PlaceFactory:
    """Empty files in this folder; `sqlalchemy` is "", "session" or "connection"."""

    @asynccontextmanager
    async def place() -> AsyncIterator[SQLitePlace]:
        path = folder / f"{uuid4().hex}.db"
        made = SQLAlchemySQLitePlace(path, connections=sqlalchemy == "connection") if sqlalchemy else SQLitePlace(path)
        try:
            yield made
        finally:
            await made.close()

    return place


def postgres_places(url: str, *, sqlalchemy: str = "") -> PlaceFactory:
    """Empty schemas on this server; `sqlalchemy` is "", "session" or "connection"."""

    @asynccontextmanager
    async def place() -> AsyncIterator[PostgresPlace]:
        control = await asyncpg.connect(url)
        try:
            with suppress(asyncpg.DuplicateDatabaseError):
                await control.execute(f"CREATE DATABASE {DATABASE}")
            await control.execute(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true")
            if sqlalchemy:
                place = SQLAlchemyPostgresPlace(url, control, connections=sqlalchemy == "connection")
            else:
                place = PostgresPlace(url, control)
            try:
                yield place
            finally:
                await place.close()
        finally:
            await control.close()

    return place


async def settled(count: Callable[[], object]) -> int:
    """The count, once it is 0 or patience has ended: closing takes a server and a thread a moment."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found: int = await count()  # type: ignore[misc]
        if found == 0 or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.005)
