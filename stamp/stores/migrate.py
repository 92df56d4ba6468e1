"""Numbered plain SQL files, applied in order. Additive only, so that older code runs on newer tables.

`upgrade` and `status` take an open store; `sql` needs none and is what a database administrator applies by hand.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

from stamp.errors import BadConfiguration
from stamp.stores.sql import Dialect, Schema

_FILE = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql", re.ASCII)

Execute = Callable[[str, Sequence[Any]], Awaitable[Sequence[Sequence[Any]]]]


class Migratable(Protocol):
    """A store whose tables these files describe."""

    @property
    def schema(self) -> Schema: ...

    def altering(self) -> AbstractAsyncContextManager[Execute]:
        """A transaction in which nobody else migrates; commits when the block ends."""
        ...


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name, its text with `{inbox}`, `{prefix}` and the like still in it."""

    version: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """What the tables have (`applied`) and what this library knows (`known`): numbers of files, in order."""

    applied: Sequence[int]
    known: Sequence[int]

    @property
    def pending(self) -> Sequence[int]:
        """Files that the tables lack. Numbers that only a newer library knows are no concern of this one."""
        return [version for version in self.known if version not in self.applied]


@cache
def migrations(dialect: Dialect) -> tuple[Migration, ...]:
    """The files of a dialect that ship with this version of the library, in order."""
    folder = files("stamp.stores").joinpath("migrations", dialect)
    found = [
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


def statements(migration: Migration, schema: Schema) -> list[str]:
    """The file's statements with this schema's names in them, without comments."""
    text = migration.text.format(
        inbox=schema.inbox,
        outbox=schema.outbox,
        joins=schema.joins,
        ledger=schema.ledger,
        meta=schema.meta,
        prefix=schema.place,
        schema=schema.place,
    )
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [part.strip() for part in bare.split(";") if part.strip()]


def sql(schema: Schema) -> str:
    """Everything `upgrade` would run on an empty database, to be read or applied by hand."""
    parts = [*_foundation(schema)]
    for migration in migrations(schema.dialect):
        parts += statements(migration, schema)
        parts.append(re.sub(r"[$?]1", str(migration.version), schema.record))
    return ";\n\n".join(parts) + ";\n"


async def upgrade(store: object) -> Sequence[int]:
    """Apply what is missing, all of it in one transaction; the numbers that were applied. Idempotent."""
    target = migratable(store)
    schema = target.schema
    async with target.altering() as execute:
        await _prepare(execute, schema)
        pending = Status(await _applied(execute, schema), _known(schema)).pending
        for migration in migrations(schema.dialect):
            if migration.version in pending:
                await _apply(execute, migration, schema)
    return pending


async def status(store: object) -> Status:
    """Which files the tables have and which this library knows. Creates nothing."""
    target = migratable(store)
    async with target.altering() as execute:
        found = await execute(target.schema.has_meta, (target.schema.meta,))
        applied = await _applied(execute, target.schema) if found else []
        return Status(applied, _known(target.schema))


async def _prepare(execute: Execute, schema: Schema) -> None:
    # Asked first: a role without CREATE rights can then use tables that somebody else has made.
    if await execute(schema.has_meta, (schema.meta,)):
        return
    for statement in _foundation(schema):
        await execute(statement, ())


async def _apply(execute: Execute, migration: Migration, schema: Schema) -> None:
    for statement in statements(migration, schema):
        await execute(statement, ())
    await execute(schema.record, (migration.version,))


async def _applied(execute: Execute, schema: Schema) -> list[int]:
    return [row[0] for row in await execute(schema.versions, ())]


def _known(schema: Schema) -> list[int]:
    return [migration.version for migration in migrations(schema.dialect)]


def _foundation(schema: Schema) -> list[str]:
    place = [f'CREATE SCHEMA IF NOT EXISTS "{schema.place}"'] if schema.dialect == "postgres" else []
    return [*place, schema.create_meta]


def migratable(store: Any) -> Migratable:
    """The store as one that has tables. Raises `BadConfiguration` otherwise."""
    if hasattr(store, "altering"):
        return store  # type: ignore[no-any-return]
    raise BadConfiguration(f"{type(store).__name__} has no tables to migrate", fix="name a database store")
