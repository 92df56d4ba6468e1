"""A service dies by SIGKILL at a point of a message's life, is started again, and nothing is lost or done twice.

The points here are where a crash costs most; `full/` has all of them, on both databases.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.account import Account
from tests.faults.conftest import Lines
from tests.faults.matrix import ORDERS, crashed
from tests.faults.play import SQLITE, everywhere, schemas
from tests.faults.points import POINTS, Point
from tests.servers import Server

HERE = (
    "forward before handler",
    "forward after commit",
    "forward before confirm",
    "forward before ack",
    "forward after arrival",
    "start after commit",
    "relay after claim",
)


@pytest.mark.parametrize("point", [None, *map(Point.parse, HERE)], ids=str)
def test_a_service_on_sqlite_that_dies_loses_and_doubles_nothing(
    point: Point | None, rabbitmq: Server, tmp_path: Path, drawn: Lines
) -> None:
    account = asyncio.run(crashed(point, broker=rabbitmq.url, stores=everywhere(SQLITE), folder=tmp_path))
    drawn.append((str(point or "no crash"), "sqlite", account))
    assert account == Account.sound(ORDERS)


@pytest.mark.parametrize("point", [*map(Point.parse, HERE[1:])], ids=str)
def test_a_service_on_postgres_that_dies_loses_and_doubles_nothing(
    point: Point, rabbitmq: Server, postgres: str, tmp_path: Path, drawn: Lines
) -> None:
    stores = everywhere(schemas(postgres))
    account = asyncio.run(crashed(point, broker=rabbitmq.url, stores=stores, folder=tmp_path))
    drawn.append((str(point), "postgres", account))
    assert account == Account.sound(ORDERS)


def test_every_point_named_here_exists() -> None:
    assert set(HERE) <= {str(point) for point in POINTS}


@pytest.mark.parametrize(
    ("sabotage", "point", "found"),
    [
        # Not `before ack`: the first burst that is acknowledged may be arrivals at the join, which leave no row.
        ("no-inbox", "forward after forget", "doubled"),
        ("no-outbox", "forward after commit", "missing"),
        ("forgets-early", "forward before publish", "missing"),
        ("acks-early", "forward before commit", "missing"),
    ],
)
def test_the_account_finds_a_toolkit_that_breaks_its_promise(
    sabotage: str, point: str, found: str, rabbitmq: Server, tmp_path: Path
) -> None:
    broken = crashed(
        Point.parse(point),
        broker=rabbitmq.url,
        stores=everywhere(SQLITE),
        folder=tmp_path,
        sabotage=sabotage,
        nth=1,  # the first that anything follows from is an order's payment
        patience=3.0,
    )
    account = asyncio.run(broken)
    assert getattr(account, found) > 0
