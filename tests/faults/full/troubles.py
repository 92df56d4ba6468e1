"""Servers that die again and again, links that are slow or deaf, with more orders. `make test-faults` runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from brokers.node import Node
from stamp.testing.postgres import PostgresCluster
from tests.faults.account import Account
from tests.faults.conftest import Lines
from tests.faults.play import SQLITE, Play, everywhere, playing, schemas
from tests.faults.proxy import Direction, Proxy, proxied
from tests.faults.test_faults import ASKED
from tests.faults.trouble import reached, under_load
from tests.servers import Server

COUNT = 400
PATIENCE = 100.0
KILLED_AT = (0.15, 0.4, 0.65)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_rabbitmq_that_is_killed_three_times_loses_nothing(
    kind: str, breakable: Node, postgres: str, tmp_path: Path, drawn: Lines
) -> None:
    async def killed(play: Play) -> None:
        await asyncio.to_thread(breakable.flush)
        for share in KILLED_AT:
            await reached(play, share, PATIENCE)
            await asyncio.to_thread(breakable.kill)
            await asyncio.to_thread(breakable.start)

    stores = everywhere(SQLITE if kind == "sqlite" else schemas(postgres))
    scene = playing(broker=breakable.url, stores=stores, folder=tmp_path, count=COUNT)
    account, attempt = asyncio.run(under_load(scene, killed, patience=PATIENCE))
    drawn.append(("RabbitMQ killed 3 times", kind, account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_postgres_that_ends_three_times_loses_nothing(
    how: str, rabbitmq: Server, postgres_faults: PostgresCluster, tmp_path: Path, drawn: Lines
) -> None:
    async def ended(play: Play) -> None:
        for share in KILLED_AT:
            await reached(play, share, PATIENCE)
            await asyncio.to_thread(postgres_faults.kill if how == "kill" else postgres_faults.stop)
            await asyncio.to_thread(postgres_faults.start)

    stores = everywhere(schemas(postgres_faults.url))
    scene = playing(broker=rabbitmq.url, stores=stores, folder=tmp_path, count=COUNT)
    account, attempt = asyncio.run(under_load(scene, ended, patience=PATIENCE))
    drawn.append((f"PostgreSQL {how} 3 times", "postgres", account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)


async def _slowed(proxy: Proxy, play: Play) -> None:
    proxy.pause, proxy.chunk = 0.02, 2000
    await reached(play, 0.6, PATIENCE)
    proxy.pause = 0.0


async def _cut(proxy: Proxy, play: Play) -> None:
    for share in KILLED_AT:
        await reached(play, share, PATIENCE)
        proxy.cut()


def _deafened(direction: Direction) -> Callable[[Proxy, Play], Awaitable[None]]:
    async def deafened(proxy: Proxy, play: Play) -> None:
        proxy.swallow(direction)

    return deafened


LINK_TROUBLES: dict[str, Callable[[Proxy, Play], Awaitable[None]]] = {
    "slow": _slowed,
    "cut": _cut,
    "deaf upwards": _deafened("up"),
    "deaf downwards": _deafened("down"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("trouble", LINK_TROUBLES)
def test_a_link_to_rabbitmq_in_trouble_loses_nothing(
    trouble: str, rabbitmq: Server, tmp_path: Path, drawn: Lines
) -> None:
    async def play_it() -> tuple[Account, int]:
        async with proxied(rabbitmq.url) as (proxy, url):

            async def troubled(play: Play) -> None:
                await LINK_TROUBLES[trouble](proxy, play)

            stores = everywhere(SQLITE)
            scene = playing(broker=rabbitmq.url, through=url, stores=stores, folder=tmp_path, count=COUNT)
            return await under_load(scene, troubled, patience=PATIENCE)

    account, attempt = asyncio.run(play_it())
    drawn.append((f"link to RabbitMQ {trouble}", "sqlite", account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("trouble", ["slow", "cut"])
def test_a_link_to_postgres_in_trouble_loses_nothing(
    trouble: str, rabbitmq: Server, postgres: str, tmp_path: Path, drawn: Lines
) -> None:
    async def play_it() -> tuple[Account, int]:
        async with proxied(postgres) as (proxy, url):

            async def troubled(play: Play) -> None:
                await LINK_TROUBLES[trouble](proxy, play)

            stores = everywhere(schemas(url))
            scene = playing(broker=rabbitmq.url, stores=stores, folder=tmp_path, count=COUNT)
            return await under_load(scene, troubled, patience=PATIENCE)

    account, attempt = asyncio.run(play_it())
    drawn.append((f"link to PostgreSQL {trouble}", "postgres", account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)
