"""The store of a service whose local database is one SQLite file. The embedded default."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from brokers.contract import Publication
from stamp.errors import StoreUnavailable, TransactionHijacked
from stamp.ports import LedgerRow
from stamp.stores import migrate, sqlite_work
from stamp.stores.books import SQLBooks
from stamp.stores.common import Foreseen, Leases, SentBuffer, Turn, hijacked, in_steps, nested, not_open
from stamp.stores.ledger import values_of, writable
from stamp.stores.link import Link
from stamp.stores.rows import Unwritten, publications_in_order
from stamp.stores.sql import Schema, Statement, forgetting, sqlite_schema
from stamp.stores.sqlite_file import SQLiteFile

T = TypeVar("T")


class SQLiteStore(SQLBooks):
    """Inbox, outbox and ledger in the user's own SQLite file; several tasks and several processes may share it.

    `sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite://` for a private database in memory. WAL,
    `synchronous=FULL`: what is committed survives a power cut. `native` is an `aiosqlite.Connection` inside
    `BEGIN IMMEDIATE`; transactions of one store object take turns. A statement waits `busy_timeout` seconds for
    another process, then the store is `StoreUnavailable`. Rows that `emit` writes are leased for `lease` seconds.
    `upgrade=False` leaves the tables as they are.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "stamp_",
        lease: float = 10.0,
        now: Callable[[], float] = time.time,
        busy_timeout: float = 5.0,
        upgrade: bool = True,
    ) -> None:
        self.schema: Schema = sqlite_schema(prefix)
        self._file = SQLiteFile(url, busy_timeout=busy_timeout)
        self._leases = Leases(seconds=lease, now=now)
        self._sent = SentBuffer()
        self._upgrade = upgrade
        self._turn = Turn()
        self._open = False

    async def open(self) -> None:
        """Connect, create the file and the tables when they are missing. Raises `StoreUnavailable`."""
        if self._open:
            return
        self._turn = Turn()
        try:
            await self._file.open()
            self._open = True
            if self._upgrade:
                await migrate.upgrade(self)
        except BaseException:
            self._open = False
            await self._file.close()
            raise

    async def close(self) -> None:
        """Delete what `sent` buffered (as far as the database lets us: the rest is only sent again) and disconnect."""
        if not self._open:
            return
        with suppress(StoreUnavailable):
            await self.flush()
        async with self._turn.taken():
            self._open = False
            await self._file.close()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SQLiteTransaction]:
        """A transaction, one at a time in this store object. See `stamp.ports.Store.begin`."""
        async with self._turn.taken():
            link = await self._linked()
            transaction = SQLiteTransaction(self._file, link, self.schema, leases=self._leases)
            try:
                await transaction.start()
                yield transaction
            except Exception as error:
                await transaction.roll_back(error)
                raise
            except BaseException:
                # Cancelled: queued behind whatever still runs, and nobody waits for it.
                link.post(sqlite_work.rollback)
                raise
            with self._sent.taken() as sent:
                await transaction.commit(forgetting(self.schema, sent))

    async def sent(self, message_ids: Sequence[str]) -> None:
        """Buffered: the rows go with the next commit, `flush` or `close`."""
        self._sent.add(message_ids)

    async def unsent(self, message_ids: Sequence[str]) -> None:
        """End this store's lease on these rows."""
        await self._transact((self.schema.unlease, (self.schema.array(message_ids), self._leases.holder)))

    async def revive(self, runs: Sequence[str]) -> None:
        """End the leases of other processes on these runs' rows."""
        await self._transact((self.schema.revive, (self.schema.array(runs), self._leases.holder)))

    async def flush(self) -> None:
        """Delete the rows that `sent` buffered."""
        if self._sent:
            await self._transact()

    async def claim(self, limit: int, *, lease: float) -> Sequence[Publication]:
        """Lease up to `limit` rows that nobody holds, oldest first; none overtakes a held row of its run."""
        now = self._leases.now()
        claim = (self.schema.claim, (now, limit, now + lease, self._leases.holder))
        return publications_in_order(await self._transact(claim))

    async def backlog(self) -> int:
        """Outbox rows that are not yet forgotten."""
        count: int = (await self._transact((self.schema.backlog, ())))[0][0]
        return count

    async def prune(self, now: float, *, limit: int = 1000) -> int:
        """Delete up to `limit` expired rows of each table, a few at a time, so that hops come in between."""

        async def some(count: int, *, sql: str) -> int:
            return len(await self._transact((sql, (now, count))))

        statements = (self.schema.prune, self.schema.prune_joins, self.schema.books.prune)
        return sum([await in_steps(partial(some, sql=sql), limit) for sql in statements])

    @asynccontextmanager
    async def altering(self) -> AsyncIterator[migrate.Execute]:
        """One transaction for migrations; others wait."""
        async with self._turn.taken():
            link = await self._linked()

            async def execute(sql: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
                return await self._file.do(link, partial(sqlite_work.run, statement=(sql, parameters)))

            try:
                await execute("BEGIN IMMEDIATE", ())
                yield execute
                await execute("COMMIT", ())
            except BaseException:
                link.post(sqlite_work.rollback)
                raise

    async def _transact(self, *statements: Statement) -> sqlite_work.Rows:
        """Buffered deletes, then `statements`, in one transaction and one trip; the rows of the last."""
        async with self._turn.taken():
            link = await self._linked()
            with self._sent.taken() as sent:
                work = partial(sqlite_work.transact, statements=[*forgetting(self.schema, sent), *statements])
                return await self._file.do(link, work)

    async def _fetch(self, statement: Statement) -> sqlite_work.Rows:
        # Without BEGIN, so without the write lock: nobody's hop waits for somebody who reads.
        async with self._turn.taken():
            return await self._file.do(await self._linked(), partial(sqlite_work.run, statement=statement))

    async def _linked(self) -> Link:
        if not self._open:
            raise not_open(self)
        return await self._file.link()


class SQLiteTransaction:
    """See `stamp.ports.Transaction`, `Foresight`, `Bookkeeping`. A savepoint that touches nothing costs no trip.

    Its rows wait for the commit, or for the next savepoint that a handler writes in: they are in the database before
    the code after it runs, so that no handler's own COMMIT can tear a message from what follows it.
    """

    def __init__(self, file: SQLiteFile, link: Link, schema: Schema, *, leases: Leases) -> None:
        self._file = file
        self._link = link
        self._schema = schema
        self._leases = leases
        self._foreseen = Foreseen()
        self._kept = Unwritten()
        self._block: Unwritten | None = None
        self._touched = False
        self._ended = False

    @property
    def native(self) -> Link:
        """The `aiosqlite.Connection`, inside the transaction."""
        self._touch()
        return self._link

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """See `stamp.ports.Transaction.savepoint`."""
        if self._block is not None:
            raise nested()
        self._check_open()
        block = self._block = Unwritten()
        self._link.watcher = self._touch
        try:
            yield
            await self._keep(block)
        except Exception as error:
            await self._undo(block, error)
            raise
        except BaseException:
            self._foreseen.undo(block.inbox)
            if self._touched:
                self._link.post(sqlite_work.undo)
            raise
        finally:
            self._block, self._touched, self._link.watcher = None, False, None

    async def foresee(self, consumer: str, message_ids: Sequence[str]) -> None:
        """See `stamp.ports.Foresight`. Nobody else writes while this transaction is open, so the answer stays true."""
        question = (self._schema.known, (self._schema.array(message_ids), consumer))
        known = await self._do(partial(sqlite_work.look, known=question))
        self._foreseen.add(consumer, message_ids, known=known)

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:
        """See `stamp.ports.Transaction.first_seen`."""
        row = (consumer, message_id, expires)
        first = self._foreseen.first(consumer, message_id)
        if first is None:
            self._touch()
            return await self._do(partial(sqlite_work.see, seen=(self._schema.seen, row)))
        if first:
            self._unwritten.inbox.append(row)
        return first

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        """See `stamp.ports.Transaction.emit`."""
        self._unwritten.outbox += self._leases.rows(publications, run)

    async def gather(self, join: str) -> Mapping[str, bytes]:
        """See `stamp.ports.Transaction.gather`. The transaction holds the database's one write lock."""
        return await self._do(partial(sqlite_work.gather, statement=(self._schema.gather, (join,))))

    async def put_arrivals(self, join: str, rows: Mapping[str, bytes], *, expires: float | None) -> None:
        """See `stamp.ports.Transaction.put_arrivals`."""
        self._touch()
        values = [(join, name, record, expires) for name, record in rows.items()]
        await self._do(partial(sqlite_work.arrive, sql=self._schema.arrive, rows=values))

    async def read_runs(self, runs: Sequence[str]) -> Mapping[str, bytes]:
        """See `stamp.ports.Bookkeeping`. The transaction holds the database's one write lock."""
        question = (self._schema.books.read, (self._schema.array(runs),))
        return await self._do(partial(sqlite_work.gather, statement=question))

    async def write_runs(self, rows: Sequence[LedgerRow]) -> None:
        """See `stamp.ports.Bookkeeping`."""
        self._touch()
        values = [values_of(row) for row in writable(rows)]
        await self._do(partial(sqlite_work.arrive, sql=self._schema.books.write, rows=values))

    async def start(self) -> None:
        """BEGIN IMMEDIATE."""
        await self._do(sqlite_work.start)

    async def commit(self, statements: Sequence[Statement]) -> None:
        """What is not written yet, `statements` and COMMIT in one trip."""
        if self._ended:
            raise hijacked()
        await self._do(partial(sqlite_work.commit, statements=statements, schema=self._schema, rows=self._kept))

    async def roll_back(self, error: Exception) -> None:
        """Undo everything; raises when `error` hides that the store is gone or that a handler ended the transaction."""
        await self._give_up(error, sqlite_work.rollback_marked)

    @property
    def _unwritten(self) -> Unwritten:
        return self._kept if self._block is None else self._block

    def _touch(self) -> None:
        """Statements may follow that are not ours: from here on the block needs its savepoint."""
        if self._block is None or self._touched:
            return
        self._touched = True
        # Not awaited: it runs before anything the block asks for, and if it fails, leaving fails too.
        self._link.post(sqlite_work.enter)

    async def _keep(self, block: Unwritten) -> None:
        if not self._touched:
            self._check_open()
            self._kept.extend(block)
            return
        await self._do(partial(sqlite_work.leave, schema=self._schema, rows=self._kept + block))
        self._kept = Unwritten()

    async def _undo(self, block: Unwritten, error: Exception) -> None:
        self._foreseen.undo(block.inbox)
        if self._touched:
            await self._give_up(error, sqlite_work.undo)
        elif unavailable := self._file.unavailable(error):
            raise unavailable from error

    def _check_open(self) -> None:
        if self._ended or not self._link.in_transaction:
            self._ended = True
            raise hijacked()

    async def _give_up(self, error: Exception, work: Callable[[sqlite3.Connection], None]) -> None:
        if isinstance(error, StoreUnavailable | TransactionHijacked):
            self._link.post(work)
            return
        if unavailable := self._file.unavailable(error):
            self._link.post(work)
            raise unavailable from error
        try:
            await self._do(work)
        except (StoreUnavailable, TransactionHijacked) as found:
            raise found from error

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._file.do(self._link, work)
        except TransactionHijacked:
            self._ended = True
            raise
