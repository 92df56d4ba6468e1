"""The store without a database: the same promises within one process, for tests, demos and the bench."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from heapq import nlargest, nsmallest
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from brokers.contract import Publication
from stamp.errors import BadConfiguration, StoreUnavailable, TransactionHijacked
from stamp.ports import LedgerRow
from stamp.stores.common import Leases, SentBuffer, Turn, hijacked, nested, not_open
from stamp.stores.ledger import Question, newest_first, writable
from stamp.stores.memory_tables import MemoryTable, MemoryTables, UndoLog
from stamp.stores.rows import OutboxRow, publications_in_order


class MemoryDatabase:
    """What several `MemoryStore` objects can share, as several processes share a database."""

    def __init__(self) -> None:
        self.log = UndoLog()
        self.tables = MemoryTables(self.log)
        self.inbox = MemoryTable(self.log)
        """(consumer, message id) to the time when the row expires, or `None`."""
        self.outbox = MemoryTable(self.log)
        """Message id to (number in the order of writing, `OutboxRow`)."""
        self.joins = MemoryTable(self.log)
        """(join, name) to (record, time when it expires or `None`)."""
        self.names = MemoryTable(self.log)
        """Join to the names of its arrivals."""
        self.ledger = MemoryTable(self.log)
        """Run to `LedgerRow`."""
        self.numbers = count(1)
        self.away = False
        """Set it, and every store on this data is `StoreUnavailable` until it is unset: a fault to test with."""
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turn] = WeakKeyDictionary()

    def turn(self) -> Turn:
        """Transactions take turns; a lock belongs to one event loop, the rows outlive it."""
        return self._turns.setdefault(asyncio.get_running_loop(), Turn())

    def check(self) -> None:
        """Raises `StoreUnavailable` while the database is away."""
        if self.away:
            raise StoreUnavailable("the database in memory is away", fix="unset `away`")


class MemoryStore:
    """`memory:` keeps inbox, outbox, ledger and the user's `tables` in this process, as long as the object lives.

    `native` is a `MemoryTables`: table name to a mapping of rows, restored on rollback. Pass `database` to share
    one between stores. Transactions take turns. Rows that `emit` writes are leased for `lease` seconds.
    """

    def __init__(
        self,
        url: str = "memory:",
        *,
        database: MemoryDatabase | None = None,
        lease: float = 10.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        if url.rstrip("/") != "memory:":
            raise BadConfiguration(f"not a URL of a memory store: {url!r}", fix="write memory:")
        self._database = database or MemoryDatabase()
        self._leases = Leases(seconds=lease, now=now)
        self._sent = SentBuffer()
        self._open = False

    @property
    def tables(self) -> MemoryTables:
        """The user's tables, to fill and to look at outside a transaction."""
        return self._database.tables

    async def open(self) -> None:
        """Nothing to connect to; raises `StoreUnavailable` while the database is `away`."""
        self._database.check()
        self._open = True

    async def close(self) -> None:
        """Delete what `sent` buffered. The rows stay: opening again finds them."""
        if self._open:
            with suppress(StoreUnavailable):
                await self.flush()
            self._open = False

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[MemoryTransaction]:
        """A transaction, one at a time on this data. See `stamp.ports.Store.begin`."""
        async with self._alone() as database:
            database.log.begin()
            transaction = MemoryTransaction(database, self._leases)
            try:
                yield transaction
            except BaseException as error:
                transaction.roll_back(error)
                raise
            transaction.commit()
            self._forget()

    async def sent(self, message_ids: Sequence[str]) -> None:
        """Buffered: the rows go with the next commit, `flush` or `close`."""
        self._sent.add(message_ids)

    async def unsent(self, message_ids: Sequence[str]) -> None:
        """End this store's lease on these rows."""
        async with self._alone() as database:
            for number, row in [database.outbox[key] for key in message_ids if key in database.outbox]:
                if row.lease_by == self._leases.holder:
                    database.outbox[row.message_id] = number, row._replace(lease_until=0)

    async def revive(self, runs: Sequence[str]) -> None:
        """End the leases of other processes on these runs' rows."""
        async with self._alone() as database:
            for number, row in list(database.outbox.peek().values()):
                if row.run in runs and row.lease_by != self._leases.holder:
                    database.outbox[row.message_id] = number, row._replace(lease_until=0)

    async def flush(self) -> None:
        """Delete the rows that `sent` buffered."""
        async with self._alone():
            self._forget()

    async def claim(self, limit: int, *, lease: float) -> Sequence[Publication]:
        """Lease up to `limit` rows that nobody holds, oldest first; none overtakes a held row of its run."""
        now = self._leases.now()
        async with self._alone() as database:
            self._forget()
            free = _free(database.outbox.peek().values(), now)[:limit]
            for number, row in free:
                leased = row._replace(lease_until=now + lease, lease_by=self._leases.holder)
                database.outbox[row.message_id] = number, leased
            return publications_in_order([_claimed(number, row) for number, row in free])

    async def backlog(self) -> int:
        """Outbox rows that are not yet forgotten."""
        async with self._alone() as database:
            self._forget()
            return len(database.outbox)

    async def prune(self, now: float, *, limit: int = 1000) -> int:
        """Delete up to `limit` expired rows of each table."""
        async with self._alone() as database:
            rows = database.inbox.peek().items()
            expired = [key for key, expires in rows if expires is not None and expires < now]
            for key in sorted(expired, key=lambda key: database.inbox[key])[:limit]:
                del database.inbox[key]
            gone = min(limit, len(expired))
            return gone + _prune_joins(database, now, limit) + _prune_ledger(database, now, limit)

    async def ledger(
        self,
        *,
        runs: Sequence[str] | None = None,
        prefix: str = "",
        workflow: str | None = None,
        statuses: Sequence[str] = (),
        overdue: float | None = None,
        limit: int = 1000,
    ) -> Sequence[LedgerRow]:
        """See `stamp.ports.Books.ledger`."""
        asked = Question(runs=runs, prefix=prefix, workflow=workflow, statuses=statuses, overdue=overdue, limit=limit)
        async with self._alone() as database:
            found = (row for row in database.ledger.peek().values() if asked.admits(row))
            return nlargest(limit, found, key=newest_first)

    async def counts(self, workflow: str | None = None) -> Mapping[str, int]:
        """See `stamp.ports.Books.counts`."""
        asked = Question(workflow=workflow)
        async with self._alone() as database:
            return Counter(row.status for row in database.ledger.peek().values() if asked.admits(row))

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[MemoryDatabase]:
        if not self._open:
            raise not_open(self)
        async with self._database.turn().taken():
            self._database.check()
            yield self._database

    def _forget(self) -> None:
        for message_id in self._sent.take():
            self._database.outbox.pop(message_id, None)


