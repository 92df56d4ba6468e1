"""What `begin` promises: one fate for the user's rows, the inbox and the outbox."""

from __future__ import annotations

import asyncio

from stamp.errors import StampError, TransactionHijacked
from stamp.ports import Transaction
from stamp.stores.conformance.site import Refused, Site, error_of


async def _all_three(site: Site, tx: Transaction, key: str) -> None:
    await tx.first_seen("assign", f"in-{key}", expires=None)
    await site.put(tx, key)
    await tx.emit([site.publication(f"out-{key}")], run="run-1")


async def what_a_block_did_is_there_after_it(site: Site) -> None:
    async with site.store.begin() as tx:
        await _all_three(site, tx, "a")
    assert await site.user_keys() == ["a"]
    assert await site.seen("in-a")
    assert await site.store.backlog() == 1


async def a_block_that_raises_leaves_nothing(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx:
            await _all_three(site, tx, "a")
            raise Refused

    assert isinstance(await error_of(block()), Refused)
    assert await site.user_keys() == []
    assert not await site.seen("in-a")
    assert await site.store.backlog() == 0


async def the_exception_of_a_block_is_passed_on_itself(site: Site) -> None:
    refused = Refused("no free expert")

    async def block() -> None:
        async with site.store.begin():
            raise refused

    assert await error_of(block()) is refused


async def a_cancelled_block_leaves_nothing(site: Site) -> None:
    inside = asyncio.Event()

    async def block() -> None:
        async with site.store.begin() as tx:
            await _all_three(site, tx, "a")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await inside.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await site.user_keys() == []
    assert not await site.seen("in-a")
    assert await site.store.backlog() == 0


async def an_error_of_the_users_own_statement_passes_through(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx:
            await _all_three(site, tx, "a")
            await site.put(tx, "a")

    error = await error_of(block())
    assert error is not None
    assert not isinstance(error, StampError)
    assert await site.user_keys() == []
    assert await site.store.backlog() == 0


async def a_swallowed_error_of_a_statement_never_halves_a_block(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx:
            await _all_three(site, tx, "a")
            assert await error_of(site.put(tx, "a")) is not None

    error = await error_of(block())
    assert error is None or isinstance(error, TransactionHijacked)
    there = error is None
    assert await site.user_keys() == (["a"] if there else [])
    assert await site.seen("in-a") == there
    assert await site.store.backlog() == int(there)


async def the_store_works_again_after_a_block_that_raised(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx:
            await site.put(tx, "lost")
            raise Refused

    assert isinstance(await error_of(block()), Refused)
    async with site.store.begin() as tx:
        await _all_three(site, tx, "kept")
    assert await site.user_keys() == ["kept"]


async def a_transaction_sees_its_own_rows(site: Site) -> None:
    async with site.store.begin() as tx:
        await site.put(tx, "a", "1")
        assert await site.rows.all(tx.native) == {"a": "1"}


async def a_transaction_sees_what_is_committed_before_it(site: Site) -> None:
    async with site.store.begin() as tx:
        await site.put(tx, "a", "1")
    async with site.store.begin() as tx:
        assert await site.rows.all(tx.native) == {"a": "1"}


async def blocks_of_many_tasks_all_commit(site: Site) -> None:
    async def block(number: int) -> None:
        async with site.store.begin() as tx:
            await asyncio.sleep(0)
            await _all_three(site, tx, f"{number:02}")

    await asyncio.gather(*(block(number) for number in range(20)))
    assert await site.user_keys() == [f"{number:02}" for number in range(20)]
    assert await site.store.backlog() == 20


async def blocks_of_two_stores_all_commit(site: Site) -> None:
    async def blocks(store: str) -> None:
        other = await site.another()
        for number in range(5):
            async with other.begin() as tx:
                await _all_three(site, tx, f"{store}{number}")

    await asyncio.gather(blocks("a"), blocks("b"))
    assert len(await site.user_keys()) == 10
    assert await site.store.backlog() == 10


async def an_empty_block_changes_nothing(site: Site) -> None:
    async with site.store.begin():
        pass
    assert await site.user_keys() == []
    assert await site.store.backlog() == 0
