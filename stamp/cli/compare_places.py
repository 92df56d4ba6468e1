"""Databases for a comparison: each service has one of its own in each style, and those that were made here go again."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stamp.cli.output import talk
from stamp.cli.problems import usage
from stamp.cli.shipped import MEMORY, module
from stamp.comparing.lab import Urls
from stamp.comparing.variants import Variant

KINDS = ("sqlite", "postgres", "memory")
STYLE, SERVICE = "{style}", "{service}"

Tables = Mapping[str, str]
"""Each service's own tables as SQL."""


@contextmanager
def places(store: str, styles: Sequence[Variant], tables: Tables) -> Iterator[Urls]:
    """Where each service keeps its rows in each style, for the time of the block. Raises `Problem`."""
    ddl = {one.name: {name: tables.get(name, "") for name in one.services} for one in styles}
    match store:
        case "memory":
            yield lambda _style, _service: MEMORY
        case "sqlite":
            with _files(ddl) as urls:
                yield urls
        case "postgres":
            with _server() as server, _on_server(server, ddl) as urls:
                yield urls
        case _:
            yield _template(store, tables)


@contextmanager
def _files(ddl: Mapping[str, Tables]) -> Iterator[Urls]:
    folder = Path(tempfile.mkdtemp(prefix="stamp-compare-"))
    try:
        databases = {style: module("databases").SQLiteFiles(folder / style) for style in ddl}
        for style in ddl:
            (folder / style).mkdir()
        asyncio.run(_prepared(databases, ddl))
        yield lambda style, service: str(databases[style].url(service))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _server() -> Iterator[str]:
    if url := os.environ.get("POSTGRES_URL"):
        yield url
        return
    from stamp.testing.postgres import PostgresCluster  # noqa: PLC0415  most comparisons need no cluster

    talk("starting a private PostgreSQL cluster")
    with PostgresCluster() as cluster:
        yield cluster.url


@contextmanager
def _on_server(server: str, ddl: Mapping[str, Tables]) -> Iterator[Urls]:
    made = {style: module("databases").PostgresServer(server, f"compare_{os.getpid()}_{style}") for style in ddl}
    try:
        asyncio.run(_prepared(made, ddl))
        yield lambda style, service: str(made[style].url(service))
    finally:
        asyncio.run(_cleared(made, ddl))


async def _prepared(databases: Mapping[str, Any], ddl: Mapping[str, Tables]) -> None:
    for style, tables in ddl.items():
        await databases[style].prepare(tables)


async def _cleared(databases: Mapping[str, Any], ddl: Mapping[str, Tables]) -> None:
    for style, tables in ddl.items():
        await databases[style].clear(tables)


def _template(store: str, tables: Tables) -> Urls:
    if tables:
        raise usage(f"a shipped example makes its databases itself, not in {store}", fix=f"--store {'|'.join(KINDS)}")
    if STYLE not in store or SERVICE not in store:
        raise usage(
            f"every service needs a database of its own in each style, and {store} is one place",
            fix=f"--store with {STYLE} and {SERVICE} in the URL, such as sqlite:///{STYLE}-{SERVICE}.db",
        )
    return lambda style, service: store.replace(STYLE, style).replace(SERVICE, service)
