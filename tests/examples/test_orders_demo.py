"""The shipped orders, on every broker and database: what fails in its place leaves nothing behind, the rest is done."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from common.databases import Databases, PostgresServer
from orders.app import EXAMPLE

from tests.examples.killing import kill_at_random
from tests.examples.playing import Demo, account_of, demo, expected_of, expected_rows, found, played
from tests.servers import Server

EXPECTED = expected_of("orders")
PART = 150
"""Orders of the file that run under kills: some of them fail in each place."""

LAST = "notification is down, after the pivot"
"""The one place to fail in that doesn't turn an order back."""


@contextmanager
def databases_on(url: str) -> Iterator[Databases]:
    """The example's databases on a PostgreSQL server, gone afterwards."""
    databases = PostgresServer(url, EXAMPLE.name)
    try:
        yield databases
    finally:
        asyncio.run(databases.clear(EXAMPLE.ddl))


@pytest.fixture
def on_postgres(postgres: str) -> Iterator[Databases]:
    with databases_on(postgres) as databases:
        yield databases


@pytest.fixture(scope="module", params=["memory sqlite", "rabbitmq sqlite", "rabbitmq postgres"])
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Demo, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("demo")
    broker, store = request.param.split()
    options = []
    if broker == "rabbitmq":
        server: Server = request.getfixturevalue("rabbitmq")
        options = ["--replace", "--broker", server.url]
    if store == "sqlite":
        yield played(folder, *options, example="orders")
        return
    url: str = request.getfixturevalue("postgres")
    with databases_on(url) as databases:
        yield played(folder, *options, "--store", url, example="orders", databases=databases)


def test_every_order_is_accounted_for(outcome: tuple[Demo, dict[str, Any]]) -> None:
    assert account_of(outcome[1], EXPECTED) == EXPECTED["account"]


def test_every_claim_about_the_books_holds(outcome: tuple[Demo, dict[str, Any]]) -> None:
    assert [(claim["text"], claim["against"]) for claim in outcome[1]["books"]] == [
        (text, []) for text in EXPECTED["claims"]
    ]


def test_the_five_databases_hold_what_is_expected(outcome: tuple[Demo, dict[str, Any]]) -> None:
    assert found(outcome[0], EXPECTED) == expected_rows(EXPECTED)


def fails_in(order: dict[str, str]) -> list[str]:
    """The declared shares that an order belongs to."""
    shares = EXPECTED["shares"].items()
    return [
        name
        for name, share in shares
        if (
            order[share["member"]].endswith(share["ends"]) if "ends" in share else order[share["member"]] == share["is"]
        )
    ]


def orders_in(path: Path) -> list[list[str]]:
    """Where each order of a file fails."""
    return [fails_in(json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def test_the_shares_that_fail_are_in_the_file() -> None:
    counted = Counter(name for places in orders_in(EXAMPLE.files[0]) for name in places)
    assert counted == {name: share["lines"] for name, share in EXPECTED["shares"].items()}


def test_random_kills_leave_the_books_balanced_on_sqlite(rabbitmq: Server, tmp_path: Path) -> None:
    _survives(tmp_path, "--broker", rabbitmq.url, databases=None)


def test_random_kills_leave_the_books_balanced_on_postgres(
    rabbitmq: Server, postgres: str, on_postgres: Databases, tmp_path: Path
) -> None:
    _survives(tmp_path, "--broker", rabbitmq.url, "--store", postgres, databases=on_postgres)


def _survives(tmp_path: Path, *options: str, databases: Databases | None) -> None:
    part = tmp_path / "part.jsonl"
    with EXAMPLE.files[0].open(encoding="utf-8") as file:
        part.write_text("".join(islice(file, PART)), "utf-8")
    seed = Random().randrange(10**6)
    given = ("-o", "json", "--replace", "--input", str(part), *options)
    with demo(tmp_path, *given, example="orders", databases=databases) as running:
        running.until_started()
        kills = kill_at_random(running, Random(seed))
        code, out = running.finish()
    told = f"seed {seed}, killed {kills}\n{out}\n{''.join(running.talk)}"
    assert code == 0, told
    account, places = json.loads(out), orders_in(part)
    held = sum(LAST in place for place in places)
    completed = sum(not place for place in places)
    assert len(kills) >= 3, told
    assert (account["accounted"], account["balanced"]) == (True, True), told
    assert (account["completed"], account["held"]) == (completed, held), told
    assert account["compensated"] == PART - completed - held > 0, told


def test_a_database_out_of_reach_is_named_without_its_password(tmp_path: Path) -> None:
    with demo(tmp_path, "--store", "postgresql://me:secret@127.0.0.1:1/db", example="orders") as running:
        code, out = running.finish()
    talk = "".join(running.talk)
    assert (code, out) == (69, "")
    assert "postgresql://me:***@127.0.0.1:1/db" in talk
    assert "secret" not in talk


def test_an_example_that_is_written_for_sqlite_refuses_postgres(tmp_path: Path) -> None:
    with demo(tmp_path, "--store", "postgres") as running:
        code, _ = running.finish()
    assert code == 2
    assert "the example tickets is written for sqlite" in "".join(running.talk)
