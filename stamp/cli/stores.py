"""What commands that look after databases share: which ones, and how to open them without changing them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from stamp.cli import apps, settings
from stamp.cli.problems import not_found, usage
from stamp.ports import Store
from stamp.reading.text import masked
from stamp.registry import store_for

F = TypeVar("F", bound=Callable[..., Any])

SERVICE = "{service}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database, and where in it the toolkit's tables are."""

    url: str
    prefix: str | None = None
    schema: str | None = None

    @property
    def name(self) -> str:
        """The URL without its password."""
        return masked(self.url)

    @property
    def options(self) -> dict[str, Any]:
        """For the adapter; only what was given."""
        given = {"prefix": self.prefix, "schema": self.schema}
        return {name: value for name, value in given.items() if value is not None}

    def exists(self) -> bool:
        """False for a SQLite file that is not there: opening it would create it."""
        if not self.url.lower().startswith("sqlite"):
            return True
        from stamp.stores.sqlite_file import path_of  # noqa: PLC0415  brings the driver

        path = path_of(f"sqlite{self.url[self.url.find('://') :]}")
        return path is not None and path.is_file()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        """The open store, its tables left as they are. Raises `Problem` when there is no such file."""
        if not self.exists():
            raise not_found(f"there is no database file {self.name}", fix="stamp db upgrade creates it")
        async with _open(self.url, {**self.options, "upgrade": False}) as store:
            yield store

    @asynccontextmanager
    async def created(self) -> AsyncIterator[Store]:
        """As `opened`; a SQLite file is created when it is missing."""
        async with _open(self.url, {**self.options, "upgrade": False}) as store:
            yield store


@asynccontextmanager
async def _open(url: str, options: dict[str, Any]) -> AsyncIterator[Store]:
    scheme = url.partition(":")[0].lower()
    wrong = "schema" if scheme.startswith("sqlite") else "prefix" if scheme.startswith("postgres") else None
    if scheme == "memory":
        raise usage("a store in memory has no tables", fix="--store with the URL of a database")
    if wrong in options:
        raise usage(f"--{wrong} has no meaning for {scheme}", fix="SQLite has --prefix, PostgreSQL has --schema")
    store = store_for(url, options=options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def place_options(function: F) -> F:
    """`--store` (repeated, or with {service}), `--app`, `--prefix` and `--schema`."""
    app = settings.option("app", help="Knows the services that {service} stands for.")
    return store_option(app(naming_options(function)))


def naming_options(function: F) -> F:
    """`--prefix` and `--schema`."""
    prefix = click.option("--prefix", metavar="TEXT", help="SQLite: what the toolkit's tables begin with.")
    schema = click.option("--schema", metavar="NAME", help="PostgreSQL: the schema of the toolkit's tables.")
    return prefix(schema(function))


store_option = settings.option(
    "store", multiple=True, default=(), help="A service's database; may be repeated. {service} stands for each name."
)


def places(urls: Sequence[str], app: str | None, *, prefix: str | None, schema: str | None) -> list[Place]:
    """The databases that were named. Raises `Problem` when none was, or when nobody knows what {service} is."""
    found = expanded(urls, apps.optional(app))
    if not found:
        raise usage("which database?", fix='--store URL, STAMP_STORE, or store = "URL" below [tool.stamp]')
    return [Place(url=url, prefix=prefix, schema=schema) for url in found]


def expanded(urls: Sequence[str], app: apps.App) -> list[str]:
    """URLs with each service's name for {service}; without any, the one from pyproject.toml."""
    configured = settings.configured(settings.SETTINGS["store"])
    given = list(urls) or ([configured] if configured else [])
    if any(SERVICE in url for url in given) and not app.services:
        raise usage(f"which services does {SERVICE} stand for?", fix="--app MODULE")
    names = list(app.services) or [""]
    return list(dict.fromkeys(url.replace(SERVICE, name) for url in given for name in names))
