"""The store of a service whose local database is PostgreSQL, through an asyncpg pool."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, cast

from brokers.contract import Publication
from stamp.errors import BadConfiguration, StoreUnavailable, TransactionHijacked
from stamp.stores import migrate
from stamp.stores.common import Leases, SentBuffer, hijacked, nested, not_open, swallowed
from stamp.stores.postgres_errors import ours_unavailable, unavailable, without_password
from stamp.stores.rows import OutboxRow, publications_in_order
from stamp.stores.sql import ADVISORY_CLAIM, ADVISORY_MIGRATE, Schema, postgres_schema

# After postgres_errors, which says what to install when it is missing.
# isort: split
import asyncpg  # type: ignore[import-untyped]
from asyncpg.transaction import Transaction as DriverTransaction  # type: ignore[import-untyped]


class StoreConnection(asyncpg.Connection):  # type: ignore[misc]
    """An asyncpg connection that knows what its last command was answered with.

    PostgreSQL answers COMMIT with `ROLLBACK` when a statement had failed, and asyncpg drops the answer.
    """

    answer: str = ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As asyncpg's, and keeps the answer."""
        self.answer = await super().execute(query, *args, timeout=timeout)
        return self.answer

    def get_reset_query(self) -> str:
        """Nothing: a round trip for every hop. Session state is the handler's own (`SET LOCAL`, not `SET`)."""
        return ""


Connection = StoreConnection

_DRIVERS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError)
"""What the driver raises; the last when the server's last words came while nobody asked it anything."""

_NO_TRANSACTION = (asyncpg.InvalidSavepointSpecificationError, asyncpg.NoActiveSQLTransactionError)


