"""A database for each service: files in a folder, or databases on a PostgreSQL server."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

SERVICE = "{service}"

Kind = Literal["sqlite", "postgres"]


class Databases(Protocol):
    """Where each service keeps what it knows. No service sees another's."""

    @property
    def kind(self) -> Kind:
        """What speaks SQL there."""
        ...

    @property
    def template(self) -> str:
        """The URL of a service's database, with `{service}` for its name."""
        ...

    def url(self, service: str) -> str:
        """The same for one service, for `Service.open` and `stamp run --store`."""
        ...

    async def prepare(self, tables: Mapping[str, str]) -> None:
        """Create each service's own tables (SQL by service), as migrations would. What is there stays."""
        ...

    async def clear(self, tables: Mapping[str, str]) -> None:
        """Delete these services' databases."""
        ...

    async def ask(self, service: str, sql: str) -> list[tuple[Any, ...]]:
        """Rows from a service's database."""
        ...


@dataclass(frozen=True, slots=True)
class SQLiteFiles:
    """A file for each service."""

    folder: Path

    @property
    def kind(self) -> Kind:
        return "sqlite"

    @property
    def template(self) -> str:
        return f"sqlite:///{self.folder}/{SERVICE}.db"

    def url(self, service: str) -> str:
        return self.template.replace(SERVICE, service)

    def file(self, service: str) -> Path:
        """Where a service's database is."""
        return self.folder / f"{service}.db"

    async def prepare(self, tables: Mapping[str, str]) -> None:
        for service, sql in tables.items():
            with closing(sqlite3.connect(self.file(service))) as connection:
                connection.executescript(sql)

    async def clear(self, tables: Mapping[str, str]) -> None:
        for service in tables:
            for file in self.folder.glob(f"{service}.db*"):
                file.unlink()

    async def ask(self, service: str, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.file(service)}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A database for each service, `<example>_<service>`, on the server of a URL whose user may create them."""

    server: str
    example: str

    @property
    def kind(self) -> Kind:
        return "postgres"

    @property
    def template(self) -> str:
        return urlunsplit(urlsplit(self.server)._replace(path=f"/{self._name(SERVICE)}"))

    def url(self, service: str) -> str:
        return self.template.replace(SERVICE, service)

    def _name(self, service: str) -> str:
        return f"{self.example}_{service}"

    async def prepare(self, tables: Mapping[str, str]) -> None:
        async with _connected(self.server) as server:
            there = {row[0] for row in await server.fetch("SELECT datname FROM pg_database")}
            for service in tables:
                if self._name(service) not in there:
                    await server.execute(f'CREATE DATABASE "{self._name(service)}"')
        for service, sql in tables.items():
            if sql:  # asyncpg stumbles over an empty query
                async with _connected(self.url(service)) as connection:
                    await connection.execute(sql)

    async def clear(self, tables: Mapping[str, str]) -> None:
        async with _connected(self.server) as server:
            for service in tables:
                await server.execute(f'DROP DATABASE IF EXISTS "{self._name(service)}" WITH (FORCE)')

    async def ask(self, service: str, sql: str) -> list[tuple[Any, ...]]:
        async with _connected(self.url(service)) as connection:
            return [tuple(row) for row in await connection.fetch(sql)]


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    """A connection. Raises `StoreUnavailable`, `BadConfiguration` when the driver is missing."""
    from stamp.stores.postgres_errors import ours_unavailable, without_password  # noqa: PLC0415  loads an extra

    # After postgres_errors, which says what to install when it is missing.
    # isort: split
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        connection = await asyncpg.connect(url)
    except Exception as error:
        raise ours_unavailable(error, without_password(url)) or error from error
    try:
        yield connection
    finally:
        await connection.close()
