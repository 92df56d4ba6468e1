"""Servers die, links fail, disks fill up and processes race, with orders under way: nothing is lost, nothing doubled.

Each test counts what was started, ended, held, doubled and missing; `full/` has more of each, and for longer.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from brokers.node import Node
from stamp.testing.postgres import PostgresCluster
from tests.faults.account import Account
from tests.faults.conftest import Lines
from tests.faults.orders import SERVICES
from tests.faults.places import SQLitePlace
from tests.faults.play import SQLITE, Play, everywhere, playing, schemas
from tests.faults.proxy import proxied
from tests.faults.trouble import doubling, reached, twin_crew, twins, under_load
from tests.servers import Server

COUNT = 120
ASKED = 2
"""The attempt that the bank asks for by itself: a fault must not spend another."""


def test_a_rabbitmq_that_is_killed_and_restarted_loses_nothing(breakable: Node, tmp_path: Path, drawn: Lines) -> None:
    async def killed(play: Play) -> None:
        await asyncio.to_thread(breakable.flush)
        await asyncio.to_thread(breakable.kill)
        await asyncio.to_thread(breakable.start)

    scene = playing(broker=breakable.url, stores=everywhere(SQLITE), folder=tmp_path, count=COUNT)
    account, attempt = asyncio.run(under_load(scene, killed))
    drawn.append(("RabbitMQ killed", "sqlite", account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)


def test_a_postgres_that_is_killed_and_restarted_pauses_the_services_and_spends_no_attempt(
    rabbitmq: Server, postgres_faults: PostgresCluster, tmp_path: Path, drawn: Lines
) -> None:
    async def killed(play: Play) -> None:
        await asyncio.to_thread(postgres_faults.kill)
        await asyncio.to_thread(postgres_faults.start)

    stores = everywhere(schemas(postgres_faults.url))
    scene = playing(broker=rabbitmq.url, stores=stores, folder=tmp_path, count=COUNT)
    account, attempt = asyncio.run(under_load(scene, killed))
    drawn.append(("PostgreSQL killed", "postgres", account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)


def test_a_link_that_is_cut_again_and_again_loses_nothing(rabbitmq: Server, tmp_path: Path, drawn: Lines) -> None:
    async def play_it() -> tuple[Account, int]:
        async with proxied(rabbitmq.url) as (proxy, url):

            async def cut(play: Play) -> None:
                for share in (0.2, 0.35, 0.5):
                    proxy.cut()
                    await reached(play, share)

            stores = everywhere(SQLITE)
            scene = playing(broker=rabbitmq.url, through=url, stores=stores, folder=tmp_path, count=COUNT)
            return await under_load(scene, cut)

    account, attempt = asyncio.run(play_it())
    drawn.append(("link cut", "sqlite", account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_two_processes_race_for_twins_of_every_message_and_each_is_handled_once(
    kind: str, rabbitmq: Server, postgres: str, tmp_path: Path, drawn: Lines
) -> None:
    async def raced(play: Play) -> None:
        twinning = asyncio.create_task(doubling(play))
        await reached(play, 0.6)
        twins(play)[0].kill()
        twins(play)[0].start()
        await reached(play, 1.0)
        twinning.cancel()
        with suppress(asyncio.CancelledError):
            await twinning

    stores = everywhere(SQLITE if kind == "sqlite" else schemas(postgres))
    scene = playing(broker=rabbitmq.url, stores=stores, folder=tmp_path, count=COUNT)
    account, _ = asyncio.run(under_load(scene, raced, crew=twin_crew("bank")))
    drawn.append(("twins raced for", kind, account))
    assert account == Account.sound(COUNT)


def test_a_full_disk_pauses_the_service_until_there_is_room(rabbitmq: Server, tmp_path: Path, drawn: Lines) -> None:
    async def filled(play: Play) -> None:
        bank = play.places["bank"]
        assert isinstance(bank, SQLitePlace)
        await play.said("bank", "is full")
        assert await play.state() != "all done"
        bank.path.with_suffix(".roomy").touch()

    crew = (("shop", ("shop", "depot")), ("bank", ("bank",)))
    scene = playing(broker=rabbitmq.url, stores=everywhere(SQLITE), folder=tmp_path, count=COUNT)
    account, attempt = asyncio.run(under_load(scene, filled, crew=crew, plans={"bank": {"pages": 16}}))
    drawn.append(("disk full", "sqlite", account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)


def test_a_database_that_somebody_else_locks_pauses_the_service(rabbitmq: Server, tmp_path: Path, drawn: Lines) -> None:
    async def locked(play: Play) -> None:
        bank = play.places["bank"]
        assert isinstance(bank, SQLitePlace)
        with closing(sqlite3.connect(bank.path, isolation_level=None, timeout=10)) as db:
            db.execute("BEGIN IMMEDIATE")
            await play.said("bank", "database is locked")
            db.execute("ROLLBACK")

    crew = (("shop", ("shop", "depot")), ("bank", ("bank",)))
    scene = playing(broker=rabbitmq.url, stores=everywhere(SQLITE), folder=tmp_path, count=COUNT)
    account, attempt = asyncio.run(under_load(scene, locked, crew=crew, plans={"bank": {"busy": 0.2}}))
    drawn.append(("database locked", "sqlite", account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)


def test_a_process_that_was_only_just_started_again_is_stopped_well(rabbitmq: Server, tmp_path: Path) -> None:
    async def play_it() -> tuple[Account, int | None]:
        async with playing(broker=rabbitmq.url, stores=everywhere(SQLITE), folder=tmp_path, count=1) as play:
            alone = play.child("alone", SERVICES)
            alone.start()
            await play.complete()
            alone.kill()
            alone.start()
            return await play.ended(), alone.ended

    assert asyncio.run(play_it()) == (Account.sound(1), 0)


def test_a_service_that_is_told_to_stop_under_load_leaves_nothing_undone(
    rabbitmq: Server, tmp_path: Path, drawn: Lines
) -> None:
    async def stopped(play: Play) -> None:
        others = play.children[1]
        others.signal(signal.SIGTERM)
        assert await others.wait(40.0) == 0, others.tail()
        others.start()

    scene = playing(broker=rabbitmq.url, stores=everywhere(SQLITE), folder=tmp_path, count=COUNT)
    account, attempt = asyncio.run(under_load(scene, stopped))
    drawn.append(("service stopped", "sqlite", account))
    assert (account, attempt) == (Account.sound(COUNT), ASKED)
