"""One transaction on PostgreSQL: the handler's own rows, inbox and outbox, in as few round trips as can be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from brokers.contract import Publication
from stamp.errors import StoreUnavailable, TransactionHijacked
from stamp.ports import LedgerRow
from stamp.stores.common import Foreseen, Leases, SentBuffer, hijacked, nested, overtaken, swallowed
from stamp.stores.ledger import values_of, writable
from stamp.stores.postgres_errors import DRIVERS, ours_unavailable, unavailable
from stamp.stores.rows import OutboxRow, Unwritten
from stamp.stores.sql import Schema

# After postgres_errors, which says what to install when it is missing.
# isort: split
import asyncpg  # type: ignore[import-untyped]
from asyncpg.transaction import Transaction as DriverTransaction  # type: ignore[import-untyped]

from stamp.stores.postgres_connection import CAN_COME_FIRST, StoreConnection

_NO_TRANSACTION = (asyncpg.InvalidSavepointSpecificationError, asyncpg.NoActiveSQLTransactionError)


class PostgresTransaction:
    """See `stamp.ports.Transaction`, `Foresight`, `Bookkeeping`. A savepoint that touches nothing costs no round trip.

    Its rows wait for the commit, or for the end of the next savepoint that a handler writes in. The rows of a savepoint
    that a handler wrote in are in the database before the code after it runs, so that no handler's own COMMIT can
    tear a message from what follows it.
    """

    def __init__(
        self, name: str, connection: StoreConnection, schema: Schema, *, leases: Leases, sent: SentBuffer
    ) -> None:
        self._name = name
        self._connection = connection
        self._before_next = connection.before_next  # of the connection itself: a pool's proxy of it may be detached
        self._schema = schema
        self._leases = leases
        self._sent = sent
        self._driver: DriverTransaction = connection.transaction()
        self._foreseen = Foreseen()
        self._kept = Unwritten()
        self._block: Unwritten | None = None
        self._taken: list[str] = []
        self._taken_before = 0
        self._number: int | None = None
        self._savepoints = 0
        self._release = ""
        self._entered = False
        self._strict = not CAN_COME_FIRST
        self._ended = False

    @property
    def native(self) -> StoreConnection:
        """The `asyncpg.Connection`, inside the transaction."""
        # A statement that one handler prepared and the next one runs would come past `before_next`.
        self._strict = True
        return self._connection

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """See `stamp.ports.Transaction.savepoint`."""
        if self._block is not None:
            raise nested()
        self._check_open()
        block = self._block = Unwritten()
        try:
            await self._prepare()
            yield
            await self._keep(block)
        except BaseException as error:
            self._foreseen.undo(block.inbox)
            await self._undo(error)
            raise
        finally:
            self._before_next(None)
            self._block, self._entered = None, False

    async def foresee(self, consumer: str, message_ids: Sequence[str]) -> None:
        """See `stamp.ports.Foresight`."""
        self._check_open()
        question = self._connection.fetchrow(self._schema.known, list(message_ids), consumer)
        number, known = await self._ours(question)
        self._same(number)
        self._foreseen.add(consumer, message_ids, known=known)

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:
        """See `stamp.ports.Transaction.first_seen`."""
        self._check_open()
        row = (consumer, message_id, expires)
        first = self._foreseen.first(consumer, message_id)
        if first is None:
            number: int | None = await self._ours(self._connection.fetchval(self._schema.seen, *row))
            self._same(number)
            return number is not None
        if first:
            self._unwritten.inbox.append(row)
        return first

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        """See `stamp.ports.Transaction.emit`."""
        self._unwritten.outbox += self._leases.rows(publications, run)

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

    async def read_runs(self, runs: Sequence[str]) -> Mapping[str, bytes]:
        """See `stamp.ports.Bookkeeping`. Two round trips: locks first, then what is there once they are granted."""
        self._check_open()
        if not runs:
            return {}
        number, _ = await self._ours(self._connection.fetchrow(self._schema.books.lock, list(runs)))
        self._same(number)
        rows = await self._ours(self._connection.fetch(self._schema.books.read, list(runs)))
        return {row["run"]: row["record"] for row in rows}

    async def write_runs(self, rows: Sequence[LedgerRow]) -> None:
        """See `stamp.ports.Bookkeeping`. One round trip, however many rows."""
        self._check_open()
        if not rows:
            return
        columns = zip(*map(values_of, writable(rows)), strict=True)
        self._same(await self._ours(self._connection.fetchval(self._schema.books.write, *columns)))

    async def start(self) -> None:
        """BEGIN."""
        await self._ours(self._driver.start())

    async def commit(self) -> None:
        """What is not written yet, then COMMIT. Raises `TransactionHijacked` when that commits nothing, or else's."""
        try:
            self._check_open()
            await self._write(self._kept)
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

    @property
    def _unwritten(self) -> Unwritten:
        return self._kept if self._block is None else self._block

    async def _prepare(self) -> None:
        """Without foresight every savepoint is entered; with it, the first statement inside enters."""
        if self._strict or not self._foreseen:
            await self._enter()
        else:
            self._before_next(self._enter)

    async def _enter(self) -> None:
        # A name of its own: when this is cancelled half-way, ROLLBACK TO must not find the savepoint of a neighbour.
        earlier, self._savepoints = self._release, self._savepoints + 1
        self._release = f"RELEASE SAVEPOINT stamp_{self._savepoints};"
        self._taken_before = len(self._taken)
        self._entered = True
        await self._ours(self._connection.execute(f"{earlier} SAVEPOINT stamp_{self._savepoints}"))

    async def _keep(self, block: Unwritten) -> None:
        self._check_open()
        if not self._entered:
            self._kept.extend(block)
            return
        rows = self._kept + block
        if rows:
            await self._write(rows)
            self._kept = Unwritten()
        else:
            await self._ours(self._connection.execute(self._release))
            self._release = ""

    async def _undo(self, error: BaseException) -> None:
        ended = False
        if self._entered:
            self._sent.add(self._taken[self._taken_before :])
            del self._taken[self._taken_before :]
            try:
                await self._connection.execute(f"ROLLBACK TO SAVEPOINT stamp_{self._savepoints}")
            except _NO_TRANSACTION:
                ended = True
            except DRIVERS as lost:
                self._explain(lost, ended=False)
        self._explain(error, ended=ended)

    async def _write(self, rows: Unwritten) -> None:
        if not rows:
            return
        sent = self._sent.take()
        self._taken += sent
        inbox = zip(*rows.inbox, strict=True) if rows.inbox else ([], [], [])
        outbox = zip(*rows.outbox, strict=True) if rows.outbox else [[]] * len(OutboxRow._fields)
        written = self._connection.fetchrow(self._schema.finish, sent, *outbox, *inbox)
        number, recorded = await self._ours(written)
        self._same(number)
        if recorded < len(rows.inbox):
            raise overtaken(f"PostgreSQL {self._name}")

    async def _abandon(self) -> None:
        self._sent.add(self._taken)
        # Also after a hijack: ROLLBACK outside a transaction is only a warning, and asyncpg's books are in order again.
        with suppress(*DRIVERS):
            await self._driver.rollback()

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
