"""The ledger beyond the contract: what people ask it by SQL, how it is found, and tables that do not have it yet."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stamp.ports import LedgerRow
from stamp.stores import migrate
from stamp.stores.books import asking
from stamp.stores.conformance.bookkeeping import keeper, read, row, write
from stamp.stores.ledger import Question, after
from stamp.stores.postgres import PostgresStore
from stamp.stores.sql import sqlite_schema
from stamp.stores.sqlite import SQLiteStore
from stamp.stores.survey import survey
from tests.stores.places import postgres_places

ROWS = (row("a", current=("notify", "bill"), done=("assign",)), row("b", current=("assign",)))


def with_sqlite(path: Path, work: Callable[[SQLiteStore], Awaitable[None]]) -> None:
    """Run `work` on an open store on this file."""

    async def run() -> None:
        store = SQLiteStore(f"sqlite:///{path}")
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def with_postgres(url: str, work: Callable[[PostgresStore], Awaitable[None]]) -> None:
    """Run `work` on an open store in a schema of its own."""

    async def run() -> None:
        async with postgres_places(url)() as place:
            store = PostgresStore(place.url, schema=place.name)
            await store.open()
            try:
                await work(store)
            finally:
                await store.close()

    asyncio.run(run())


def test_people_ask_the_ledger_by_sql_on_sqlite(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        await write(store, *ROWS)
        async with store.begin() as tx:
            found = await tx.native.execute_fetchall(
                "SELECT run, done FROM stamp_ledger"
                " WHERE EXISTS (SELECT 1 FROM json_each(current) WHERE value = 'notify')"
            )
        assert [tuple(each) for each in found] == [("a", '["assign"]')]

    with_sqlite(tmp_path / "a.db", work)


def test_people_ask_the_ledger_by_sql_on_postgresql(postgres: str) -> None:
    async def work(store: PostgresStore) -> None:
        await write(store, *ROWS)
        async with store.begin() as tx:
            found = await tx.native.fetch(
                f"SELECT run, done FROM {store.schema.ledger} WHERE current::jsonb ? 'notify'"
            )
        assert [tuple(each) for each in found] == [("a", '["assign"]')]

    with_postgres(postgres, work)


@pytest.mark.parametrize(
    ("question", "index"),
    [
        (Question(), "ledger_started"),
        (Question(workflow="W"), "ledger_workflow (workflow=?)"),
        (Question(statuses=["held"]), "ledger_status (status=?)"),
        (Question(statuses=["held", "failed"]), "ledger_status (status=?)"),
        (Question(overdue=1.0), "ledger_deadline (deadline<?)"),
        (Question(overdue=1.0, workflow="W", statuses=["held"]), "ledger_deadline (deadline<?)"),
        (Question(prefix="0197"), "autoindex_stamp_ledger_1 (run>? AND run<?)"),
        (Question(prefix="0197", workflow="W"), "autoindex_stamp_ledger_1 (run>? AND run<?)"),
        (Question(runs=["a", "b"], statuses=["held"]), "autoindex_stamp_ledger_1 (run=?)"),
    ],
    ids=str,
)
def test_every_question_is_answered_by_an_index_on_sqlite(tmp_path: Path, question: Question, index: str) -> None:
    plan = plans(tmp_path, *asking(sqlite_schema("stamp_"), question))
    assert index in plan[0]


def test_one_workflow_and_one_status_are_listed_without_sorting(tmp_path: Path) -> None:
    for question in (
        Question(),
        Question(workflow="W"),
        Question(statuses=["s"]),
        Question(workflow="W", statuses=["s"]),
    ):
        plan = plans(tmp_path, *asking(sqlite_schema("stamp_"), question))
        assert len(plan) == 1
        assert "USING INDEX" in plan[0]


def test_counting_and_pruning_read_an_index_only_on_sqlite(tmp_path: Path) -> None:
    sql = sqlite_schema("stamp_").books
    assert "COVERING INDEX" in plans(tmp_path, sql.counts, ())[0]
    assert "COVERING INDEX stamp_ledger_workflow (workflow=?)" in plans(tmp_path, sql.counts_of, ("W",))[0]
    assert any("ledger_expires (expires<?)" in step for step in plans(tmp_path, sql.prune, (1.0, 10)))


def plans(folder: Path, sql: str, parameters: Any) -> list[str]:
    """What SQLite would do on empty tables, step by step."""
    db = sqlite3.connect(folder / "plans.db")
    db.executescript(migrate.sql(sqlite_schema("stamp_")))
    found = [step[3] for step in db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    db.close()
    return found


@pytest.mark.parametrize(
    ("prefix", "following"),
    [
        ("a", "b"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("", None),
        ("\ud7ff", "\ue000"),
    ],
)
def test_the_text_after_a_prefix_is_one_that_a_database_can_keep(prefix: str, following: str | None) -> None:
    assert after(prefix) == following


def test_writing_and_reading_many_runs_cost_three_round_trips_on_postgresql(postgres: str) -> None:
    async def work(store: PostgresStore) -> None:
        runs = [f"run-{number}" for number in range(100)]
        async with store.begin() as tx:
            await keeper(tx).write_runs([row("first")])  # asyncpg asks for the types of the columns once
            asked: list[str] = []
            tx.native.add_query_logger(lambda record: asked.append(record.query))
            await keeper(tx).read_runs(runs)
            await keeper(tx).write_runs([row(run) for run in runs])
            await tx.native.execute("SELECT 1")  # the log of a query comes a turn of the loop later
            sql = store.schema.books
            assert asked[:3] == [sql.lock, sql.read, sql.write]

    with_postgres(postgres, work)


def test_a_list_does_not_wait_for_another_process_that_writes_on_sqlite(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        await write(store, *ROWS)
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert [each.run for each in await store.ledger()] == ["b", "a"]
        assert await store.counts() == {"running": 2}
        other.close()

    with_sqlite(tmp_path / "a.db", work)


def test_tables_without_a_ledger_are_surveyed_and_get_one_when_they_are_upgraded(tmp_path: Path) -> None:
    before(tmp_path / "a.db", 3)

    async def run() -> None:
        store = SQLiteStore(f"sqlite:///{tmp_path}/a.db", upgrade=False)
        await store.open()
        old = await survey(store, now=0.0)
        assert (list(old.status.pending), old.inbox, old.ledger) == ([3], 1, 0)
        assert await migrate.upgrade(store) == [3]
        await write(store, row("a", expires=1.0), row("b"))
        new = await survey(store, now=2.0)
        assert (list(new.status.pending), new.inbox, new.ledger, new.ledger_expired) == ([], 1, 2, 1)
        assert await read(store, "a", "b") == {"a": b"{}", "b": b"{}"}
        await store.close()

    asyncio.run(run())


def before(path: Path, version: int) -> None:
    """A file with the tables as they were before that version, and one row in the inbox."""
    schema = sqlite_schema("stamp_")
    db = sqlite3.connect(path)
    db.execute(schema.create_meta)
    for migration in migrate.migrations("sqlite"):
        if migration.version < version:
            db.executescript(";".join(migrate.statements(migration, schema)))
            db.execute(schema.record, (migration.version,))
    db.execute(schema.note, ("assign", "m", None))
    db.commit()
    db.close()


def test_the_columns_of_both_dialects_are_those_of_the_row() -> None:
    for dialect in ("sqlite", "postgres"):
        (text,) = [each.text for each in migrate.migrations(dialect) if each.version == 3]  # type: ignore[arg-type]
        body = text.partition("CREATE TABLE")[2].partition("(\n")[2].partition("\n);")[0]
        assert tuple(line.split()[0].strip('"') for line in body.splitlines()) == LedgerRow._fields
