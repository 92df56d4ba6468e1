"""`stamp db`: the toolkit's tables in the services' databases."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from stamp.cli import output, settings
from stamp.cli.command import command, group
from stamp.cli.link import run_async
from stamp.cli.problems import NO, OK, usage
from stamp.cli.stores import Place, place_options, places
from stamp.reading.text import ago

CHUNK = 1000
"""Rows of each table that one call deletes."""
EVERY = 2.0
"""Seconds between two remarks on how far it is."""


@group("db", "stamp db upgrade --store sqlite:///assignment.db", "stamp db print --dialect postgres")
def db() -> None:
    """The toolkit's tables in the services' databases: versions, rows, what is left over."""


@command(
    "upgrade",
    "stamp db upgrade --store sqlite:///assignment.db",
    "stamp db upgrade --store 'sqlite:///{service}.db' --app app -o json",
    group=db,
)
@place_options
@settings.output_option()
def upgrade(*, store: Sequence[str], app: str | None, prefix: str | None, schema: str | None, form: str) -> None:
    """Create the toolkit's tables, or bring them up to date; tell what was applied.

    Running it again changes nothing. Older services go on working on newer tables. Services do the same when they
    start; this is for roles that may not, and for doing it before a deploy.
    """
    found = [run_async(_upgraded(place)) for place in places(store, app, prefix=prefix, schema=schema)]
    _show(
        form,
        "upgraded",
        found,
        ("STORE", "APPLIED", "NOW"),
        lambda item: (item["store"], _numbers(item["applied"]) or "nothing", max(item["versions"])),
    )


async def _upgraded(place: Place) -> dict[str, Any]:
    from stamp.stores import migrate  # noqa: PLC0415

    async with place.created() as store:
        applied = await migrate.upgrade(store)
        now = await migrate.status(store)
    return {"store": place.name, "applied": list(applied), "versions": list(now.applied)}


@command(
    "status",
    "stamp db status --store sqlite:///assignment.db",
    "stamp db status --store sqlite:///assignment.db -o json",
    group=db,
)
@place_options
@settings.output_option()
def status(*, store: Sequence[str], app: str | None, prefix: str | None, schema: str | None, form: str) -> int:
    """Show versions and rows: what the inbox holds, what of it has expired, how far the relay is behind, and how many
    runs the ledger has.

    Exit 1 when tables lack a version that this library needs. Changes nothing.
    """
    now = time.time()
    found = [run_async(_surveyed(place, now)) for place in places(store, app, prefix=prefix, schema=schema)]
    _show(
        form,
        "stores",
        found,
        ("STORE", "VERSIONS", "PENDING", "INBOX", "EXPIRED", "OUTBOX", "OLDEST", "LEDGER"),
        lambda item: (
            item["store"],
            _numbers(item["versions"]) or "none",
            _numbers(item["pending"]) or "none",
            item["inbox"],
            item["expired"],
            item["outbox"],
            "" if item["outbox_oldest_s"] is None else ago(item["outbox_oldest_s"]),
            item["ledger"],
        ),
    )
    lacking = [item["store"] for item in found if item["pending"]]
    for name in lacking:
        output.talk(f"{name} lacks tables or columns: stamp db upgrade")
    return NO if lacking else OK


async def _surveyed(place: Place, now: float) -> dict[str, Any]:
    from stamp.stores.survey import survey  # noqa: PLC0415

    async with place.opened() as store:
        seen = await survey(store, now=now)
    return {
        "store": place.name,
        "versions": list(seen.status.applied),
        "pending": list(seen.status.pending),
        "inbox": seen.inbox,
        "expired": seen.expired,
        "without_end": seen.kept,
        "outbox": seen.outbox,
        "outbox_oldest_s": None if seen.oldest is None else round(now - seen.oldest, 3),
        "ledger": seen.ledger,
        "ledger_expired": seen.ledger_expired,
    }


@command(
    "prune",
    "stamp db prune --store sqlite:///assignment.db --all",
    "stamp db prune --store sqlite:///assignment.db --dry-run",
    group=db,
)
@place_options
@click.option(
    "--limit", type=click.IntRange(1), default=CHUNK, show_default=True, help="At most so many of each table."
)
@click.option("--all", "everything", is_flag=True, help="Repeat until nothing expired is left.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@settings.output_option()
def prune(
    *,
    store: Sequence[str],
    app: str | None,
    prefix: str | None,
    schema: str | None,
    limit: int,
    everything: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Delete inbox rows whose run is past its deadline and a day: no duplicate of them can matter any more. And ledger
    rows of ended runs, once their time has come.

    Works in small transactions, so that services go on; run it from a timer, once a day is plenty. Rows of
    workflows without a deadline have no end and stay.
    """
    found = []
    for place in places(store, app, prefix=prefix, schema=schema):
        most = None if everything else limit
        found.append(run_async(_counted(place, most) if dry_run else _pruned(place, most)))
    _show(
        form, "pruned", found, ("STORE", "PRUNED", "LEFT"), lambda item: (item["store"], item["pruned"], item["left"])
    )
    total = sum(item["pruned"] for item in found)
    output.talk(f"{total} rows {'would be ' if dry_run else ''}pruned")


