"""The toolkit's tables are made, looked at, pruned and printed from the command line."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path

import pytest

from stamp.stores.conformance.bookkeeping import row, write
from stamp.stores.sqlite import SQLiteStore
from tests.cli.desk import Desk

STORE = ("--store", "sqlite:///desk.db")


def tables(path: str) -> set[str]:
    with sqlite3.connect(path) as db:
        return {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


async def _handled(url: str, count: int, expires: float | None) -> None:
    store = SQLiteStore(url)
    await store.open()
    async with store.begin() as tx:
        for number in range(count):
            await tx.first_seen("queue", f"{expires}-{number}", expires=expires)
    await store.close()


def filled(count: int, *, expires: float | None) -> None:
    asyncio.run(_handled("sqlite:///desk.db", count, expires))


def test_upgrade_says_what_it_applied_and_the_second_time_nothing(desk: Desk) -> None:
    assert desk.document("db", "upgrade", *STORE)["items"] == [
        {"store": "sqlite:///desk.db", "applied": [1, 2, 3], "versions": [1, 2, 3]}
    ]
    assert desk.document("db", "upgrade", *STORE)["items"][0]["applied"] == []
    assert "nothing" in desk.call("db", "upgrade", *STORE).stdout


def test_status_of_a_database_without_our_tables_is_exit_1_and_creates_nothing(desk: Desk) -> None:
    sqlite3.connect("desk.db").execute("CREATE TABLE mine (id)")
    result = desk.call("db", "status", *STORE, "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["items"][0]["pending"]) == (1, [1, 2, 3])
    assert tables("desk.db") == {"mine"}
    assert "stamp db upgrade" in result.stderr


@pytest.mark.parametrize("words", [("status",), ("prune",)], ids=str)
def test_a_file_that_is_not_there_is_exit_4_and_is_not_created(desk: Desk, folder: Path, words: tuple[str]) -> None:
    for url in ("sqlite:///typo.db", "sqlite+aiosqlite:///typo.db"):
        assert desk.call("db", *words, "--store", url).exit_code == 4
    assert not (folder / "typo.db").exists()


def test_status_counts_what_the_inbox_holds_and_what_of_it_has_expired(desk: Desk) -> None:
    filled(3, expires=time.time() - 1)
    filled(2, expires=time.time() + 1000)
    filled(1, expires=None)
    (item,) = desk.document("db", "status", *STORE)["items"]
    assert (item["inbox"], item["expired"], item["without_end"], item["outbox"]) == (6, 3, 1, 0)
    assert item["outbox_oldest_s"] is None


def test_status_tells_how_far_the_relay_is_behind(desk: Desk) -> None:
    assert desk.call("db", "upgrade", *STORE).exit_code == 0
    with sqlite3.connect("desk.db") as db:
        db.execute(
            "INSERT INTO stamp_outbox (message_id, run, exchange, routing_key, mandatory, properties, body, created_at,"
            " lease_until, lease_by) VALUES ('m', 'r', 'X', 'k', 1, '{}', '', ?, 0, '')",
            (time.time() - 90,),
        )
    (item,) = desk.document("db", "status", *STORE)["items"]
    assert item["outbox"] == 1
    assert item["outbox_oldest_s"] >= 90


def test_prune_deletes_at_most_the_limit_of_what_has_expired(desk: Desk) -> None:
    filled(5, expires=time.time() - 1)
    filled(2, expires=time.time() + 1000)
    assert desk.document("db", "prune", *STORE, "--limit", "2")["items"] == [
        {"store": "sqlite:///desk.db", "pruned": 2, "left": 3}
    ]
    assert desk.document("db", "status", *STORE)["items"][0]["inbox"] == 5


def test_prune_all_repeats_until_nothing_expired_is_left(desk: Desk) -> None:
    filled(2500, expires=time.time() - 1)
    filled(1, expires=None)
    result = desk.call("db", "prune", *STORE, "--all")
    assert (result.exit_code, result.stderr) == (0, "2500 rows pruned\n")
    assert desk.document("db", "status", *STORE)["items"][0]["inbox"] == 1


def test_a_dry_run_of_prune_counts_and_deletes_nothing(desk: Desk) -> None:
    filled(5, expires=time.time() - 1)
    assert desk.call("db", "prune", *STORE, "--limit", "3", "--dry-run").stderr == "3 rows would be pruned\n"
    assert desk.document("db", "status", *STORE)["items"][0]["expired"] == 5


async def _ended(count: int) -> None:
    store = SQLiteStore("sqlite:///desk.db")
    await store.open()
    await write(store, row("goes on"), *(row(f"run-{number}", expires=1.0) for number in range(count)))
    await store.close()


def test_runs_whose_time_has_come_are_counted_and_pruned_like_messages(desk: Desk) -> None:
    filled(5, expires=time.time() - 1)
    asyncio.run(_ended(3))
    (item,) = desk.document("db", "status", *STORE)["items"]
    assert (item["ledger"], item["ledger_expired"]) == (4, 3)
    for words in (("--dry-run",), ()):
        found = desk.document("db", "prune", *STORE, "--limit", "4", *words)["items"]
        assert found == [{"store": "sqlite:///desk.db", "pruned": 7, "left": 1}]
    (item,) = desk.document("db", "status", *STORE)["items"]
    assert (item["inbox"], item["ledger"], item["ledger_expired"]) == (1, 1, 0)


def test_what_print_shows_for_sqlite_makes_the_tables_by_hand(desk: Desk) -> None:
    text = desk.call("db", "print", "--dialect", "sqlite", "--prefix", "our_").stdout
    for _ in range(2):
        sqlite3.connect("desk.db").executescript(text)
    assert {"our_inbox", "our_outbox", "our_meta"} <= tables("desk.db")
    assert desk.call("db", "status", *STORE, "--prefix", "our_").exit_code == 0
    assert desk.call("db", "status", *STORE).exit_code == 1


def test_print_names_the_schema_of_postgresql(desk: Desk) -> None:
    text = desk.call("db", "print", "--dialect", "postgres", "--schema", "flow").stdout
    assert 'CREATE TABLE IF NOT EXISTS "flow".inbox' in text


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--store", "memory:"),
        ("status", "--store", "sqlite:///{service}.db"),
        ("upgrade", *STORE, "--schema", "x"),
        ("print", "--dialect", "sqlite", "--schema", "x"),
        ("print", "--dialect", "postgres", "--prefix", "x"),
    ],
    ids=" ".join,
)
def test_what_can_not_be_meant_is_exit_2(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk.call("db", *words).exit_code == 2


def test_a_database_out_of_reach_is_exit_69(desk: Desk) -> None:
    assert desk.call("db", "upgrade", "--store", "sqlite:////no/such/folder/desk.db").exit_code == 69


def test_service_in_a_url_stands_for_every_service_of_the_app(desk: Desk) -> None:
    words = ("--store", "sqlite:///{service}.db", "--app", "app", "-o", "name")
    names = [f"sqlite:///{name}.db" for name in ("assignment", "printing", "notification")]
    assert desk.call("db", "upgrade", *words).stdout.split() == names
    assert desk.call("db", "status", *words).stdout.split() == names


def test_the_database_may_come_from_the_environment_or_the_project_file(
    desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pyproject.toml").write_text('[tool.stamp]\nstore = "sqlite:///project.db"\n')
    assert desk.call("db", "upgrade", "-o", "name").stdout == "sqlite:///project.db\n"
    monkeypatch.setenv("STAMP_STORE", "sqlite:///environment.db")
    assert desk.call("db", "upgrade", "-o", "name").stdout == "sqlite:///environment.db\n"


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg"])
def test_the_tables_on_postgresql_are_made_looked_at_and_pruned(desk: Desk, postgres: str, scheme: str) -> None:
    place = ("--store", postgres.replace("postgresql", scheme, 1), "--schema", f"cli_{len(scheme)}")
    assert desk.call("db", "status", *place).exit_code == 1
    assert desk.document("db", "upgrade", *place)["items"][0]["applied"] == [1, 2, 3]
    assert desk.document("db", "upgrade", *place)["items"][0]["applied"] == []
    assert desk.document("db", "prune", *place)["items"][0]["left"] == 0
    assert desk.document("db", "status", *place)["items"][0]["pending"] == []
