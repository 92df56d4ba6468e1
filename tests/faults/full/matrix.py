"""Every point at which a service can die, on both databases. Named without `test_`: `make test-faults` runs it."""

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

EVERY_POINT = pytest.mark.parametrize("point", [None, *POINTS], ids=str)


@EVERY_POINT
def test_a_service_on_sqlite_that_dies_loses_and_doubles_nothing(
    point: Point | None, rabbitmq: Server, tmp_path: Path, drawn: Lines
) -> None:
    account = asyncio.run(crashed(point, broker=rabbitmq.url, stores=everywhere(SQLITE), folder=tmp_path))
    drawn.append((str(point or "no crash"), "sqlite", account))
    assert account == Account.sound(ORDERS)


@EVERY_POINT
def test_a_service_on_postgres_that_dies_loses_and_doubles_nothing(
    point: Point | None, rabbitmq: Server, postgres: str, tmp_path: Path, drawn: Lines
) -> None:
    stores = everywhere(schemas(postgres))
    account = asyncio.run(crashed(point, broker=rabbitmq.url, stores=stores, folder=tmp_path))
    drawn.append((str(point or "no crash"), "postgres", account))
    assert account == Account.sound(ORDERS)
