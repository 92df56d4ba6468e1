# ruff: noqa: ARG005
"""Ways in which a store could break its promises: each must be noticed by the conformance suite.

A mutation gets pytest's `MonkeyPatch` and bends one rule of the memory store or of the SQLite store.
"""

from __future__ import annotations

import inspect
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import stamp.stores.sqlite_work as work
from brokers.contract import Publication
from stamp.errors import StoreUnavailable, TransactionHijacked
from stamp.stores import memory, rows, sqlite
from stamp.stores.common import Foreseen, Leases, SentBuffer, Turn
from stamp.stores.memory import MemoryDatabase, MemoryStore, MemoryTransaction
from stamp.stores.memory_tables import MemoryTable, UndoLog
from stamp.stores.rows import OutboxRow, Unwritten
from stamp.stores.sql import Schema, Statement
from stamp.stores.sqlite import SQLiteTransaction

Mutation = Callable[[pytest.MonkeyPatch], None]


def the_outbox_is_not_written(patch: pytest.MonkeyPatch) -> None:
    async def emit(self: MemoryTransaction, publications: Sequence[Publication], *, run: str) -> None: ...

    patch.setattr(MemoryTransaction, "emit", emit)


def the_inbox_is_written_outside_the_transaction(patch: pytest.MonkeyPatch) -> None:
    async def first_seen(self: MemoryTransaction, consumer: str, message_id: str, *, expires: float | None) -> bool:
        inbox = self._database.inbox.peek()
        fresh = (consumer, message_id) not in inbox
        inbox.setdefault((consumer, message_id), expires)
        return fresh

    patch.setattr(MemoryTransaction, "first_seen", first_seen)


def the_outbox_is_written_outside_the_transaction(patch: pytest.MonkeyPatch) -> None:
    async def emit(self: MemoryTransaction, publications: Sequence[Publication], *, run: str) -> None:
        for row in self._leases.rows(publications, run):
            self._database.outbox.peek().setdefault(row.message_id, (next(self._database.numbers), row))

    patch.setattr(MemoryTransaction, "emit", emit)


def every_message_is_new(patch: pytest.MonkeyPatch) -> None:
    _answering(patch, lambda consumer: consumer, lambda fresh: True)


def no_message_is_new(patch: pytest.MonkeyPatch) -> None:
    _answering(patch, lambda consumer: consumer, lambda fresh: False)


def the_inbox_is_not_scoped_to_the_consumer(patch: pytest.MonkeyPatch) -> None:
    _answering(patch, lambda consumer: "anybody", lambda fresh: fresh)


def a_duplicate_moves_the_end_of_its_row(patch: pytest.MonkeyPatch) -> None:
    async def first_seen(self: MemoryTransaction, consumer: str, message_id: str, *, expires: float | None) -> bool:
        fresh = (consumer, message_id) not in self._database.inbox
        self._database.inbox[consumer, message_id] = expires
        return fresh

    patch.setattr(MemoryTransaction, "first_seen", first_seen)


def a_rollback_undoes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UndoLog, "rewind", lambda self, mark=0: None)


def a_savepoint_undoes_the_whole_transaction(patch: pytest.MonkeyPatch) -> None:
    rewind = UndoLog.rewind
    patch.setattr(UndoLog, "rewind", lambda self, mark=0: rewind(self))


def a_savepoint_undoes_nothing(patch: pytest.MonkeyPatch) -> None:
    rewind = UndoLog.rewind
    patch.setattr(UndoLog, "rewind", lambda self, mark=None: None if mark is not None else rewind(self))


def a_savepoint_swallows_the_exception(patch: pytest.MonkeyPatch) -> None:
    savepoint = MemoryTransaction.savepoint

    @asynccontextmanager
    async def swallowing(self: MemoryTransaction) -> AsyncIterator[None]:
        try:
            async with savepoint(self):
                yield
        except TransactionHijacked:
            raise
        except Exception:
            return

    patch.setattr(MemoryTransaction, "savepoint", swallowing)


def a_hijack_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTransaction, "_checked", lambda self, error=None: self._database.log)


