"""What stores promise that have several transactions open at once."""

from __future__ import annotations

import asyncio

from stamp.errors import StoreUnavailable
from stamp.stores.conformance.site import LEASE, Site, error_of


async def a_slow_transaction_holds_up_no_other(site: Site) -> None:
    async with site.store.begin() as slow:
        await slow.first_seen("assign", "slow", expires=None)
        async with site.store.begin() as quick:
            await site.put(quick, "quick")
        assert await site.user_keys() == ["quick"]
        assert await site.store.backlog() == 0


async def a_row_that_commits_late_is_claimed_by_a_later_call(site: Site) -> None:
    async with site.store.begin() as late:
        async with late.savepoint():
            await late.emit([site.publication("early-id-late-commit")], run="run-1")
        await site.emitted("m", run="run-2")
        site.pass_leases()
        assert await site.claimed() == ["m"]
        await site.store.sent(["m"])
    site.pass_leases()
    assert await site.claimed() == ["early-id-late-commit"]


async def a_claim_waits_for_no_open_transaction(site: Site) -> None:
    await site.emitted("m")
    site.pass_leases()
    async with site.store.begin() as tx, tx.savepoint():
        await tx.emit([site.publication("n")], run="run-1")
        async with asyncio.timeout(5):
            assert await site.claimed(await site.another()) == ["m"]


async def pruning_waits_for_no_open_transaction(site: Site) -> None:
    async with site.store.begin() as tx:
        await tx.first_seen("assign", "old", expires=1.0)
    async with site.store.begin() as tx:
        await tx.first_seen("assign", "new", expires=1.0)
        async with asyncio.timeout(5):
            assert await site.store.prune(2.0) == 1


async def a_connection_lost_inside_a_block_is_the_stores_trouble(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx:
            await site.put(tx, "a")
            await site.place.go_away()
            await site.put(tx, "b")

    error = await error_of(block())
    await site.place.come_back()
    assert isinstance(error, StoreUnavailable)
    assert await site.user_keys() == []


async def a_connection_lost_inside_a_savepoint_is_the_stores_trouble(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx, tx.savepoint():
            await site.put(tx, "a")
            await site.place.go_away()
            await site.put(tx, "b")

    error = await error_of(block())
    await site.place.come_back()
    assert isinstance(error, StoreUnavailable)
    assert await site.user_keys() == []


async def a_connection_lost_before_the_commit_leaves_nothing(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx:
            await site.put(tx, "a")
            await tx.emit([site.publication("m")], run="run-1")
            await site.place.go_away()

    error = await error_of(block())
    await site.place.come_back()
    assert isinstance(error, StoreUnavailable)
    assert await site.user_keys() == []
    assert await site.store.backlog() == 0


async def of_many_transactions_that_race_for_a_message_one_is_first(site: Site) -> None:
    async def record() -> bool:
        async with site.store.begin() as tx:
            first = await tx.first_seen("assign", "m", expires=None)
            await asyncio.sleep(0)
            return first

    assert sum(await asyncio.gather(*(record() for _ in range(8)))) == 1


async def rows_and_deletes_of_many_transactions_all_land(site: Site) -> None:
    async def hop(number: int) -> None:
        await site.emitted(f"m{number}", run=f"run-{number}")
        await site.store.sent([f"m{number}"])

    await asyncio.gather(*(hop(number) for number in range(30)))
    await site.store.flush()
    assert await site.store.backlog() == 0
    site.pass_leases()
    assert await site.store.claim(100, lease=LEASE) == []
