"""A handler that commits or rolls back by itself is found out, and nothing is committed in silence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from stamp.errors import TransactionHijacked
from stamp.stores.conformance.site import Refused, Site, error_of, names_a_fix

Act = Callable[[Any], Awaitable[None]]


async def _block(site: Site, *acts: Act, then: Exception | None = None) -> None:
    async with site.store.begin() as tx:
        await tx.first_seen("assign", "in", expires=None)
        await site.put(tx, "a")
        for act in acts:
            await act(tx.native)
        if then is not None:
            raise then
        await tx.emit([site.publication("out")], run="run-1")


async def _savepoint(site: Site, *acts: Act, then: Exception | None = None) -> None:
    async with site.store.begin() as tx, tx.savepoint():
        await tx.first_seen("assign", "in", expires=None)
        await site.put(tx, "a")
        for act in acts:
            await act(tx.native)
        if then is not None:
            raise then
        await tx.emit([site.publication("out")], run="run-1")


async def a_handlers_own_commit_is_found_out(site: Site) -> None:
    error = await error_of(_block(site, site.rows.commit))
    assert isinstance(error, TransactionHijacked)
    assert names_a_fix(error)
    assert await site.store.backlog() == 0


async def a_handlers_own_rollback_is_found_out(site: Site) -> None:
    error = await error_of(_block(site, site.rows.rollback))
    assert isinstance(error, TransactionHijacked)
    assert await site.user_keys() == []
    assert await site.store.backlog() == 0


async def a_commit_inside_a_savepoint_is_found_out(site: Site) -> None:
    assert isinstance(await error_of(_savepoint(site, site.rows.commit)), TransactionHijacked)
    assert await site.store.backlog() == 0


async def a_rollback_inside_a_savepoint_is_found_out(site: Site) -> None:
    assert isinstance(await error_of(_savepoint(site, site.rows.rollback)), TransactionHijacked)
    assert await site.user_keys() == []
    assert await site.store.backlog() == 0


async def beginning_another_transaction_hides_nothing(site: Site) -> None:
    error = await error_of(_block(site, site.rows.commit, site.rows.begin))
    assert isinstance(error, TransactionHijacked)
    assert await site.store.backlog() == 0


async def beginning_another_transaction_inside_a_savepoint_hides_nothing(site: Site) -> None:
    error = await error_of(_savepoint(site, site.rows.rollback, site.rows.begin))
    assert isinstance(error, TransactionHijacked)
    assert await site.store.backlog() == 0


async def raising_after_a_commit_hides_nothing(site: Site) -> None:
    error = await error_of(_block(site, site.rows.commit, then=Refused()))
    assert isinstance(error, TransactionHijacked)
    assert isinstance(error.__cause__, Refused)


async def raising_after_a_commit_inside_a_savepoint_hides_nothing(site: Site) -> None:
    assert isinstance(await error_of(_savepoint(site, site.rows.commit, then=Refused())), TransactionHijacked)


async def no_savepoint_opens_in_a_transaction_that_was_ended(site: Site) -> None:
    errors: list[BaseException | None] = []

    async def neighbour(tx: Any) -> None:
        async with tx.savepoint():
            await site.put(tx, "neighbour")

    async def block() -> None:
        async with site.store.begin() as tx:
            await site.rows.rollback(tx.native)
            errors.append(await error_of(neighbour(tx)))

    assert isinstance(await error_of(block()), TransactionHijacked)
    assert isinstance(errors[0], TransactionHijacked)
    assert await site.user_keys() == []


async def the_store_works_again_after_a_hijack(site: Site) -> None:
    for act in (site.rows.commit, site.rows.rollback):
        assert isinstance(await error_of(_savepoint(site, site.rows.rollback, act)), TransactionHijacked)
    async with site.store.begin() as tx:
        await site.put(tx, "kept")
        await tx.emit([site.publication("out")], run="run-1")
    assert await site.user_keys() == ["kept"]
    assert await site.store.backlog() == 1
