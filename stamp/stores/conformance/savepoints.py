"""What `Transaction.savepoint` promises: neighbours in one transaction do not hurt each other."""

from __future__ import annotations

import asyncio

from stamp.ports import Transaction
from stamp.stores.conformance.site import Refused, Site, error_of


async def _hop(site: Site, tx: Transaction, key: str, *, error: BaseException | None = None) -> None:
    async with tx.savepoint():
        await tx.first_seen("assign", f"in-{key}", expires=None)
        await site.put(tx, key)
        await tx.emit([site.publication(f"out-{key}")], run=f"run-{key}")
        if error is not None:
            raise error


async def a_savepoint_that_raises_undoes_its_own_rows_only(site: Site) -> None:
    async with site.store.begin() as tx:
        await _hop(site, tx, "a")
        assert await error_of(_hop(site, tx, "b", error=Refused())) is not None
        await _hop(site, tx, "c")
    assert await site.user_keys() == ["a", "c"]
    assert [await site.seen(f"in-{key}") for key in "abc"] == [True, False, True]
    site.pass_leases()
    assert await site.claimed() == ["out-a", "out-c"]


async def the_exception_of_a_savepoint_is_passed_on_itself(site: Site) -> None:
    refused = Refused("no free expert")
    async with site.store.begin() as tx:
        assert await error_of(_hop(site, tx, "a", error=refused)) is refused


async def a_cancelled_savepoint_is_undone(site: Site) -> None:
    async with site.store.begin() as tx:
        await _hop(site, tx, "a")
        try:
            await _hop(site, tx, "b", error=asyncio.CancelledError())
        except asyncio.CancelledError:
            await _hop(site, tx, "c")
    assert await site.user_keys() == ["a", "c"]
    assert not await site.seen("in-b")
    assert await site.store.backlog() == 2


async def a_failed_statement_in_a_savepoint_does_not_hurt_the_neighbours(site: Site) -> None:
    async with site.store.begin() as tx:
        await _hop(site, tx, "a")
        assert await error_of(_hop(site, tx, "a")) is not None
        await _hop(site, tx, "b")
    assert await site.user_keys() == ["a", "b"]
    assert await site.store.backlog() == 2


async def an_undone_savepoint_can_be_played_again(site: Site) -> None:
    async with site.store.begin() as tx:
        assert await error_of(_hop(site, tx, "a", error=Refused())) is not None
        await _hop(site, tx, "a")
    assert await site.user_keys() == ["a"]
    assert await site.seen("in-a")
    assert await site.store.backlog() == 1


async def a_block_that_raises_undoes_its_savepoints_too(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx:
            await _hop(site, tx, "a")
            raise Refused

    assert isinstance(await error_of(block()), Refused)
    assert await site.user_keys() == []
    assert not await site.seen("in-a")
    assert await site.store.backlog() == 0


async def savepoints_do_not_nest(site: Site) -> None:
    async with site.store.begin() as tx, tx.savepoint():
        assert await error_of(_hop(site, tx, "inner")) is not None
        await site.put(tx, "outer")
    assert await site.user_keys() == ["outer"]


async def rows_keep_their_order_across_savepoints(site: Site) -> None:
    async with site.store.begin() as tx:
        await tx.emit([site.publication("1")], run="run-1")
        async with tx.savepoint():
            await tx.emit([site.publication("2")], run="run-1")
        await tx.emit([site.publication("3")], run="run-1")
        async with tx.savepoint():
            await tx.emit([site.publication("4")], run="run-1")
    site.pass_leases()
    assert await site.claimed() == ["1", "2", "3", "4"]


async def a_row_written_before_a_savepoint_survives_its_undoing(site: Site) -> None:
    async with site.store.begin() as tx:
        await tx.emit([site.publication("before")], run="run-1")
        assert await error_of(_hop(site, tx, "a", error=Refused())) is not None
    site.pass_leases()
    assert await site.claimed() == ["before"]