def a_hijack_is_hidden_by_another_begin(patch: pytest.MonkeyPatch) -> None:
    checked = MemoryTransaction._checked

    def careless(self: MemoryTransaction, error: BaseException | None = None) -> UndoLog:
        self._number = self._database.log.number
        return checked(self, error)

    patch.setattr(MemoryTransaction, "_checked", careless)


def a_hijack_is_hidden_by_the_handlers_exception(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTransaction, "roll_back", lambda self, error: self._database.tables.rollback())


def a_cancelled_block_is_committed(patch: pytest.MonkeyPatch) -> None:
    roll_back = MemoryTransaction.roll_back

    def lenient(self: MemoryTransaction, error: BaseException) -> None:
        return roll_back(self, error) if isinstance(error, Exception) else self.commit()

    patch.setattr(MemoryTransaction, "roll_back", lenient)


def a_block_that_raises_stays_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTransaction, "roll_back", lambda self, error: self._checked(error).rewind())


def the_users_error_is_called_an_outage(patch: pytest.MonkeyPatch) -> None:
    def outage(self: MemoryTransaction, error: BaseException) -> None:
        self._database.tables.rollback()
        if isinstance(error, KeyError):
            raise StoreUnavailable("no", fix="wait") from error

    patch.setattr(MemoryTransaction, "roll_back", outage)


def transactions_do_not_take_turns(patch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def at_once(self: Turn) -> AsyncIterator[None]:
        yield

    patch.setattr(Turn, "taken", at_once)


def an_outage_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryDatabase, "check", lambda self: None)


def an_id_that_is_there_is_replaced(patch: pytest.MonkeyPatch) -> None:
    async def emit(self: MemoryTransaction, publications: Sequence[Publication], *, run: str) -> None:
        self._checked()
        for row in self._leases.rows(publications, run):
            self._database.outbox[row.message_id] = next(self._database.numbers), row

    patch.setattr(MemoryTransaction, "emit", emit)


def rows_are_written_backwards(patch: pytest.MonkeyPatch) -> None:
    made = Leases.rows
    patch.setattr(Leases, "rows", lambda self, publications, run: made(self, publications, run)[::-1])


def rows_are_written_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    _leased(patch, lambda row: row._replace(lease_until=0.0))


def a_lease_never_ends(patch: pytest.MonkeyPatch) -> None:
    _leased(patch, lambda row: row._replace(lease_until=1e12))


def rows_belong_to_nobody(patch: pytest.MonkeyPatch) -> None:
    _leased(patch, lambda row: row._replace(lease_by=""))


def a_claim_knows_no_limit(patch: pytest.MonkeyPatch) -> None:
    claim = MemoryStore.claim
    patch.setattr(MemoryStore, "claim", lambda self, limit, *, lease: claim(self, 1_000, lease=lease))


def a_claim_takes_the_newest_first(patch: pytest.MonkeyPatch) -> None:
    free = memory._free
    patch.setattr(memory, "_free", lambda outbox, now: free(outbox, now)[::-1])


def a_claim_leases_nothing(patch: pytest.MonkeyPatch) -> None:
    claim = MemoryStore.claim
    patch.setattr(MemoryStore, "claim", lambda self, limit, *, lease: claim(self, limit, lease=-1.0))


def a_claim_takes_what_is_held(patch: pytest.MonkeyPatch) -> None:
    free = memory._free
    patch.setattr(memory, "_free", lambda outbox, now: free(outbox, 1e12))


def a_row_overtakes_a_held_row_of_its_run(patch: pytest.MonkeyPatch) -> None:
    def free(outbox: Any, now: float) -> list[tuple[int, OutboxRow]]:
        return sorted((each for each in outbox if each[1].lease_until <= now), key=lambda each: each[0])

    patch.setattr(memory, "_free", free)


def a_run_waits_for_its_later_rows(patch: pytest.MonkeyPatch) -> None:
    free = memory._free

    def waiting(outbox: Any, now: float) -> list[tuple[int, OutboxRow]]:
        every = list(outbox)
        held = {row.run for _, row in every if row.lease_until > now}
        return [each for each in free(every, now) if each[1].run not in held]

    patch.setattr(memory, "_free", waiting)


