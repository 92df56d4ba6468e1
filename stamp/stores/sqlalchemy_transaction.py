"""One transaction of the SQLAlchemy store, in the user's own session or connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from brokers.contract import Publication
from stamp.errors import StoreUnavailable, TransactionHijacked
from stamp.ports import LedgerRow
from stamp.stores.common import Leases, hijacked, nested, swallowed
from stamp.stores.ledger import values_of, writable
from stamp.stores.rows import OutboxRow
from stamp.stores.sql import Schema, forgetting
from stamp.stores.sqlalchemy_errors import ended, failed_before, ours_unavailable, unavailable

# After sqlalchemy_errors, which says what to install when it is missing.
# isort: split
import aiosqlite
from sqlalchemy.engine import RootTransaction
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, AsyncSessionTransaction, AsyncTransaction
from sqlalchemy.orm import SessionTransaction

Native = AsyncSession | AsyncConnection


class SQLAlchemyTransaction:
    """See `stamp.ports.Transaction` and `Bookkeeping`. Outbox rows are written when the block ends."""

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
            await connection_of(self._native)  # a session sends SAVEPOINT only when it next needs its connection
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
            return {name: bytes(record) for name, record in map(tuple, found.all())}

    async def put_arrivals(self, join: str, rows: Mapping[str, bytes], *, expires: float | None) -> None:
        """See `stamp.ports.Transaction.put_arrivals`."""
        self._check_open()
        values = [(join, name, record, expires) for name, record in rows.items()]
        with self._ours():
            if values:
                await self._connection.exec_driver_sql(self._schema.arrive, values)

    async def read_runs(self, runs: Sequence[str]) -> Mapping[str, bytes]:
        """See `stamp.ports.Bookkeeping`."""
        self._check_open()
        parameters = (self._schema.array(runs),)
        with self._ours():
            if self._schema.dialect == "postgres":
                (await self._connection.exec_driver_sql(self._schema.books.lock, parameters)).all()
            found = await self._connection.exec_driver_sql(self._schema.books.read, parameters)
            return {run: bytes(record) for run, record in map(tuple, found.all())}

    async def write_runs(self, rows: Sequence[LedgerRow]) -> None:
        """See `stamp.ports.Bookkeeping`."""
        self._check_open()
        values: list[tuple[Any, ...]] = [values_of(row) for row in writable(rows)]
        if not values:
            return
        with self._ours():
            if self._schema.dialect == "postgres":
                await self._connection.exec_driver_sql(self._schema.books.write, tuple(zip(*values, strict=True)))
            else:
                await self._connection.exec_driver_sql(self._schema.books.write, values)

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


async def connection_of(native: Native) -> AsyncConnection:
    return await native.connection() if isinstance(native, AsyncSession) else native


async def started(connection: AsyncConnection, schema: Schema) -> Any:
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
