"""Inboxes as they are after very many runs: rows written in bulk, as SQL, and not one hop made."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg  # type: ignore[import-untyped]

from stamp.registry import store_for

DAY = 86_400.0
"""Seconds. The rows expire in a day: nothing prunes them while it is measured."""


async def sqlite(folder: Path, consumers: Mapping[str, str], runs: int) -> None:
    """`<service>.db` for every service, whose inbox remembers `runs` messages of its consumer."""
    for service, consumer in consumers.items():
        inbox = await _tables(f"sqlite:///{folder}/{service}.db")
        with sqlite3.connect(folder / f"{service}.db") as db:
            db.execute("PRAGMA cache_size = -400000")
            db.executemany(f"INSERT INTO {inbox} VALUES (?, ?, ?)", _rows(consumer, runs))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()


async def postgres(url: str, database: str, consumers: Mapping[str, str], runs: int) -> str:
    """A database of this server whose inbox remembers `runs` messages of every consumer; its URL."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"DROP DATABASE IF EXISTS {database}")
    await connection.execute(f"CREATE DATABASE {database}")
    await connection.close()
    target = f"{url.rpartition('/')[0]}/{database}"
    inbox = await _tables(target)
    connection = await asyncpg.connect(target)
    try:
        await connection.execute("SET work_mem = '200MB'")
        for consumer in consumers.values():
            await connection.execute(_FILL.format(inbox=inbox), consumer, time.time() + DAY, runs)
        await connection.execute(f"VACUUM ANALYZE {inbox}")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return target


async def wal_kib(url: str) -> float:
    """What the server has put into its write-ahead log so far, page images included."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
    finally:
        await connection.close()
    return float(found) / 1024


_FILL = """\
INSERT INTO {inbox} SELECT $1, id, $2::float8 + row_number() OVER (ORDER BY id)
FROM (SELECT gen_random_uuid()::text AS id FROM generate_series(1, $3)) AS thrown ORDER BY id"""


async def _tables(url: str) -> str:
    store: Any = store_for(url)
    await store.open()
    await store.close()
    inbox: str = store.schema.inbox
    return inbox


def _rows(consumer: str, runs: int) -> Iterator[tuple[str, str, float]]:
    """In the order of their key, which is how they can be written quickly."""
    expires = time.time() + DAY
    thrown = random.Random(1)
    for number, value in enumerate(sorted(thrown.getrandbits(128) for _ in range(runs))):
        yield consumer, str(UUID(int=value)), expires + number
