"""The store of a service whose local database is PostgreSQL, through an asyncpg pool."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, cast

from brokers.contract import Publication
from stamp.errors import BadConfiguration, StoreUnavailable
from stamp.stores import migrate
from stamp.stores.books import SQLBooks
from stamp.stores.common import Leases, SentBuffer, not_open
from stamp.stores.postgres_errors import DRIVERS, ours_unavailable, without_password
from stamp.stores.rows import publications_in_order
from stamp.stores.sql import ADVISORY_CLAIM, ADVISORY_MIGRATE, Schema, Statement, postgres_schema

# After postgres_errors, which says what to install when it is missing.
# isort: split
import asyncpg  # type: ignore[import-untyped]

from stamp.stores.postgres_connection import StoreConnection
from stamp.stores.postgres_transaction import PostgresTransaction


class PostgresStore(SQLBooks):
    """Inbox, outbox and ledger in the user's own PostgreSQL database, in `schema`; processes may share it.

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
        """Delete up to `limit` expired rows of each table; rows that somebody has locked are left for later."""
        async with self._connection() as connection:
            with self._ours():
                statements = (self.schema.prune, self.schema.prune_joins, self.schema.books.prune)
                return sum([len(await connection.fetch(sql, now, limit)) for sql in statements])

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

    async def _fetch(self, statement: Statement) -> Sequence[Sequence[Any]]:
        sql, parameters = statement
        async with self._connection() as connection:
            with self._ours():
                return [tuple(row) for row in await connection.fetch(sql, *parameters)]

    async def _forget(self, connection: StoreConnection) -> None:
        if not self._sent:
            return
        with self._sent.taken() as sent, self._ours():
            await connection.fetch(self.schema.forget, sent)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[StoreConnection]:
        if self._pool is None:
            raise not_open(self)
        pool = self._pool
        with self._ours():
            connection = cast("StoreConnection", await pool.acquire())
        try:
            yield connection
        finally:
            with suppress(*DRIVERS):
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
