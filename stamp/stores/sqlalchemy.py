"""The store of a service that uses SQLAlchemy's asyncio sessions, on SQLite or PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

from brokers.contract import Publication
from stamp.errors import BadConfiguration, StoreUnavailable
from stamp.stores import migrate
from stamp.stores.books import SQLBooks
from stamp.stores.common import Leases, SentBuffer, Turn, in_steps, not_open
from stamp.stores.rows import publications_in_order
from stamp.stores.sql import (
    ADVISORY_CLAIM,
    ADVISORY_MIGRATE,
    Schema,
    Statement,
    forgetting,
    postgres_schema,
    sqlite_schema,
)
from stamp.stores.sqlalchemy_errors import ours_unavailable
from stamp.stores.sqlalchemy_transaction import SQLAlchemyTransaction, connection_of, started

# After sqlalchemy_errors, which says what to install when it is missing.
# isort: split
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)

SessionFactory = Callable[[], AsyncSession] | Callable[[], AsyncConnection]


class SQLAlchemyStore(SQLBooks):
    """Inbox, outbox and ledger through the user's own engine, written on the connection of the handler's session.

    `native` is what `session()` gives: an `AsyncSession` (`session=async_sessionmaker(engine)`; the default is a
    session with `expire_on_commit=False`) or an `AsyncConnection` (`session=engine.connect`). Tables are named with
    `prefix` on SQLite and lie in `schema` on PostgreSQL. With a URL the engine is the store's own, and SQLite runs in
    WAL with `synchronous=FULL`; an engine that is passed in keeps its owner's settings and is not disposed of. On
    SQLite transactions of one store object take turns. Rows that `emit` writes are leased for `lease` seconds.
    `upgrade=False` leaves the tables as they are.
    """

    def __init__(
        self,
        engine: AsyncEngine | str,
        *,
        session: SessionFactory | None = None,
        prefix: str = "stamp_",
        schema: str = "stamp",
        lease: float = 10.0,
        now: Callable[[], float] = time.time,
        upgrade: bool = True,
    ) -> None:
        self._owned = isinstance(engine, str)
        self._engine = _engine(engine) if isinstance(engine, str) else engine
        self.name = self._engine.url.render_as_string()
        self.schema: Schema = _schema(self._engine.dialect.name, prefix=prefix, schema=schema)
        self._session: SessionFactory = session or self._default_session
        self._leases = Leases(seconds=lease, now=now)
        self._sent = SentBuffer()
        self._upgrade = upgrade
        self._turn = Turn()
        self._open = False

    async def open(self) -> None:
        """Connect, create the tables when they are missing. Raises `StoreUnavailable`."""
        if self._open:
            return
        self._turn = Turn()
        self._open = True
        try:
            if self._upgrade:
                await migrate.upgrade(self)
        except BaseException:
            self._open = False
            await self._dispose()
            raise

    async def close(self) -> None:
        """Delete what `sent` buffered (as far as the database lets us: the rest is only sent again)."""
        if not self._open:
            return
        with suppress(StoreUnavailable):
            await self.flush()
        self._open = False
        await self._dispose()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SQLAlchemyTransaction]:
        """A transaction in a session of its own. See `stamp.ports.Store.begin`."""
        async with self._alone(), self._session() as native:
            with self._ours():
                await native.begin()
                connection = await connection_of(native)
                driver = await started(connection, self.schema)
            transaction = SQLAlchemyTransaction(
                self.name, native, connection, driver, schema=self.schema, leases=self._leases
            )
            try:
                yield transaction
            except BaseException as error:
                await transaction.roll_back(error)
                raise
            with self._sent.taken() as sent:
                await transaction.commit(sent)

    async def sent(self, message_ids: Sequence[str]) -> None:
        """Buffered: the rows go with the next commit, `flush` or `close`."""
        self._sent.add(message_ids)

    async def unsent(self, message_ids: Sequence[str]) -> None:
        """End this store's lease on these rows."""
        async with self._own() as connection:
            await connection.exec_driver_sql(self.schema.unlease, (self.schema.array(message_ids), self._leases.holder))

    async def revive(self, runs: Sequence[str]) -> None:
        """End the leases of other processes on these runs' rows."""
        async with self._own() as connection:
            await connection.exec_driver_sql(self.schema.revive, (self.schema.array(runs), self._leases.holder))

    async def flush(self) -> None:
        """Delete the rows that `sent` buffered."""
        if self._sent:
            async with self._own():
                pass  # its first statement deletes them

    async def claim(self, limit: int, *, lease: float) -> Sequence[Publication]:
        """Lease up to `limit` rows that nobody holds, oldest first; none overtakes a held row of its run."""
        now = self._leases.now()
        async with self._own() as connection:
            if self.schema.dialect == "postgres":
                await connection.exec_driver_sql(ADVISORY_CLAIM)
            parameters = (now, limit, now + lease, self._leases.holder)
            rows = (await connection.exec_driver_sql(self.schema.claim, parameters)).all()
        return publications_in_order([tuple(row) for row in rows])

    async def backlog(self) -> int:
        """Outbox rows that are not yet forgotten."""
        async with self._own() as connection:
            count: int = (await connection.exec_driver_sql(self.schema.backlog)).scalar_one()
            return count

    async def prune(self, now: float, *, limit: int = 1000) -> int:
        """Delete up to `limit` expired rows of each table, a few at a time, so that hops come in between."""

        async def some(count: int, *, sql: str) -> int:
            async with self._own() as connection:
                return len((await connection.exec_driver_sql(sql, (now, count))).all())

        statements = (self.schema.prune, self.schema.prune_joins, self.schema.books.prune)
        return sum([await in_steps(partial(some, sql=sql), limit) for sql in statements])

    @asynccontextmanager
    async def altering(self) -> AsyncIterator[migrate.Execute]:
        """One transaction for migrations; other processes' migrations wait."""
        async with self._own() as connection:
            if self.schema.dialect == "postgres":
                await connection.exec_driver_sql(ADVISORY_MIGRATE)

            async def execute(sql: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
                result = await connection.exec_driver_sql(sql, tuple(parameters))
                return [tuple(row) for row in result.all()] if result.returns_rows else []

            yield execute

    def _default_session(self) -> AsyncSession:
        return AsyncSession(self._engine, expire_on_commit=False)

    async def _fetch(self, statement: Statement) -> Sequence[Sequence[Any]]:
        # Not by `_own`, which takes SQLite's write lock: nobody's hop waits for somebody who reads.
        sql, parameters = statement
        async with self._alone():
            with self._ours():
                async with self._engine.connect() as connection:
                    found = await connection.exec_driver_sql(sql, tuple(parameters))
                    return [tuple(row) for row in found.all()]

    @asynccontextmanager
    async def _own(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of the toolkit alone, which starts with the deletes that `sent` buffered."""
        async with self._alone():
            with self._sent.taken() as sent, self._ours():
                async with self._engine.connect() as connection, connection.begin():
                    await started(connection, self.schema)
                    for sql, parameters in forgetting(self.schema, sent):
                        await connection.exec_driver_sql(sql, tuple(parameters))
                    yield connection

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        if not self._open:
            raise not_open(self)
        async with self._turn.taken() if self.schema.dialect == "sqlite" else nullcontext():
            yield

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """The toolkit's own statements: errors of theirs make the store unavailable."""
        try:
            yield
        except Exception as error:
            if found := ours_unavailable(error, self.name):
                raise found from error
            raise

    async def _dispose(self) -> None:
        if self._owned:
            await self._engine.dispose()


def _schema(dialect: str, *, prefix: str, schema: str) -> Schema:
    if dialect == "sqlite":
        return sqlite_schema(prefix)
    if dialect == "postgresql":
        return postgres_schema(schema)
    fix = "use an engine on sqlite+aiosqlite or postgresql+asyncpg"
    raise BadConfiguration(f"the SQLAlchemy store can't use the dialect {dialect!r}", fix=fix)


def _engine(url: str) -> AsyncEngine:
    try:
        engine = create_async_engine(url)
    except (SQLAlchemyError, ImportError) as error:
        fix = "write sqlite+aiosqlite:///file.db or postgresql+asyncpg://user@host/database"
        raise BadConfiguration(f"SQLAlchemy can't use this URL: {error}", fix=fix) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
