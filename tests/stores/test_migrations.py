"""The toolkit's tables: numbered files, applied once, and never in the way of another version of the library."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from stamp.errors import BadConfiguration
from stamp.stores import migrate
from stamp.stores.conformance import LEDGER_SCENARIOS, SCENARIOS, Scenario, run_scenario
from stamp.stores.memory import MemoryStore
from stamp.stores.postgres import PostgresStore
from stamp.stores.sql import Dialect, postgres_schema, sqlite_schema
from stamp.stores.sqlite import SQLiteStore
from tests.stores.places import PostgresPlace, SQLitePlace, postgres_places, sqlite_places

# What a later version of the library may do to the tables: add columns with a default, add tables, count on.
LATER = """
ALTER TABLE {outbox} ADD COLUMN later text NOT NULL DEFAULT 'later';
ALTER TABLE {inbox} ADD COLUMN later text;
ALTER TABLE {ledger} ADD COLUMN later text;
CREATE TABLE {place}later (id integer);
INSERT INTO {meta} (version) VALUES (9000);
"""


@asynccontextmanager
async def upgraded_sqlite_place(folder: Path) -> AsyncIterator[SQLitePlace]:
    """A file that a later version of the library has upgraded."""
    async with sqlite_places(folder)() as place:
        store = SQLiteStore(f"sqlite:///{place.path}")
        await store.open()
        await store.close()
        schema = sqlite_schema("stamp_")
        db = sqlite3.connect(place.path)
        names = {"outbox": schema.outbox, "inbox": schema.inbox, "ledger": schema.ledger, "meta": schema.meta}
        db.executescript(LATER.format(**names, place="stamp_"))
        db.close()
        yield place


@asynccontextmanager
async def upgraded_postgres_place(url: str) -> AsyncIterator[PostgresPlace]:
    """A schema that a later version of the library has upgraded."""
    async with postgres_places(url)() as place:
        store = PostgresStore(place.url, schema=place.name)
        await store.open()
        await store.close()
        schema = postgres_schema(place.name)
        db = await asyncpg.connect(place.url)
        names = {"outbox": schema.outbox, "inbox": schema.inbox, "ledger": schema.ledger, "meta": schema.meta}
        await db.execute(LATER.format(**names, place=f"{place.name}."))
        await db.close()
        yield place


@pytest.mark.parametrize("scenario", SCENARIOS + LEDGER_SCENARIOS, ids=str)
def test_this_version_runs_on_sqlite_tables_of_a_later_one(scenario: Scenario, tmp_path: Path) -> None:
    asyncio.run(run_scenario(scenario, lambda: upgraded_sqlite_place(tmp_path)))


@pytest.mark.parametrize("scenario", (SCENARIOS + LEDGER_SCENARIOS)[::4], ids=str)
def test_this_version_runs_on_postgres_tables_of_a_later_one(scenario: Scenario, postgres: str) -> None:
    asyncio.run(run_scenario(scenario, lambda: upgraded_postgres_place(postgres)))


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_every_file_only_adds(dialect: Dialect) -> None:
    for migration in migrate.migrations(dialect):
        assert not re.search(r"\b(DROP|RENAME|TRUNCATE|DELETE|ALTER COLUMN)\b", migration.text, re.IGNORECASE)


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_the_files_are_numbered_without_gaps(dialect: Dialect) -> None:
    versions = [migration.version for migration in migrate.migrations(dialect)]
    assert versions == list(range(1, len(versions) + 1))


def test_both_dialects_have_the_same_files() -> None:
    def names(dialect: Dialect) -> list[tuple[int, str]]:
        return [(migration.version, migration.name) for migration in migrate.migrations(dialect)]

    assert names("sqlite") == names("postgres")


def test_opening_applies_what_is_missing_and_upgrading_again_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        store = SQLiteStore(f"sqlite:///{tmp_path}/a.db")
        await store.open()
        found = await migrate.status(store)
        assert (list(found.applied), found.pending) == (list(found.known), [])
        assert await migrate.upgrade(store) == []
        await store.close()

    asyncio.run(run())


def test_the_printed_sql_makes_tables_that_a_store_uses_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db = sqlite3.connect(path)
    db.executescript(migrate.sql(sqlite_schema("desk_")))
    db.close()

    async def run() -> None:
        store = SQLiteStore(f"sqlite:///{path}", prefix="desk_")
        await store.open()
        assert (await migrate.status(store)).pending == []
        assert await store.backlog() == 0
        await store.close()

    asyncio.run(run())


def test_two_prefixes_in_one_file_are_two_stores(tmp_path: Path) -> None:
    async def run() -> list[bool]:
        answers = []
        for prefix in ("a_", "b_"):
            store = SQLiteStore(f"sqlite:///{tmp_path}/a.db", prefix=prefix)
            await store.open()
            async with store.begin() as tx:
                answers.append(await tx.first_seen("assign", "m", expires=None))
            await store.close()
        return answers

    assert asyncio.run(run()) == [True, True]


@pytest.mark.parametrize("name", ["", "1a", "a-b", 'a"; DROP TABLE x; --', "ä", "a b", "a\n", "x" * 49])
def test_a_prefix_or_schema_that_is_no_identifier_is_refused(name: str) -> None:
    for made in (sqlite_schema, postgres_schema):
        with pytest.raises(BadConfiguration, match="identifier"):
            made(name)


def test_a_store_without_tables_says_so() -> None:
    with pytest.raises(BadConfiguration, match="no tables"):
        asyncio.run(migrate.upgrade(MemoryStore()))


def test_a_role_without_the_right_to_create_can_use_tables_that_another_has_made(postgres: str) -> None:
    async def run() -> None:
        async with postgres_places(postgres)() as place:
            owner = PostgresStore(place.url, schema=place.name)
            await owner.open()
            role = f"role_{place.name}"
            async with owner.begin() as tx:
                await tx.native.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
                await tx.native.execute(f"GRANT USAGE ON SCHEMA {place.name} TO {role}")
                await tx.native.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {place.name} TO {role}")
            limited = PostgresStore(place.url.replace("stamp@", f"{role}:secret@"), schema=place.name)
            await limited.open()
            assert await limited.backlog() == 0
            await limited.close()
            await owner.close()

    asyncio.run(run())


def test_many_processes_may_create_one_schema_at_the_same_time(postgres: str) -> None:
    async def run() -> None:
        async with postgres_places(postgres)() as place:
            stores = [PostgresStore(place.url, schema=place.name, connections=1) for _ in range(6)]
            await asyncio.gather(*(store.open() for store in stores))
            for store in stores:
                await store.close()

    asyncio.run(run())
