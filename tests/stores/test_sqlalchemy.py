# ruff: noqa: PT012  a transaction is the block that raises
"""The user's own session: pending objects, own factories, failed flushes."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from brokers.contract import Message, Publication
from stamp.errors import BadConfiguration, TransactionHijacked
from stamp.stores.sqlalchemy import SQLAlchemyStore


class Base(DeclarativeBase):
    """The user's tables."""


class Ticket(Base):
    """One of them."""

    __tablename__ = "ticket"
    id: Mapped[str] = mapped_column(primary_key=True)


PUBLICATION = Publication("NEW_TICKET", "TicketCreated", Message(body=b"{}", message_id="m"))
Work = Callable[[SQLAlchemyStore], Awaitable[None]]


class DeskSession(AsyncSession):
    """A session of the user's own making."""


def with_store(folder: Path, work: Work) -> None:
    """Run `work` on an open store whose sessions are the user's own."""

    async def run() -> None:
        engine: AsyncEngine = create_async_engine(f"sqlite+aiosqlite:///{folder}/a.db")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        store = SQLAlchemyStore(engine, session=async_sessionmaker(engine, class_=DeskSession))
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()
            await engine.dispose()

    asyncio.run(run())


async def _tickets(store: SQLAlchemyStore) -> list[str]:
    async with store.begin() as tx:
        return list((await tx.native.scalars(select(Ticket.id))).all())  # type: ignore[union-attr]


def test_the_native_object_is_a_session_of_the_users_own_factory(tmp_path: Path) -> None:
    async def work(store: SQLAlchemyStore) -> None:
        async with store.begin() as tx:
            assert isinstance(tx.native, DeskSession)

    with_store(tmp_path, work)


def test_objects_that_wait_in_the_session_are_committed_with_the_outbox(tmp_path: Path) -> None:
    async def work(store: SQLAlchemyStore) -> None:
        async with store.begin() as tx, tx.savepoint():
            tx.native.add(Ticket(id="T-1"))
            await tx.emit([PUBLICATION], run="run-1")
        assert await _tickets(store) == ["T-1"]
        assert await store.backlog() == 1

    with_store(tmp_path, work)


def test_objects_of_an_undone_savepoint_do_not_come_back_with_the_next(tmp_path: Path) -> None:
    async def work(store: SQLAlchemyStore) -> None:
        async with store.begin() as tx:
            with pytest.raises(ZeroDivisionError):
                async with tx.savepoint():
                    tx.native.add(Ticket(id="T-1"))
                    raise ZeroDivisionError
            async with tx.savepoint():
                tx.native.add(Ticket(id="T-2"))
        assert await _tickets(store) == ["T-2"]

    with_store(tmp_path, work)


def test_a_flush_that_fails_at_the_commit_is_the_users_error(tmp_path: Path) -> None:
    async def work(store: SQLAlchemyStore) -> None:
        for _ in range(2):
            with pytest.raises(IntegrityError):
                async with store.begin() as tx:
                    await tx.emit([PUBLICATION], run="run-1")
                    tx.native.add_all([Ticket(id="T-1"), Ticket(id="T-1")])
        assert await store.backlog() == 0

    with_store(tmp_path, work)


def test_a_flush_that_fails_inside_the_block_is_the_users_error(tmp_path: Path) -> None:
    async def work(store: SQLAlchemyStore) -> None:
        with pytest.raises(IntegrityError):
            async with store.begin() as tx:
                tx.native.add_all([Ticket(id="T-1"), Ticket(id="T-1")])
                await tx.native.flush()
        async with store.begin() as tx:
            with pytest.raises(IntegrityError):
                async with tx.savepoint():
                    tx.native.add_all([Ticket(id="T-1"), Ticket(id="T-1")])
                    await tx.native.flush()
            async with tx.savepoint():
                tx.native.add(Ticket(id="T-2"))
        assert await _tickets(store) == ["T-2"]

    with_store(tmp_path, work)


def test_a_failed_flush_that_was_swallowed_is_no_silent_rollback(tmp_path: Path) -> None:
    async def work(store: SQLAlchemyStore) -> None:
        with pytest.raises(TransactionHijacked, match="the handler went on"):
            async with store.begin() as tx:
                await tx.emit([PUBLICATION], run="run-1")
                tx.native.add_all([Ticket(id="T-1"), Ticket(id="T-1")])
                with pytest.raises(IntegrityError):
                    await tx.native.flush()
        assert await store.backlog() == 0

    with_store(tmp_path, work)


def test_a_url_makes_an_engine_of_the_stores_own(tmp_path: Path) -> None:
    async def run() -> str:
        store = SQLAlchemyStore(f"sqlite+aiosqlite:///{tmp_path}/a.db")
        await store.open()
        async with store.begin() as tx:
            connection = await tx.native.connection()  # type: ignore[union-attr]
            mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
        await store.close()
        return str(mode)

    assert asyncio.run(run()) == "wal"


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x", "sqlite:///a.db"])
def test_a_url_that_sqlalchemy_cannot_use_asynchronously_is_refused(url: str) -> None:
    with pytest.raises(BadConfiguration):
        SQLAlchemyStore(url)


@pytest.mark.parametrize(
    ("module", "driver", "extra"),
    [
        ("stamp.stores.postgres_errors", "asyncpg", "postgres"),
        ("stamp.stores.sqlalchemy_errors", "sqlalchemy.exc", "sqlalchemy"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_the_command_that_installs_it(
    module: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(BadConfiguration, match=rf'pip install "state-stamp\[{extra}\]"'):
        importlib.import_module(module)