def unsent_does_nothing(patch: pytest.MonkeyPatch) -> None:
    async def unsent(self: MemoryStore, message_ids: Sequence[str]) -> None:
        self._database.check()

    patch.setattr(MemoryStore, "unsent", unsent)


def unsent_ends_anybodys_lease(patch: pytest.MonkeyPatch) -> None:
    async def unsent(self: MemoryStore, message_ids: Sequence[str]) -> None:
        self._database.check()
        outbox = self._database.outbox
        for key in message_ids:
            if key in outbox:
                number, row = outbox[key]
                outbox[key] = number, row._replace(lease_until=0)

    patch.setattr(MemoryStore, "unsent", unsent)


def sent_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SentBuffer, "add", lambda self, message_ids: None)


def a_flush_writes_nothing(patch: pytest.MonkeyPatch) -> None:
    async def flush(self: MemoryStore) -> None:
        self._database.check()

    patch.setattr(MemoryStore, "flush", flush)


def closing_writes_nothing(patch: pytest.MonkeyPatch) -> None:
    async def close(self: MemoryStore) -> None:
        self._open = False

    patch.setattr(MemoryStore, "close", close)


def closing_twice_is_an_error(patch: pytest.MonkeyPatch) -> None:
    close = MemoryStore.close

    async def strict(self: MemoryStore) -> None:
        if not self._open:
            raise RuntimeError
        await close(self)

    patch.setattr(MemoryStore, "close", strict)


def sent_rows_count_as_backlog(patch: pytest.MonkeyPatch) -> None:
    async def backlog(self: MemoryStore) -> int:
        async with self._alone() as database:
            return len(database.outbox)

    patch.setattr(MemoryStore, "backlog", backlog)


def pruning_knows_no_limit(patch: pytest.MonkeyPatch) -> None:
    prune = MemoryStore.prune
    patch.setattr(MemoryStore, "prune", lambda self, now, *, limit=1000: prune(self, now, limit=10_000))


def pruning_takes_rows_that_end_now(patch: pytest.MonkeyPatch) -> None:
    prune = MemoryStore.prune
    patch.setattr(MemoryStore, "prune", lambda self, now, *, limit=1000: prune(self, now + 0.01, limit=limit))


def pruning_takes_rows_without_an_end(patch: pytest.MonkeyPatch) -> None:
    async def first_seen(self: MemoryTransaction, consumer: str, message_id: str, *, expires: float | None) -> bool:
        key = consumer, message_id
        fresh = key not in self._database.inbox
        if fresh:
            self._database.inbox[key] = expires or 0.0
        return fresh

    patch.setattr(MemoryTransaction, "first_seen", first_seen)


def pruning_counts_wrong(patch: pytest.MonkeyPatch) -> None:
    prune = MemoryStore.prune

    async def counting(self: MemoryStore, now: float, *, limit: int = 1000) -> int:
        return await prune(self, now, limit=limit) + 1

    patch.setattr(MemoryStore, "prune", counting)


def header_values_become_text(patch: pytest.MonkeyPatch) -> None:
    made = rows.properties_of

    def texts(message: Any) -> str:
        given = json.loads(made(message))
        return json.dumps({**given, "headers": {name: str(value) for name, value in given["headers"].items()}})

    patch.setattr(rows, "properties_of", texts)


def a_property_is_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rows, "_PROPERTIES", rows._PROPERTIES[:-1])


def the_mandatory_flag_is_lost(patch: pytest.MonkeyPatch) -> None:
    _leased(patch, lambda row: row._replace(mandatory=True))


def a_body_ends_at_its_first_zero(patch: pytest.MonkeyPatch) -> None:
    _leased(patch, lambda row: row._replace(body=row.body.split(b"\0")[0]))


def reading_a_row_is_not_remembered_for_the_undo(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryTable, "__setitem__", lambda self, key, row: self._rows.__setitem__(key, row))


def sqlite_begins_without_a_mark(patch: pytest.MonkeyPatch) -> None:
    release = work._release
    patch.setattr(work, "_release", lambda db, name: None if name == work._MARK else release(db, name))