class PostgresStore:
    """Inbox and outbox in the user's own PostgreSQL database, in `schema`; any number of processes may share it.

    `native` is an `asyncpg.Connection` inside its transaction, up to `connections` of them at once. Rows that `emit`
    writes are leased for `lease` seconds by the clock `now` (epoch seconds; keep servers' clocks in step).
    `upgrade=False` leaves the tables as they are.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "stamp",
        connections: int = 10,
        lease: float = 10.0,
        now: Callable[[], float] = time.time,
        connect_timeout: float = 10.0,
        upgrade: bool = True,
    ) -> None:
        if url.partition(":")[0] not in {"postgres", "postgresql"}:
            fix = "write postgresql://user:password@host:5432/database"
            raise BadConfiguration(f"not a URL of a PostgreSQL database: {without_password(url)!r}", fix=fix)
        self.schema: Schema = postgres_schema(schema)
        self.name = without_password(url)
        self._url = url
        self._connections = connections
        self._connect_timeout = connect_timeout
        self._leases = Leases(seconds=lease, now=now)
        self._sent = SentBuffer()
        self._upgrade = upgrade
        self._pool: Any = None

    async def open(self) -> None:
        """Connect, create schema and tables when they are missing. Raises `StoreUnavailable`."""
        if self._pool is not None:
            return
        with self._ours():
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=self._connections,
                timeout=self._connect_timeout,
                connection_class=StoreConnection,
            )
        try:
            if self._upgrade:
                await migrate.upgrade(self)
        except BaseException:
            await self._disconnect()
            raise

    async def close(self) -> None:
        """Delete what `sent` buffered (as far as the server lets us: the rest is only sent again) and disconnect."""
        if self._pool is None:
            return
        with suppress(StoreUnavailable):
            await self.flush()
        await self._disconnect()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[PostgresTransaction]:
        """A transaction on a connection of its own. See `stamp.ports.Store.begin`."""
        async with self._connection() as connection:
            transaction = PostgresTransaction(self.name, connection, self.schema, leases=self._leases, sent=self._sent)
            await transaction.start()
            try:
                yield transaction
            except BaseException as error:
                await transaction.roll_back(error)
                raise
            await transaction.commit()

    async def sent(self, message_ids: Sequence[str]) -> None:
        """Buffered: the rows go with the next transaction that writes to the outbox, with `flush` or `close`."""
        self._sent.add(message_ids)

    async def unsent(self, message_ids: Sequence[str]) -> None:
        """End this store's lease on these rows."""
        async with self._connection() as connection:
            with self._ours():
                await connection.fetch(self.schema.unlease, list(message_ids), self._leases.holder)

    async def revive(self, runs: Sequence[str]) -> None:
        """End the leases of other processes on these runs' rows."""
        async with self._connection() as connection:
            with self._ours():
                await connection.fetch(self.schema.revive, list(runs), self._leases.holder)

    async def flush(self) -> None:
        """Delete the rows that `sent` buffered."""
        if self._sent:
            async with self._connection() as connection:
                await self._forget(connection)

    async def claim(self, limit: int, *, lease: float) -> Sequence[Publication]:
        """Lease up to `limit` rows that nobody holds, oldest first; none overtakes a held row of its run."""
        now = self._leases.now()
        async with self._connection() as connection:
            await self._forget(connection)
            with self._ours():
                async with connection.transaction():
                    await connection.execute(ADVISORY_CLAIM)
                    rows = await connection.fetch(self.schema.claim, now, limit, now + lease, self._leases.holder)
        return publications_in_order([tuple(row) for row in rows])

    async def backlog(self) -> int:
        """Outbox rows that are not yet forgotten."""
        async with self._connection() as connection:
            await self._forget(connection)
            with self._ours():
                return cast("int", await connection.fetchval(self.schema.backlog))

    async def prune(self, now: float, *, limit: int = 1000) -> int:
        """Delete up to `limit` expired inbox rows; rows that somebody has locked are left for later."""
        async with self._connection() as connection:
            with self._ours():
                gone = await connection.fetch(self.schema.prune, now, limit)
                return len(gone) + len(await connection.fetch(self.schema.prune_joins, now, limit))

    @asynccontextmanager
    async def altering(self) -> AsyncIterator[migrate.Execute]:
        """One transaction for migrations; other processes' migrations wait."""
        async with self._connection() as connection:
            with self._ours():
                async with connection.transaction():
                    await connection.execute(ADVISORY_MIGRATE)

                    async def execute(sql: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
                        return [tuple(row) for row in await connection.fetch(sql, *parameters)]

                    yield execute

    async def _forget(self, connection: Connection) -> None:
        if not self._sent:
            return
        with self._sent.taken() as sent, self._ours():
            await connection.fetch(self.schema.forget, sent)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        if self._pool is None:
            raise not_open(self)
        pool = self._pool
        with self._ours():
            connection = cast("Connection", await pool.acquire())
        try:
            yield connection
        finally:
            with suppress(*_DRIVERS):
                await pool.release(connection)

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """The toolkit's own statements: errors of theirs make the store unavailable."""
        try:
            yield
        except Exception as error:
            if found := ours_unavailable(error, self.name):
                raise found from error
            raise

    async def _disconnect(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()


class PostgresTransaction:
    """See `stamp.ports.Transaction`. Outbox rows are written when the savepoint or the transaction ends."""

    def __init__(self, name: str, connection: Connection, schema: Schema, *, leases: Leases, sent: SentBuffer) -> None:
        self._name = name
        self._connection = connection
        self._schema = schema
        self._leases = leases
        self._sent = sent
        self._driver: DriverTransaction = connection.transaction()
        self._rows: list[OutboxRow] = []
        self._taken: list[str] = []
        self._number: int | None = None
        self._inside = False
        self._ended = False

    @property
    def native(self) -> Connection:
        """The `asyncpg.Connection`, inside the transaction."""
        return self._connection

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """See `stamp.ports.Transaction.savepoint`."""
        if self._inside:
            raise nested()
        self._check_open()
        await self._write()  # now, so that rows of the savepoint come after those before it
        self._inside = True
        taken = len(self._taken)
        inner = self._connection.transaction()
        await self._ours(inner.start())
        try:
            yield
            await self._write()
            await self._ours(inner.commit())
        except BaseException as error:
            self._sent.add(self._taken[taken:])
            del self._taken[taken:]
            await self._undo(inner, error)
            raise
        finally:
            self._rows, self._inside = [], False

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:
        """See `stamp.ports.Transaction.first_seen`."""
        self._check_open()
        fetched = self._connection.fetchval(self._schema.seen, consumer, message_id, expires)
        number: int | None = await self._ours(fetched)
        self._same(number)
        return number is not None

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        """See `stamp.ports.Transaction.emit`."""
        self._rows += self._leases.rows(publications, run)

    async def gather(self, join: str) -> Mapping[str, bytes]:
        """See `stamp.ports.Transaction.gather`."""
        self._check_open()
        await self._ours(self._connection.execute(self._schema.lock_join, join))
        rows = await self._ours(self._connection.fetch(self._schema.gather, join))
        return {row["name"]: row["record"] for row in rows}

    async def put_arrivals(self, join: str, rows: Mapping[str, bytes], *, expires: float | None) -> None:
        """See `stamp.ports.Transaction.put_arrivals`."""
        self._check_open()
        values = [(join, name, record, expires) for name, record in rows.items()]
        await self._ours(self._connection.executemany(self._schema.arrive, values))

    async def start(self) -> None:
        """BEGIN."""
        await self._ours(self._driver.start())

    async def commit(self) -> None:
        """Outbox rows, then COMMIT. Raises `TransactionHijacked` when that commits nothing or something else."""
        try:
            await self._write()
            await self._ours(self._driver.commit())
        except BaseException:
            await self._abandon()
            raise
        if self._connection.answer == "ROLLBACK":
            self._sent.add(self._taken)
            raise swallowed()

    async def roll_back(self, error: BaseException) -> None:
        """Undo everything; raises when `error` hides that the store is gone or that a handler ended the transaction."""
        ended = not self._in_transaction()
        await self._abandon()
        self._explain(error, ended=ended)

    async def _abandon(self) -> None:
        self._sent.add(self._taken)
        # Also after a hijack: ROLLBACK outside a transaction is only a warning, and asyncpg's books are in order again.
        with suppress(*_DRIVERS):
            await self._driver.rollback()

    async def _undo(self, inner: DriverTransaction, error: BaseException) -> None:
        ended = False
        try:
            await inner.rollback()
        except _NO_TRANSACTION:
            ended = True
        except _DRIVERS as lost:
            self._explain(lost, ended=False)
        self._explain(error, ended=ended)

    def _explain(self, error: BaseException, *, ended: bool) -> None:
        """Raise what `error` of the block really was; return when it was the user's own."""
        if isinstance(error, StoreUnavailable | TransactionHijacked) or not isinstance(error, Exception):
            return
        if self._lost():
            raise self._unavailable() from error
        if found := unavailable(error, self._name):
            raise found from error
        if ended:
            self._ended = True
            raise hijacked() from error

    async def _write(self) -> None:
        self._check_open()
        if not self._rows:
            return
        sent = self._sent.take()
        self._taken += sent
        columns = zip(*self._rows, strict=True)
        self._rows = []
        self._same(await self._ours(self._connection.fetchval(self._schema.finish, sent, *columns)))

    def _check_open(self) -> None:
        if self._lost():
            raise self._unavailable()
        if self._ended or not self._in_transaction():
            self._ended = True
            raise hijacked()

    def _lost(self) -> bool:
        # A pool takes a connection that broke out of the hands of whoever holds it, and any call to it then raises.
        try:
            return bool(self._connection.is_closed())
        except asyncpg.InterfaceError:
            return True

    def _in_transaction(self) -> bool:
        return not self._lost() and bool(self._connection.is_in_transaction())

    def _unavailable(self) -> StoreUnavailable:
        return StoreUnavailable(f"PostgreSQL {self._name}: connection lost", fix="check that the server runs")

    def _same(self, number: int | None) -> None:
        """Found out by its number: a handler that committed and began another transaction."""
        self._number = self._number or number
        if number not in {None, self._number}:
            self._ended = True
            raise hijacked()

    async def _ours(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except _NO_TRANSACTION as error:
            self._ended = True
            raise hijacked() from error
        except asyncpg.InFailedSQLTransactionError as error:
            raise swallowed() from error
        except Exception as error:
            if found := ours_unavailable(error, self._name):
                raise found from error
            raise
