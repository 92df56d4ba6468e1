"""What `Foresight` promises: the same answers, and rows that nobody can tear apart. A store without it passes too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from stamp.errors import StoreUnavailable, TransactionHijacked
from stamp.ports import Foresight, Transaction
from stamp.stores.conformance.site import Refused, Site, error_of


async def _foresee(tx: Transaction, *message_ids: str, consumer: str = "assign") -> None:
    if isinstance(tx, Foresight):
        await tx.foresee(consumer, message_ids)


async def _hop(site: Site, tx: Transaction, key: str, *, writes: bool, error: Exception | None = None) -> bool:
    """One delivery as the road carries it; says whether it was new."""
    async with tx.savepoint():
        if not await tx.first_seen("assign", f"in-{key}", expires=None):
            return False
        if writes:
            await site.put(tx, key)
        await tx.emit([site.publication(f"out-{key}")], run=f"run-{key}")
        if error is not None:
            raise error
        return True


async def _record(site: Site, *message_ids: str) -> None:
    async with site.store.begin() as tx:
        for message_id in message_ids:
            await tx.first_seen("assign", message_id, expires=None)


async def what_is_known_is_known_and_what_is_new_is_new_once(site: Site) -> None:
    await _record(site, "known")
    async with site.store.begin() as tx:
        await _foresee(tx, "known", "new")
        asked = ("known", "new", "new", "unforeseen", "unforeseen")
        answers = [await tx.first_seen("assign", name, expires=None) for name in asked]
        assert answers == [False, True, False, True, False]
    assert [await site.seen(name) for name in ("known", "new", "unforeseen", "never")] == [True, True, True, False]


async def looking_alone_records_nothing(site: Site) -> None:
    async with site.store.begin() as tx:
        await _foresee(tx, "m")
    assert not await site.seen("m")


async def looking_for_one_consumer_says_nothing_of_another(site: Site) -> None:
    await _record(site, "m")
    async with site.store.begin() as tx:
        await _foresee(tx, "m")
        assert await tx.first_seen("notify", "m", expires=None)
    assert await site.seen("m", consumer="notify")


async def a_foreseen_row_is_pruned_at_its_time(site: Site) -> None:
    async with site.store.begin() as tx:
        await _foresee(tx, "m")
        await tx.first_seen("assign", "m", expires=100.0)
    assert await site.store.prune(100.0) == 0
    assert await site.store.prune(100.5) == 1


async def savepoints_that_write_and_that_do_not_keep_their_order(site: Site) -> None:
    async with site.store.begin() as tx:
        await tx.emit([site.publication("before")], run="run-1")
        await _foresee(tx, *(f"in-{key}" for key in "abcd"))
        for key in "abcd":
            assert await _hop(site, tx, key, writes=key in "bd")
        await tx.emit([site.publication("after")], run="run-1")
    assert await site.user_keys() == ["b", "d"]
    assert [await site.seen(f"in-{key}") for key in "abcd"] == [True] * 4
    site.pass_leases()
    assert await site.claimed() == ["before", "out-a", "out-b", "out-c", "out-d", "after"]


async def a_savepoint_that_raises_takes_its_own_rows_only(site: Site) -> None:
    async with site.store.begin() as tx:
        await _foresee(tx, *(f"in-{key}" for key in "abcdef"))
        for key in "abcdef":
            error = Refused() if key in "be" else None
            assert (await error_of(_hop(site, tx, key, writes=key in "def", error=error))) is error
    assert await site.user_keys() == ["d", "f"]
    assert [await site.seen(f"in-{key}") for key in "abcdef"] == [True, False, True, True, False, True]
    site.pass_leases()
    assert await site.claimed() == ["out-a", "out-c", "out-d", "out-f"]


async def a_message_that_was_undone_is_new_again(site: Site) -> None:
    for writes in (False, True):
        key = f"a{writes}"
        async with site.store.begin() as tx:
            await _foresee(tx, f"in-{key}")
            assert await error_of(_hop(site, tx, key, writes=writes, error=Refused())) is not None
            assert await _hop(site, tx, key, writes=writes)
            assert not await _hop(site, tx, key, writes=writes)
    assert await site.user_keys() == ["aTrue"]
    assert await site.store.backlog() == 2


async def a_block_that_raises_after_its_savepoints_leaves_nothing(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx:
            await _foresee(tx, "in-a", "in-b")
            await _hop(site, tx, "a", writes=False)
            await _hop(site, tx, "b", writes=True)
            raise Refused

    assert isinstance(await error_of(block()), Refused)
    assert await site.user_keys() == []
    assert [await site.seen("in-a"), await site.seen("in-b")] == [False, False]
    assert await site.store.backlog() == 0


async def _hijacked(site: Site, *acts: Callable[[Any], Awaitable[None]]) -> None:
    """Three good hops, then one that ends the transaction by itself."""
    async with site.store.begin() as tx:
        await _foresee(tx, *(f"in-{key}" for key in "abcd"))
        for key in "abc":
            await _hop(site, tx, key, writes=key == "b")
        async with tx.savepoint():
            await tx.first_seen("assign", "in-d", expires=None)
            await site.put(tx, "d")
            for act in acts:
                await act(tx.native)
            await tx.emit([site.publication("out-d")], run="run-d")


async def _is_torn(site: Site, key: str, outbox: list[str]) -> bool:
    return await site.seen(f"in-{key}") != (f"out-{key}" in outbox)


async def a_handlers_own_commit_tears_no_neighbour_apart(site: Site) -> None:
    assert isinstance(await error_of(_hijacked(site, site.rows.commit)), TransactionHijacked)
    site.pass_leases()
    outbox = await site.claimed()
    assert [await _is_torn(site, key, outbox) for key in "abc"] == [False, False, False]
    assert "b" not in await site.user_keys() or "out-b" in outbox


async def a_handlers_own_rollback_takes_everything(site: Site) -> None:
    assert isinstance(await error_of(_hijacked(site, site.rows.rollback)), TransactionHijacked)
    assert await site.user_keys() == []
    assert [await site.seen(f"in-{key}") for key in "abcd"] == [False] * 4
    assert await site.store.backlog() == 0


async def beginning_another_transaction_hides_nothing_of_a_foreseen_batch(site: Site) -> None:
    error = await error_of(_hijacked(site, site.rows.rollback, site.rows.begin))
    assert isinstance(error, TransactionHijacked)
    assert [await site.seen(f"in-{key}") for key in "abcd"] == [False] * 4
    assert await site.store.backlog() == 0


async def of_two_that_foresee_one_message_one_handles_it(site: Site) -> None:
    async def handle(name: str, *, writes: bool) -> bool:
        store = await site.another()
        while True:
            try:
                async with store.begin() as tx:
                    await _foresee(tx, "m")
                    await asyncio.sleep(0)
                    async with tx.savepoint():
                        first = await tx.first_seen("assign", "m", expires=None)
                        if first and writes:
                            await site.put(tx, name)
                        if first:
                            await tx.emit([site.publication(name)], run="run-1")
            except StoreUnavailable:
                continue
            return first

    answers = await asyncio.gather(handle("a", writes=True), handle("b", writes=False))
    assert sorted(answers) == [False, True]
    site.pass_leases()
    assert await site.claimed() == ["a" if answers[0] else "b"]
    assert await site.user_keys() == (["a"] if answers[0] else [])