def sqlite_enters_no_savepoint(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(work, "enter", lambda db: None)
    patch.setattr(work, "undo", lambda db: None)
    patch.setattr(work, "leave", lambda db, *, schema, rows: work._insert(db, schema, rows))


def sqlite_commits_without_deleting_what_was_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite, "forgetting", lambda schema, message_ids: [])


def sqlite_drops_what_was_sent_when_a_commit_fails(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SentBuffer, "taken", asynccontextmanager_free)


def sqlite_writes_rows_before_a_savepoint_after_it(patch: pytest.MonkeyPatch) -> None:
    def late(db: sqlite3.Connection, statements: Sequence[Statement], *, schema: Schema, rows: Unwritten) -> None:
        commit(db, statements, schema=schema, rows=Unwritten(rows.inbox, rows.outbox[::-1]))

    commit = work.commit
    patch.setattr(work, "commit", late)


def sqlite_claims_without_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite, "publications_in_order", lambda found: [rows.publication_of(row[1:]) for row in found][::-1])


def sqlite_rolls_back_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(work, "rollback_marked", lambda db: db.execute("COMMIT"))


def sqlite_leaves_its_transaction_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(work, "rollback", lambda db: None)


def sqlite_foresees_nothing_known(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(work, "look", lambda db, *, known: set())


def sqlite_takes_what_was_undone_for_known(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Foreseen, "undo", lambda self, rows: None)


def sqlite_writes_what_belongs_to_a_handlers_rows_at_the_commit(patch: pytest.MonkeyPatch) -> None:
    async def late(self: SQLiteTransaction, block: Unwritten) -> None:
        self._check_open()
        self._kept.extend(block)
        if self._touched:
            await self._do(lambda db: work._release(db, work._SAVEPOINT))

    patch.setattr(SQLiteTransaction, "_keep", late)


def sqlite_writes_the_inbox_before_the_handler_runs(patch: pytest.MonkeyPatch) -> None:
    foresee = SQLiteTransaction.foresee

    async def eager(self: SQLiteTransaction, consumer: str, message_ids: Sequence[str]) -> None:
        await foresee(self, consumer, message_ids)
        rows = Unwritten(inbox=[(consumer, message_id, None) for message_id in message_ids])
        await self._do(lambda db: work._insert(db, self._schema, rows))

    patch.setattr(SQLiteTransaction, "foresee", eager)


def sqlite_enters_no_savepoint_for_a_handler_that_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SQLiteTransaction, "_touch", lambda self: None)


def asynccontextmanager_free(self: SentBuffer) -> Any:
    """A `taken` that gives nothing back."""
    return _Given(self.take())


class _Given:
    def __init__(self, message_ids: list[str]) -> None:
        self._ids = message_ids

    def __enter__(self) -> list[str]:
        return self._ids

    def __exit__(self, *_: object) -> None: ...


def _answering(patch: pytest.MonkeyPatch, consumer_of: Callable[[str], str], answer: Callable[[bool], bool]) -> None:
    first_seen = MemoryTransaction.first_seen

    async def other(self: MemoryTransaction, consumer: str, message_id: str, *, expires: float | None) -> bool:
        return answer(await first_seen(self, consumer_of(consumer), message_id, expires=expires))

    patch.setattr(MemoryTransaction, "first_seen", other)


def _leased(patch: pytest.MonkeyPatch, change: Callable[[OutboxRow], OutboxRow]) -> None:
    made = Leases.rows
    patch.setattr(
        Leases, "rows", lambda self, publications, run: [change(row) for row in made(self, publications, run)]
    )


def _is_mutation(name: str, value: object) -> bool:
    return (
        inspect.isfunction(value)
        and value.__module__ == __name__
        and not name.startswith("_")
        and "patch" in inspect.signature(value).parameters
    )


_ALL = {name: value for name, value in list(vars().items()) if _is_mutation(name, value)}

SQLITE_MUTATIONS: tuple[Mutation, ...] = tuple(value for name, value in _ALL.items() if name.startswith("sqlite_"))
MEMORY_MUTATIONS: tuple[Mutation, ...] = tuple(value for name, value in _ALL.items() if not name.startswith("sqlite_"))
