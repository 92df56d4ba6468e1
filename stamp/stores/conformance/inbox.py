"""What `first_seen` and `prune` promise."""

from __future__ import annotations

import asyncio

from stamp.ports import Store
from stamp.stores.conformance.site import Refused, Site, error_of


async def _record(store: Store, message_id: str, *, consumer: str = "assign", expires: float | None = None) -> bool:
    async with store.begin() as tx:
        return await tx.first_seen(consumer, message_id, expires=expires)


async def a_message_is_first_seen_once(site: Site) -> None:
    assert [await _record(site.store, "m") for _ in range(3)] == [True, False, False]


async def a_message_is_first_seen_once_within_one_transaction(site: Site) -> None:
    async with site.store.begin() as tx:
        assert [await tx.first_seen("assign", "m", expires=None) for _ in range(2)] == [True, False]


async def another_consumer_sees_the_same_message_for_the_first_time(site: Site) -> None:
    assert await _record(site.store, "m", consumer="assign")
    assert await _record(site.store, "m", consumer="notify")


async def another_store_knows_what_was_seen(site: Site) -> None:
    assert await _record(site.store, "m")
    assert not await _record(await site.another(), "m")


async def a_rolled_back_message_is_first_seen_again(site: Site) -> None:
    async def block() -> None:
        async with site.store.begin() as tx:
            await tx.first_seen("assign", "m", expires=None)
            raise Refused

    assert await error_of(block()) is not None
    assert await _record(site.store, "m")


async def of_two_stores_that_race_one_is_first(site: Site) -> None:
    other = await site.another()
    for number in range(5):
        answers = await asyncio.gather(_record(site.store, f"m{number}"), _record(other, f"m{number}"))
        assert sorted(answers) == [False, True]


async def an_expired_row_is_pruned_and_the_message_is_new_again(site: Site) -> None:
    await _record(site.store, "m", expires=100.0)
    assert await site.store.prune(100.5) == 1
    assert await _record(site.store, "m")


async def a_row_is_kept_until_its_time_has_passed(site: Site) -> None:
    await _record(site.store, "m", expires=100.0)
    assert await site.store.prune(100.0) == 0
    assert not await _record(site.store, "m")


async def a_row_without_an_end_is_kept(site: Site) -> None:
    await _record(site.store, "m", expires=None)
    assert await site.store.prune(1e12) == 0
    assert not await _record(site.store, "m")


async def pruning_is_bounded_and_takes_the_oldest_first(site: Site) -> None:
    async with site.store.begin() as tx:
        for number in range(5):
            await tx.first_seen("assign", f"m{number}", expires=100.0 - number)
    assert await site.store.prune(1_000.0, limit=2) == 2
    assert [await site.seen(f"m{number}") for number in range(5)] == [True, True, True, False, False]


async def pruning_says_how_many_went(site: Site) -> None:
    async with site.store.begin() as tx:
        for number in range(450):
            await tx.first_seen("assign", f"m{number}", expires=1.0)
    assert [await site.store.prune(2.0, limit=400), await site.store.prune(2.0), await site.store.prune(2.0)] == [
        400,
        50,
        0,
    ]


async def a_second_record_does_not_move_the_end(site: Site) -> None:
    await _record(site.store, "m", expires=100.0)
    await _record(site.store, "m", expires=None)
    assert await site.store.prune(101.0) == 1
