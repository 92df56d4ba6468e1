# ruff: noqa: ARG005
"""Ways in which a store could break its promises about the ledger; as in `tests.stores.mutations`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from stamp.ports import LedgerRow
from stamp.stores import books, ledger, ledger_sql, memory, postgres_transaction, sqlite
from stamp.stores.ledger import Question
from stamp.stores.memory import MemoryStore, MemoryTransaction
from stamp.stores.memory_tables import UndoLog
from stamp.stores.postgres_transaction import PostgresTransaction
from stamp.stores.sqlite import SQLiteTransaction

Mutation = Callable[[pytest.MonkeyPatch], None]
Change = Callable[[Question], Question]


def the_ledger_is_not_written(patch: pytest.MonkeyPatch) -> None:
    _writing(patch, lambda rows: [])


def the_ledger_is_written_outside_the_transaction(patch: pytest.MonkeyPatch) -> None:
    async def write_runs(self: MemoryTransaction, rows: Sequence[LedgerRow]) -> None:
        self._checked()
        self._database.ledger.peek().update((row.run, row) for row in ledger.writable(rows))

    patch.setattr(MemoryTransaction, "write_runs", write_runs)


def a_row_of_the_ledger_is_never_replaced(patch: pytest.MonkeyPatch) -> None:
    async def write_runs(self: MemoryTransaction, rows: Sequence[LedgerRow]) -> None:
        self._checked()
        for row in ledger.writable(rows):
            self._database.ledger.setdefault(row.run, row)

    patch.setattr(MemoryTransaction, "write_runs", write_runs)


def of_two_rows_the_first_stays(patch: pytest.MonkeyPatch) -> None:
    _writing(patch, lambda rows: rows[::-1])


def of_many_rows_one_is_left_out(patch: pytest.MonkeyPatch) -> None:
    _writing(patch, lambda rows: rows[:1_000])


def a_record_ends_at_its_first_zero(patch: pytest.MonkeyPatch) -> None:
    _writing(patch, lambda rows: [row._replace(record=row.record.split(b"\0")[0]) for row in rows])


def times_are_whole_seconds(patch: pytest.MonkeyPatch) -> None:
    _writing(patch, lambda rows: [row._replace(started=float(int(row.started))) for row in rows])


def an_error_keeps_what_no_database_holds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "writable", lambda rows: rows)


def runs_not_asked_for_are_read(patch: pytest.MonkeyPatch) -> None:
    async def read_runs(self: MemoryTransaction, runs: Sequence[str]) -> Mapping[str, bytes]:
        self._checked()
        return {row.run: row.record for row in self._database.ledger.peek().values()}

    patch.setattr(MemoryTransaction, "read_runs", read_runs)


def a_run_without_a_row_has_an_empty_record(patch: pytest.MonkeyPatch) -> None:
    read_runs = MemoryTransaction.read_runs

    async def reading(self: MemoryTransaction, runs: Sequence[str]) -> Mapping[str, bytes]:
        return dict.fromkeys(runs, b"") | dict(await read_runs(self, runs))

    patch.setattr(MemoryTransaction, "read_runs", reading)


def reading_the_ledger_notices_no_hijack(patch: pytest.MonkeyPatch) -> None:
    _careless(patch, "read_runs")


def writing_the_ledger_notices_no_hijack(patch: pytest.MonkeyPatch) -> None:
    _careless(patch, "write_runs")


def the_oldest_is_listed_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "newest_first", lambda row: (-row.started, row.run))


def of_equals_the_lesser_run_is_listed_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "newest_first", lambda row: (row.started, [-ord(char) for char in row.run]))


def the_case_of_a_run_id_does_not_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "newest_first", lambda row: (row.started, row.run.lower()))


def a_list_knows_no_limit(patch: pytest.MonkeyPatch) -> None:
    _asked(patch, lambda asked: asked, limit=100_000)


def a_list_without_a_limit_is_without_an_end(patch: pytest.MonkeyPatch) -> None:
    assert MemoryStore.ledger.__kwdefaults__ is not None
    patch.setitem(MemoryStore.ledger.__kwdefaults__, "limit", 100_000)


def the_runs_asked_for_do_not_narrow(patch: pytest.MonkeyPatch) -> None:
    _asked(patch, lambda asked: replace(asked, runs=None))


def no_runs_asked_for_means_all(patch: pytest.MonkeyPatch) -> None:
    _asked(patch, lambda asked: replace(asked, runs=asked.runs or None))


def the_prefix_does_not_narrow(patch: pytest.MonkeyPatch) -> None:
    _asked(patch, lambda asked: replace(asked, prefix=""))


def the_prefix_is_a_pattern(patch: pytest.MonkeyPatch) -> None:
    admits = Question.admits

    def matching(self: Question, row: LedgerRow) -> bool:
        return fnmatchcase(row.run, f"{self.prefix}*") and admits(replace(self, prefix=""), row)

    patch.setattr(Question, "admits", matching)


def the_workflow_does_not_narrow(patch: pytest.MonkeyPatch) -> None:
    _asked(patch, lambda asked: replace(asked, workflow=None))


def the_empty_workflow_is_every_workflow(patch: pytest.MonkeyPatch) -> None:
    _asked(patch, lambda asked: replace(asked, workflow=asked.workflow or None))


def the_statuses_do_not_narrow(patch: pytest.MonkeyPatch) -> None:
    _asked(patch, lambda asked: replace(asked, statuses=()))


def only_the_first_status_counts(patch: pytest.MonkeyPatch) -> None:
    _asked(patch, lambda asked: replace(asked, statuses=asked.statuses[:1]))


def overdue_does_not_narrow(patch: pytest.MonkeyPatch) -> None:
    _asked(patch, lambda asked: replace(asked, overdue=None))


def a_run_is_overdue_at_its_deadline(patch: pytest.MonkeyPatch) -> None:
    _overdue(patch, lambda row, moment: row.ended is None and row.deadline is not None and row.deadline <= moment)


def an_ended_run_is_overdue(patch: pytest.MonkeyPatch) -> None:
    _overdue(patch, lambda row, moment: row.deadline is not None and row.deadline < moment)


def a_run_without_a_deadline_is_overdue(patch: pytest.MonkeyPatch) -> None:
    _overdue(patch, lambda row, moment: row.ended is None and (row.deadline or 0) < moment)


def any_of_the_conditions_is_enough(patch: pytest.MonkeyPatch) -> None:
    admits = Question.admits

    def lenient(self: Question, row: LedgerRow) -> bool:
        return admits(self, row) or (self.workflow == row.workflow and bool(self.prefix))

    patch.setattr(Question, "admits", lenient)


def counts_are_of_every_workflow(patch: pytest.MonkeyPatch) -> None:
    counts = MemoryStore.counts
    patch.setattr(MemoryStore, "counts", lambda self, workflow=None: counts(self))


def counts_name_what_no_run_has(patch: pytest.MonkeyPatch) -> None:
    counts = MemoryStore.counts

    async def naming(self: MemoryStore, workflow: str | None = None) -> Mapping[str, int]:
        return {"held": 0, **await counts(self, workflow)}

    patch.setattr(MemoryStore, "counts", naming)


def the_ledger_is_not_pruned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "_prune_ledger", lambda database, now, limit: 0)


def pruning_the_ledger_knows_no_limit(patch: pytest.MonkeyPatch) -> None:
    prune = memory._prune_ledger
    patch.setattr(memory, "_prune_ledger", lambda database, now, limit: prune(database, now, 10_000))


def pruning_takes_ledger_rows_that_end_now(patch: pytest.MonkeyPatch) -> None:
    prune = memory._prune_ledger
    patch.setattr(memory, "_prune_ledger", lambda database, now, limit: prune(database, now + 0.01, limit))


def pruning_takes_ledger_rows_without_an_end(patch: pytest.MonkeyPatch) -> None:
    _writing(patch, lambda rows: [row._replace(expires=row.expires or 0.0) for row in rows])


def pruning_takes_the_ledgers_latest_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "nsmallest", memory.nlargest)


def sqlite_writes_the_ledger_before_its_savepoint(patch: pytest.MonkeyPatch) -> None:
    write_runs = SQLiteTransaction.write_runs

    async def untouched(self: SQLiteTransaction, rows: Sequence[LedgerRow]) -> None:
        touch, self._touch = self._touch, lambda: None  # type: ignore[method-assign]
        await write_runs(self, rows)
        self._touch = touch  # type: ignore[method-assign]

    patch.setattr(SQLiteTransaction, "write_runs", untouched)


def sqlite_takes_the_prefix_for_a_pattern(patch: pytest.MonkeyPatch) -> None:
    conditions = books._conditions

    def liking(schema: Any, question: Question) -> Any:
        yield from conditions(schema, replace(question, prefix=""))
        yield "run LIKE {}", f"{question.prefix}%"

    patch.setattr(books, "_conditions", liking)


def sqlite_ends_a_prefix_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(books, "after", lambda prefix: f"{prefix}\uffff")


def sqlite_ends_a_prefix_at_half_a_character(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger, "_SURROGATES", range(0))


def sqlite_replaces_all_but_the_record(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(ledger_sql._WORDS, "replace", ledger_sql._WORDS["replace"].replace(", record = excluded.record", ""))


def sqlite_replaces_all_but_the_error(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(ledger_sql._WORDS, "replace", ledger_sql._WORDS["replace"].replace(", error = excluded.error", ""))


def sqlite_writes_what_no_database_holds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite, "writable", list)


def postgres_locks_no_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger_sql, "_LOCK", "SELECT txid_current(), cardinality($1::text[])")


def postgres_locks_only_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger_sql, "_LOCK", "SELECT txid_current(), cardinality($1::text[])")
    patch.setattr(ledger_sql, "_READ", f"{ledger_sql._READ} FOR UPDATE")


def postgres_locks_runs_as_they_are_given(patch: pytest.MonkeyPatch) -> None:
    lock = ledger_sql._LOCK.replace("DISTINCT", "").replace("ORDER BY key", "")
    patch.setattr(ledger_sql, "_LOCK", lock)


def postgres_locks_and_reads_in_one_statement(patch: pytest.MonkeyPatch) -> None:
    together = (
        "WITH locked AS MATERIALIZED (SELECT run, pg_advisory_xact_lock(hashtextextended(run, 357895851347))"
        " FROM unnest($1::text[]) AS run ORDER BY 1)"
        " SELECT ledger.run, ledger.record FROM locked JOIN {ledger} ON ledger.run = locked.run"
    )
    patch.setattr(ledger_sql, "_LOCK", "SELECT txid_current(), cardinality($1::text[])")
    patch.setattr(ledger_sql, "_READ", together)


def postgres_locks_runs_as_if_they_were_joins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger_sql, "_LOCK", ledger_sql._LOCK.replace("357895851347", "357895851346"))


def postgres_locks_the_whole_ledger(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger_sql, "_LOCK", ledger_sql._LOCK.replace("hashtextextended(run, 357895851347)", "1"))


def postgres_lets_a_lock_go_at_once(patch: pytest.MonkeyPatch) -> None:
    unlocking = "(pg_try_advisory_lock(key) AND pg_advisory_unlock(key))::text"
    patch.setattr(ledger_sql, "_LOCK", ledger_sql._LOCK.replace("pg_advisory_xact_lock(key)", unlocking))


def postgres_prunes_rows_that_are_locked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger_sql, "_PRUNE", ledger_sql._PRUNE.replace("{skip_locked}", ""))


def postgres_writes_a_run_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(postgres_transaction, "writable", list)


def postgres_does_not_ask_which_transaction_it_is(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PostgresTransaction, "_same", lambda self, number: None)


def _writing(patch: pytest.MonkeyPatch, change: Callable[[Sequence[LedgerRow]], Sequence[LedgerRow]]) -> None:
    write_runs = MemoryTransaction.write_runs
    patch.setattr(MemoryTransaction, "write_runs", lambda self, rows: write_runs(self, change(rows)))


def _asked(patch: pytest.MonkeyPatch, change: Change, **fixed: Any) -> None:
    ask = MemoryStore.ledger

    async def other(self: MemoryStore, **asked: Any) -> Sequence[LedgerRow]:
        changed = change(Question(**asked))
        names = ("runs", "prefix", "workflow", "statuses", "overdue", "limit")
        return await ask(self, **{name: getattr(changed, name) for name in names} | fixed)

    patch.setattr(MemoryStore, "ledger", other)


def _overdue(patch: pytest.MonkeyPatch, rule: Callable[[LedgerRow, float], bool]) -> None:
    patch.setattr(ledger, "_overdue", rule)


def _careless(patch: pytest.MonkeyPatch, verb: str) -> None:
    careful = getattr(MemoryTransaction, verb)

    async def careless(self: MemoryTransaction, what: Any) -> Any:
        def unchecked(error: BaseException | None = None) -> UndoLog:
            return self._database.log

        checked, self._checked = self._checked, unchecked  # type: ignore[method-assign]
        try:
            return await careful(self, what)
        finally:
            self._checked = checked  # type: ignore[method-assign]

    patch.setattr(MemoryTransaction, verb, careless)


def _named(*beginnings: str) -> tuple[Mutation, ...]:
    return tuple(value for name, value in _ALL.items() if name.startswith(beginnings))


_ALL = {
    name: value
    for name, value in list(vars().items())
    if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == __name__
}

SQLITE_LEDGER_MUTATIONS = _named("sqlite_")
POSTGRES_LEDGER_MUTATIONS = _named("postgres_")
MEMORY_LEDGER_MUTATIONS = tuple(
    value for value in _ALL.values() if value not in SQLITE_LEDGER_MUTATIONS + POSTGRES_LEDGER_MUTATIONS
)
