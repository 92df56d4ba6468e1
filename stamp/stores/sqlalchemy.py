"""The store of a service that uses SQLAlchemy's asyncio sessions, on SQLite or PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any

from brokers.contract import Publication
from stamp.errors import BadConfiguration, StoreUnavailable, TransactionHijacked
from stamp.stores import migrate
from stamp.stores.common import Leases, SentBuffer, Turn, hijacked, in_steps, nested, not_open, swallowed
from stamp.stores.rows import OutboxRow, publications_in_order
from stamp.stores.sql import ADVISORY_CLAIM, ADVISORY_MIGRATE, Schema, forgetting, postgres_schema, sqlite_schema
from stamp.stores.sqlalchemy_errors import ended, failed_before, ours_unavailable, unavailable

# After sqlalchemy_errors, which says what to install when it is missing.
# isort: split
import aiosqlite
from sqlalchemy import event
from sqlalchemy.engine import RootTransaction
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    AsyncSessionTransaction,
    AsyncTransaction,
    create_async_engine,
)
from sqlalchemy.orm import SessionTransaction

Native = AsyncSession | AsyncConnection
SessionFactory = Callable[[], AsyncSession] | Callable[[], AsyncConnection]


class SQLAlchemyStore:
    """Inbox and outbox through the user's own engine, written on the connection of the handler's session.

    `native` is what `session()` gives: an `AsyncSession` (`session=async_sessionmaker(engine)`; the default is a
    session with `expire_on_commit=False`) or an `AsyncConnection` (`session=engine.connect`). Tables are named with
    `prefix` on SQLite and lie in `schema` on PostgreSQL. With a URL the engine is the store's own, and SQLite runs in
    WAL with `synchronous=FULL`; an engine that is passed in keeps its owner's settings and is not disposed of. On
    SQLite transactions of one store object take turns. Rows that `emit` writes are leased for `lease` seconds.
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
    ) -> None:
        self._owned = isinstance(engine, str)
        self._engine = _engine(engine) if isinstance(engine, str) else engine
        self.name = self._engine.url.render_as_string()
        self.schema: Schema = _schema(self._engine.dialect.name, prefix=prefix, schema=schema)
        self._session: SessionFactory = session or self._default_session
        self._leases = Leases(seconds=lease, now=now)
        self._sent = SentBuffer()
        self._turn = Turn()
        self._open = False

    async def open(self) -> None:
        """Connect, create the tables when they are missing. Raises `StoreUnavailable`."""
        if self._open:
            return
        self._turn = Turn()
        self._open = True
        try:
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
                connection = await _connection_of(native)
                driver = await _start(connection, self.schema)
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
        """Delete up to `limit` expired inbox rows, a few at a time, so that hops come in between."""

        async def some(count: int) -> int:
            async with self._own() as connection:
                return len((await connection.exec_driver_sql(self.schema.prune, (now, count))).all())

        async def some_joins(count: int) -> int:
            async with self._own() as connection:
                return len((await connection.exec_driver_sql(self.schema.prune_joins, (now, count))).all())

        return await in_steps(some, limit) + await in_steps(some_joins, limit)

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

    @asynccontextmanager
    async def _own(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of the toolkit alone, which starts with the deletes that `sent` buffered."""
        async with self._alone():
            with self._sent.taken() as sent, self._ours():
                async with self._engine.connect() as connection, connection.begin():
                    await _start(connection, self.schema)
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


class SQLAlchemyTransaction:
    """See `stamp.ports.Transaction`. Outbox rows are written when the savepoint or the transaction ends."""

    def __init__(
        self, name: str, native: Native, connection: AsyncConnection, driver: Any, *, schema: Schema, leases: Leases
    ) -> None:
        self._name = name
        self._native = native
        self._connection = connection
        self._schema = schema
        self._leases = leases
        self._driver = driver
        self._begun: Any = _current(native)
        self._rows: list[OutboxRow] = []
        self._inside = False
        self._ended = False

    @property
    def native(self) -> Native:
        """The user's `AsyncSession` or `AsyncConnection`, inside the transaction."""
        return self._native

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """See `stamp.ports.Transaction.savepoint`."""
        if self._inside:
            raise nested()
        self._check_open()
        await self._write()  # now, so that rows of the savepoint come after those before it
        self._inside = True
        with self._ours():
            inner = await self._native.begin_nested()
            await _connection_of(self._native)  # a session sends SAVEPOINT only when it next needs its connection
        try:
            yield
            await self._write()
            with self._ours():
                await inner.commit()
        except BaseException as error:
            await self._undo(inner, error)
            raise
        finally:
            self._rows, self._inside = [], False

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:
        """See `stamp.ports.Transaction.first_seen`."""
        self._check_open()
        with self._ours():
            found = await self._connection.exec_driver_sql(self._schema.seen, (consumer, message_id, expires))
            return bool(found.all())

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        """See `stamp.ports.Transaction.emit`."""
        self._rows += self._leases.rows(publications, run)

    async def gather(self, join: str) -> Mapping[str, bytes]:
        """See `stamp.ports.Transaction.gather`."""
        self._check_open()
        with self._ours():
            if self._schema.dialect == "postgres":
                await self._connection.exec_driver_sql(self._schema.lock_join, (join,))
            found = await self._connection.exec_driver_sql(self._schema.gather, (join,))
            return {row[0]: bytes(row[1]) for row in found.all()}

    async def put_arrivals(self, join: str, rows: Mapping[str, bytes], *, expires: float | None) -> None:
        """See `stamp.ports.Transaction.put_arrivals`."""
        self._check_open()
        values = [(join, name, record, expires) for name, record in rows.items()]
        with self._ours():
            if values:
                await self._connection.exec_driver_sql(self._schema.arrive, values)

    async def commit(self, sent: Sequence[str]) -> None:
        """What the session still has to flush, outbox rows, the delete of `sent`, COMMIT."""
        try:
            await self._write()
            with self._ours():
                for sql, parameters in forgetting(self._schema, sent):
                    await self._connection.exec_driver_sql(sql, tuple(parameters))
                if self._schema.dialect == "postgres":
                    # COMMIT after a failed statement is answered with ROLLBACK, which no layer above reports.
                    await self._connection.exec_driver_sql("SELECT 1")
                await self._native.commit()
        except BaseException:
            await self._abandon()
            raise

    async def roll_back(self, error: BaseException) -> None:
        """Undo everything; raises when `error` hides that the store is gone or that a handler ended the transaction."""
        ended = self._has_ended()
        await self._abandon()
        self._explain(error, ended=ended)

    async def _abandon(self) -> None:
        with suppress(SQLAlchemyError, OSError):
            await self._native.rollback()

    async def _undo(self, inner: AsyncSessionTransaction | AsyncTransaction, error: BaseException) -> None:
        ended = self._has_ended()
        if not ended:
            try:
                await inner.rollback()
            except SQLAlchemyError as lost:
                self._explain(lost, ended=True)
        self._explain(error, ended=ended)

    def _explain(self, error: BaseException, *, ended: bool) -> None:
        """Raise what `error` of the block really was; return when it was the user's own."""
        if isinstance(error, StoreUnavailable | TransactionHijacked) or not isinstance(error, Exception):
            return
        if found := unavailable(error, self._name):
            raise found from error
        if self._driver_is(closed=True):
            raise self._lost() from error
        if ended:
            self._ended = True
            raise hijacked() from error

    async def _write(self) -> None:
        """The session's own pending rows, then the outbox rows."""
        self._check_open()
        if isinstance(self._native, AsyncSession):
            await self._native.flush()
        if self._rows:
            with self._ours():
                await self._connection.exec_driver_sql(self._schema.emit, [tuple(row) for row in self._rows])
            self._rows = []

    def _check_open(self) -> None:
        if self._driver_is(closed=True):
            raise self._lost()
        if self._ended or self._has_ended():
            self._ended = True
            raise hijacked()
        if not self._begun.is_active:
            raise swallowed()

    def _has_ended(self) -> bool:
        # A session whose flush failed has rolled back by itself and keeps its transaction object: that is no hijack.
        same = self._begun is _current(self._native)
        if not same:
            return True
        return self._begun.is_active and not self._driver_is(closed=False)

    def _driver_is(self, *, closed: bool) -> bool:
        """Ask the driver itself: closed, or (`closed=False`) inside a transaction."""
        driver = self._driver
        if isinstance(driver, aiosqlite.Connection):
            return not closed and driver.in_transaction
        return bool(driver.is_closed() if closed else driver.is_in_transaction())

    def _lost(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._name}: connection lost", fix="check that the server runs")

    @contextmanager
    def _ours(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if failed_before(error):
                raise swallowed() from error
            if ended(error):
                self._ended = True
                raise hijacked() from error
            if found := ours_unavailable(error, self._name):
                raise found from error
            raise


def _current(native: Native) -> SessionTransaction | RootTransaction | None:
    if isinstance(native, AsyncSession):
        return native.sync_session.get_transaction()
    return native.sync_connection.get_transaction() if native.sync_connection else None


async def _connection_of(native: Native) -> AsyncConnection:
    return await native.connection() if isinstance(native, AsyncSession) else native


async def _start(connection: AsyncConnection, schema: Schema) -> Any:
    """The driver's connection, in a transaction that really has begun.

    By itself SQLAlchemy begins it with the first statement, and Python's sqlite3 with the first that writes. Only
    what has begun can be missed when a handler ends it.
    """
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if schema.dialect == "postgres":
        await connection.exec_driver_sql("SELECT 1")
    elif not driver.in_transaction:
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    return driver


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