async def _counted(place: Place, most: int | None) -> dict[str, Any]:
    seen = await _surveyed(place, time.time())
    tables = (seen["expired"], seen["ledger_expired"])
    would = sum(expired if most is None else min(most, expired) for expired in tables)
    return {"store": place.name, "pruned": would, "left": sum(tables) - would}


async def _pruned(place: Place, most: int | None) -> dict[str, Any]:
    from stamp.stores.survey import survey  # noqa: PLC0415

    now = time.time()
    told = time.monotonic()
    gone = 0
    room = most
    async with place.opened() as store:
        while room is None or room > 0:
            asked = CHUNK if room is None else min(CHUNK, room)
            done = await store.prune(now, limit=asked)
            gone += done
            if done < asked:
                break
            room = None if room is None else room - asked
            if time.monotonic() - told > EVERY:
                told = time.monotonic()
                output.talk(f"{place.name}: {gone} rows pruned so far")
        left = await survey(store, now=now)
    return {"store": place.name, "pruned": gone, "left": left.expired + left.ledger_expired}


@command("print", "stamp db print --dialect sqlite", "stamp db print --dialect postgres --schema stamp", group=db)
@click.option("--dialect", type=click.Choice(("sqlite", "postgres")), required=True, help="Whose SQL.")
@click.option("--prefix", metavar="TEXT", help="SQLite: what the names of the tables begin with. [default stamp_]")
@click.option("--schema", metavar="NAME", help="PostgreSQL: the schema of the tables. [default stamp]")
@settings.output_option("table", "json")
def print_sql(*, dialect: str, prefix: str | None, schema: str | None, form: str) -> None:
    """Print the SQL that `stamp db upgrade` runs on an empty database, to be read or applied by hand.

    Every statement may run again. Afterwards services need no right to create anything.
    """
    from stamp.stores import migrate  # noqa: PLC0415
    from stamp.stores.sql import postgres_schema, sqlite_schema  # noqa: PLC0415

    if dialect == "sqlite":
        _check(schema, "--schema is for PostgreSQL", "--prefix")
        made = sqlite_schema("stamp_" if prefix is None else prefix)
    else:
        _check(prefix, "--prefix is for SQLite", "--schema")
        made = postgres_schema("stamp" if schema is None else schema)
    text = migrate.sql(made)
    item = {"dialect": dialect, "place": made.place, "sql": text}
    output.show(form, "sql", [item], name=lambda one: str(one["dialect"]), human=lambda: output.data(text))


def _check(given: str | None, what: str, instead: str) -> None:
    if given is not None:
        raise usage(what, fix=instead)


def _show(
    form: str,
    kind: str,
    items: Sequence[dict[str, Any]],
    headers: Sequence[str],
    cells: Callable[[dict[str, Any]], Sequence[object]],
) -> None:
    output.show(
        form,
        kind,
        items,
        name=lambda item: str(item["store"]),
        human=lambda: output.table(headers, [cells(item) for item in items]),
    )


def _numbers(versions: Sequence[int]) -> str:
    return ", ".join(str(version) for version in versions)
