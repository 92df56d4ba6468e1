"""Inboxes and ledgers as they are after very many runs: rows written in bulk, as SQL, and not one hop made."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]

from stamp.ids import inbox_key, run_id
from stamp.ports import LedgerRow
from stamp.registry import store_for
from stamp.stores.ledger_sql import COLUMNS
from stamp.stores.sql import Schema, sqlite_schema

LedgerValues = tuple[Any, ...]
"""A row of the ledger as the database has it."""

DAY = 86_400.0
"""Seconds. The rows expire in a day: nothing prunes them while it is measured."""

PACE = 0.01
"""Seconds from one run to the next: a million of them began within the last three hours."""


async def sqlite(folder: Path, consumers: Mapping[str, str], runs: int) -> None:
    """`<service>.db` for every service, whose inbox remembers `runs` messages of its consumer."""
    for service, consumer in consumers.items():
        schema = await _tables(f"sqlite:///{folder}/{service}.db")
        _insert(folder / f"{service}.db", f"{schema.inbox} VALUES (?, ?, ?)", _rows(consumer, runs))


async def postgres(url: str, database: str, consumers: Mapping[str, str], runs: int) -> str:
    """A database of this server whose inbox remembers `runs` messages of every consumer; its URL."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"DROP DATABASE IF EXISTS {database}")
    await connection.execute(f"CREATE DATABASE {database}")
    await connection.close()
    target = f"{url.rpartition('/')[0]}/{database}"
    schema = await _tables(target)
    async with _loading(target, schema.inbox) as connection:
        for consumer in consumers.values():
            await connection.copy_records_to_table("inbox", schema_name=schema.place, records=_rows(consumer, runs))
    return target


def ledger_row(file: Path) -> LedgerValues:
    """The one row of the ledger in a SQLite file, as it is stored."""
    schema = sqlite_schema("stamp_")
    with closing(sqlite3.connect(file)) as db:
        (row,) = db.execute(f"SELECT {COLUMNS} FROM {schema.ledger}").fetchall()
    return tuple(row)


async def sqlite_ledger(file: Path, row: LedgerValues, runs: int) -> None:
    """A ledger that knows of `runs` runs which ended as that of `row` did."""
    schema = await _tables(f"sqlite:///{file}")
    _insert(file, f"{schema.ledger} ({COLUMNS}) VALUES ({', '.join('?' * len(row))})", _alike(row, runs))


async def postgres_ledger(target: str, row: LedgerValues, runs: int) -> None:
    """The same in a database on a server."""
    schema = await _tables(target)
    async with _loading(target, schema.ledger) as connection:
        await connection.copy_records_to_table(
            "ledger", schema_name=schema.place, records=_alike(row, runs), columns=LedgerRow._fields
        )


async def wal_kib(url: str) -> float:
    """What the server has put into its write-ahead log so far, page images included."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
    finally:
        await connection.close()
    return float(found) / 1024


def _insert(file: Path, into: str, values: Iterator[tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA cache_size = -400000")
        db.executemany(f"INSERT INTO {into}", values)
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@asynccontextmanager
async def _loading(target: str, table: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that fills a table; then the planner knows of its rows, and no log of them is left to be written."""
    connection = await asyncpg.connect(target)
    try:
        yield connection
        await connection.execute(f"VACUUM ANALYZE {table}")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _tables(url: str) -> Schema:
    store: Any = store_for(url)
    await store.open()
    await store.close()
    schema: Schema = store.schema
    return schema


def _alike(row: LedgerValues, runs: int) -> Iterator[LedgerValues]:
    """Rows of runs that ended as one did, in the order in which they began."""
    sample = LedgerRow._make(row)
    thrown = random.Random(2)
    for started in _beginnings(runs):
        run = run_id(started, thrown.randbytes(10))
        record = bytes(sample.record).replace(sample.run.encode(), run.encode())
        yield tuple(
            sample._replace(
                run=run,
                started=started,
                deadline=started + 2 * DAY,
                updated=started + 1,
                ended=started + 1,
                expires=started + 3 * DAY,
                record=record,
            )
        )


def _beginnings(runs: int) -> Iterator[float]:
    now = time.time()
    return (now - (runs - number) * PACE for number in range(runs))


def _rows(consumer: str, runs: int) -> Iterator[tuple[str, str, float]]:
    """One message of each run, in the order in which the runs began; all of them have ended."""
    thrown = random.Random(1)
    for started in _beginnings(runs):
        run = run_id(started, thrown.randbytes(10))
        yield consumer, inbox_key(run, str(UUID(int=thrown.getrandbits(128)))), started + DAY
