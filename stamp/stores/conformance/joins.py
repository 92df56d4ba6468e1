"""What `gather` and `put_arrivals` promise."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from stamp.ports import Store
from stamp.stores.conformance.site import Refused, Site, error_of

BYTES = bytes(range(256))


async def _put(store: Store, name: str, record: bytes, *, join: str = "j", expires: float | None = None) -> None:
    async with store.begin() as tx, tx.savepoint():
        await tx.put_arrivals(join, {name: record}, expires=expires)


async def _gathered(store: Store, join: str = "j") -> Mapping[str, bytes]:
    async with store.begin() as tx, tx.savepoint():
        return dict(await tx.gather(join))


async def _arrive(store: Store, name: str) -> int:
    """As the road does it: look who is there, then note one more; how many were there."""
    async with store.begin() as tx, tx.savepoint():
        before = len(await tx.gather("j"))
        await asyncio.sleep(0)
        await tx.put_arrivals("j", {name: b"x"}, expires=None)
        return before


async def a_join_begins_with_no_arrivals(site: Site) -> None:
    assert await _gathered(site.store) == {}


async def arrivals_are_gathered_byte_for_byte(site: Site) -> None:
    await _put(site.store, "0", BYTES)
    await _put(site.store, "base", b"")
    assert await _gathered(site.store) == {"0": BYTES, "base": b""}


async def arrivals_of_another_join_are_not_gathered(site: Site) -> None:
    await _put(site.store, "0", b"one", join="j")
    await _put(site.store, "0", b"other", join="k")
    assert (await _gathered(site.store, "j"), await _gathered(site.store, "k")) == ({"0": b"one"}, {"0": b"other"})


async def an_arrival_takes_the_place_of_the_one_of_its_name(site: Site) -> None:
    await _put(site.store, "0", b"came")
    await _put(site.store, "0", b"back")
    assert await _gathered(site.store) == {"0": b"back"}


async def several_arrivals_are_written_at_once(site: Site) -> None:
    async with site.store.begin() as tx, tx.savepoint():
        await tx.put_arrivals("j", {"0": b"a", "1": b"b", "join": b"c"}, expires=None)
        assert await tx.gather("j") == {"0": b"a", "1": b"b", "join": b"c"}


async def writing_no_arrival_is_fine(site: Site) -> None:
    async with site.store.begin() as tx, tx.savepoint():
        await tx.put_arrivals("j", {}, expires=None)
    assert await _gathered(site.store) == {}


async def an_arrival_rolls_back_with_its_savepoint(site: Site) -> None:
    async with site.store.begin() as tx:

        async def block() -> None:
            async with tx.savepoint():
                await tx.put_arrivals("j", {"0": b"a"}, expires=None)
                raise Refused

        assert await error_of(block()) is not None
        async with tx.savepoint():
            assert await tx.gather("j") == {}
    assert await _gathered(site.store) == {}


async def an_arrival_that_replaced_another_rolls_back_to_it(site: Site) -> None:
    await _put(site.store, "0", b"came")

    async def block() -> None:
        async with site.store.begin() as tx, tx.savepoint():
            await tx.put_arrivals("j", {"0": b"back"}, expires=None)
            raise Refused

    assert await error_of(block()) is not None
    assert await _gathered(site.store) == {"0": b"came"}


async def another_store_gathers_what_was_committed(site: Site) -> None:
    await _put(site.store, "0", b"a")
    assert await _gathered(await site.another()) == {"0": b"a"}


async def of_arrivals_that_race_each_sees_all_before_it(site: Site) -> None:
    other = await site.another()
    stores = [site.store, other, site.store, other]
    seen = await asyncio.gather(*(_arrive(store, str(number)) for number, store in enumerate(stores)))
    assert sorted(seen) == [0, 1, 2, 3]


async def expired_arrivals_are_pruned(site: Site) -> None:
    await _put(site.store, "0", b"a", expires=100.0)
    await _put(site.store, "1", b"b", expires=200.0)
    await _put(site.store, "2", b"c", expires=None)
    assert await site.store.prune(100.0) == 0
    assert await site.store.prune(100.5) == 1
    assert await _gathered(site.store) == {"1": b"b", "2": b"c"}
