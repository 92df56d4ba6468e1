# ruff: noqa: PT012  a transaction is the block that raises
"""What the SQLite store does beyond the contract, and how it meets files that are gone, full or half read."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from brokers.contract import Message, Publication
from stamp.errors import BadConfiguration, StoreUnavailable
from stamp.stores.sqlite import SQLiteStore
from stamp.stores.sqlite_file import path_of

Work = Callable[[SQLiteStore], Awaitable[None]]


def with_store(path: Path, work: Work) -> None:
    """Run `work` on an open store on this file."""

    async def run() -> None:
        store = SQLiteStore(f"sqlite:///{path}", busy_timeout=0.2)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def publication(message_id: str, body: bytes = b"{}") -> Publication:
    return Publication("NEW_TICKET", "TicketCreated", Message(body=body, message_id=message_id))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///tickets.db", Path("tickets.db")),
        ("sqlite:///data/my%20tickets.db", Path("data/my tickets.db")),
        ("sqlite:////var/tickets.db", Path("/var/tickets.db")),
    ],
)
def test_a_url_names_a_relative_file_an_absolute_file_or_memory(url: str, path: Path | None) -> None:
    assert path_of(url) == path


@pytest.mark.parametrize("url", ["sqlite:tickets.db", "sqlite://tickets.db", "mysql:///x", "sqlite:///x.db?mode=ro"])
def test_any_other_url_is_refused_with_the_right_form(url: str) -> None:
    with pytest.raises(BadConfiguration, match=r"sqlite:///relative\.db"):
        SQLiteStore(url)


def test_a_url_whose_variable_was_empty_is_no_database_in_memory() -> None:
    with pytest.raises(BadConfiguration, match="names no file"):
        SQLiteStore("sqlite:///")


def test_a_database_in_memory_needs_no_file() -> None:
    async def run() -> int:
        store = SQLiteStore("sqlite://")
        await store.open()
        async with store.begin() as tx:
            await tx.emit([publication("m")], run="run-1")
        count = await store.backlog()
        await store.close()
        return count

    assert asyncio.run(run()) == 1


def test_what_is_committed_survives_a_power_cut(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        async with store.begin() as tx:
            found = [
                (await (await tx.native.execute(f"PRAGMA {name}")).fetchone() or [None])[0]
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        assert found == ["wal", 2, 1]

    with_store(tmp_path / "a.db", work)


def test_a_missing_folder_is_named_with_its_remedy(tmp_path: Path) -> None:
    async def run() -> None:
        await SQLiteStore(f"sqlite:///{tmp_path}/missing/a.db").open()

    with pytest.raises(StoreUnavailable, match="create the folder"):
        asyncio.run(run())


def test_a_file_that_is_taken_away_is_noticed_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "a.db", tmp_path / "elsewhere.db"

    async def work(store: SQLiteStore) -> None:
        async with store.begin() as tx:
            await tx.emit([publication("m")], run="run-1")
            await tx.native.execute("CREATE TABLE ticket (id text)")
        path.rename(elsewhere)
        with pytest.raises(StoreUnavailable):
            await store.backlog()
        assert not path.exists()
        elsewhere.rename(path)
        assert await store.backlog() == 1

    with_store(path, work)


def test_a_disk_that_is_full_under_a_users_statement_is_the_stores_trouble(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        async with store.begin() as tx:
            await tx.native.execute("CREATE TABLE ticket (body blob)")
        await _limit_pages(store, spare=2)
        with pytest.raises(StoreUnavailable, match="free space"):
            async with store.begin() as tx, tx.savepoint():
                await tx.native.execute("INSERT INTO ticket VALUES (zeroblob(1000000))")
        await _limit_pages(store, spare=10_000)
        async with store.begin() as tx:
            assert await tx.native.execute_fetchall("SELECT * FROM ticket") == []

    with_store(tmp_path / "a.db", work)


def test_a_disk_that_is_full_under_the_outbox_leaves_nothing(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        async with store.begin() as tx:
            await tx.native.execute("CREATE TABLE ticket (id text)")
        await _limit_pages(store, spare=2)
        with pytest.raises(StoreUnavailable, match="free space"):
            async with store.begin() as tx:
                await tx.native.execute("INSERT INTO ticket VALUES ('T-1')")
                await tx.emit([publication("m", b"x" * 1_000_000)], run="run-1")
        await _limit_pages(store, spare=10_000)
        async with store.begin() as tx:
            assert await tx.native.execute_fetchall("SELECT * FROM ticket") == []
        assert await store.backlog() == 0

    with_store(tmp_path / "a.db", work)


async def _limit_pages(store: SQLiteStore, *, spare: int) -> None:
    async with store.begin() as tx:
        ((pages,),) = await tx.native.execute_fetchall("PRAGMA page_count")
        await tx.native.execute_fetchall(f"PRAGMA max_page_count = {pages + spare}")


def test_a_constraint_that_is_checked_at_commit_is_the_users_error(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        async with store.begin() as tx:
            await tx.native.execute("CREATE TABLE expert (id text PRIMARY KEY)")
            await tx.native.execute("CREATE TABLE job (e text REFERENCES expert (id) DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(sqlite3.IntegrityError):
            async with store.begin() as tx:
                await tx.native.execute("INSERT INTO job VALUES ('nobody')")
                await tx.emit([publication("m")], run="run-1")
        assert await store.backlog() == 0

    with_store(tmp_path / "a.db", work)


def test_a_cursor_that_is_half_read_is_the_users_error_and_leaves_nothing(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        async with store.begin() as tx:
            await tx.native.execute("CREATE TABLE ticket (id text)")
        cursor = None
        with pytest.raises(sqlite3.OperationalError, match="in progress"):
            async with store.begin() as tx:
                cursor = await tx.native.execute("INSERT INTO ticket VALUES ('a'), ('b'), ('c') RETURNING id")
                await cursor.fetchone()
        assert cursor is not None
        await cursor.close()
        async with store.begin() as tx:
            assert await tx.native.execute_fetchall("SELECT * FROM ticket") == []

    with_store(tmp_path / "a.db", work)


def test_a_rollback_inside_a_users_statement_is_found_out(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        async with store.begin() as tx:
            await tx.native.execute("CREATE TABLE ticket (id text PRIMARY KEY)")
            await tx.native.execute("INSERT INTO ticket VALUES ('a')")
        from stamp.errors import TransactionHijacked

        with pytest.raises(TransactionHijacked):
            async with store.begin() as tx:
                await tx.native.execute("INSERT OR ROLLBACK INTO ticket VALUES ('a')")

    with_store(tmp_path / "a.db", work)


def test_a_row_factory_of_the_user_does_not_disturb_the_toolkit(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        async with store.begin() as tx:
            tx.native.row_factory = lambda _cursor, row: {"row": row}
            assert await tx.first_seen("assign", "m", expires=None)
            await tx.emit([publication("m")], run="run-1")
        await store.unsent(["m"])
        assert await store.backlog() == 1
        assert len(await store.claim(10, lease=1.0)) == 1

    with_store(tmp_path / "a.db", work)


def test_a_task_that_begins_inside_its_own_transaction_is_told_so_and_does_not_hang(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        async with store.begin():
            with pytest.raises(BadConfiguration, match="already has a transaction open"):
                await store.backlog()

    with_store(tmp_path / "a.db", work)


def test_pruning_lets_hops_in_between(tmp_path: Path) -> None:
    async def work(store: SQLiteStore) -> None:
        async with store.begin() as tx:
            for number in range(1_000):
                await tx.first_seen("assign", f"m{number}", expires=1.0)
        pruning = asyncio.create_task(store.prune(2.0))
        await asyncio.sleep(0)
        async with store.begin():
            assert not pruning.done()
        assert await pruning == 1_000

    with_store(tmp_path / "a.db", work)


OPEN = """
import asyncio, sys
from stamp.stores.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(f"sqlite:///{sys.argv[1]}")
    await store.open()
    async with store.begin() as tx:
        await tx.first_seen("assign", sys.argv[2], expires=None)
    await store.close()

asyncio.run(main())
"""


def test_several_processes_may_create_one_file_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    processes = [subprocess.Popen([sys.executable, "-c", OPEN, str(path), str(number)]) for number in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM stamp_inbox").fetchone() == (4,)
    db.close()