class MemoryTransaction:
    """See `stamp.ports.Transaction` and `Bookkeeping`."""

    def __init__(self, database: MemoryDatabase, leases: Leases) -> None:
        self._database = database
        self._leases = leases
        self._number = database.log.number
        self._inside = False

    @property
    def native(self) -> MemoryTables:
        """The user's tables."""
        return self._database.tables

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """See `stamp.ports.Transaction.savepoint`."""
        if self._inside:
            raise nested()
        log = self._checked()
        mark, self._inside = log.mark(), True
        try:
            yield
        except BaseException as error:
            self._checked(error).rewind(mark)
            log.release()
            raise
        else:
            self._checked().release()
        finally:
            self._inside = False

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:
        """See `stamp.ports.Transaction.first_seen`."""
        self._checked()
        inbox, key = self._database.inbox, (consumer, message_id)
        if key in inbox:
            return False
        inbox[key] = expires
        return True

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        """See `stamp.ports.Transaction.emit`."""
        self._checked()
        outbox = self._database.outbox
        for row in self._leases.rows(publications, run):
            if row.message_id not in outbox:
                outbox[row.message_id] = next(self._database.numbers), row

    async def gather(self, join: str) -> Mapping[str, bytes]:
        """See `stamp.ports.Transaction.gather`. Transactions take turns, so nobody else's can come between."""
        self._checked()
        joins = self._database.joins
        return {name: joins[join, name][0] for name in self._database.names.get(join, ())}

    async def put_arrivals(self, join: str, rows: Mapping[str, bytes], *, expires: float | None) -> None:
        """See `stamp.ports.Transaction.put_arrivals`."""
        self._checked()
        for name, record in rows.items():
            self._database.joins[join, name] = record, expires
        self._database.names[join] = tuple(dict.fromkeys([*self._database.names.get(join, ()), *rows]))

    async def read_runs(self, runs: Sequence[str]) -> Mapping[str, bytes]:
        """See `stamp.ports.Bookkeeping`. Transactions take turns, so nobody else's can come between."""
        self._checked()
        ledger = self._database.ledger.peek()
        return {run: ledger[run].record for run in runs if run in ledger}

    async def write_runs(self, rows: Sequence[LedgerRow]) -> None:
        """See `stamp.ports.Bookkeeping`."""
        self._checked()
        self._database.ledger.update((row.run, row) for row in writable(rows))

    def commit(self) -> None:
        """Keep everything. Raises `TransactionHijacked`."""
        try:
            self._checked().end()
        except TransactionHijacked:
            self._database.tables.rollback()
            raise

    def roll_back(self, error: BaseException) -> None:
        """Undo everything. Raises `TransactionHijacked` when a handler had ended the transaction."""
        try:
            self._checked(error)
        finally:
            self._database.tables.rollback()

    def _checked(self, error: BaseException | None = None) -> UndoLog:
        log = self._database.log
        if not log.open or log.number != self._number:
            raise hijacked() from error
        return log


def _prune_joins(database: MemoryDatabase, now: float, limit: int) -> int:
    rows = database.joins.peek().items()
    expired = [key for key, (_, expires) in rows if expires is not None and expires < now]
    for join, name in sorted(expired, key=lambda key: database.joins[key][1])[:limit]:
        del database.joins[join, name]
        database.names[join] = tuple(known for known in database.names[join] if known != name)
        if not database.names[join]:
            del database.names[join]
    return min(limit, len(expired))


def _prune_ledger(database: MemoryDatabase, now: float, limit: int) -> int:
    rows: Iterable[LedgerRow] = database.ledger.peek().values()
    expired = [(row.expires, row.run) for row in rows if row.expires is not None and row.expires < now]
    for _, run in nsmallest(limit, expired):
        del database.ledger[run]
    return min(limit, len(expired))


def _free(outbox: Iterable[tuple[int, OutboxRow]], now: float) -> list[tuple[int, OutboxRow]]:
    """The rows that may be claimed: not held, and no earlier row of their run is held."""
    free: list[tuple[int, OutboxRow]] = []
    held: set[str] = set()
    for number, row in sorted(outbox, key=lambda numbered: numbered[0]):
        if row.lease_until > now:
            held.add(row.run)
        elif row.run not in held:
            free.append((number, row))
    return free


def _claimed(number: int, row: OutboxRow) -> Sequence[Any]:
    return number, row.message_id, row.exchange, row.routing_key, row.mandatory, row.properties, row.body
