"""What `open` and `close` promise, and what happens while the database is away."""

from __future__ import annotations

from stamp.errors import NotRunning, StoreUnavailable
from stamp.ports import Store
from stamp.stores.conformance.site import Site, error_of, names_a_fix


async def _block(store: Store) -> None:
    async with store.begin():
        pass


async def opening_and_closing_twice_is_no_error(site: Site) -> None:
    await site.store.open()
    await site.store.close()
    await site.store.close()


async def a_store_that_is_opened_again_finds_its_rows(site: Site) -> None:
    await site.emitted("m")
    await site.store.close()
    await site.store.open()
    assert await site.store.backlog() == 1


async def a_store_that_is_not_open_says_so(site: Site) -> None:
    store = site.closed()
    for work in (_block(store), store.claim(1, lease=1.0), store.backlog()):
        error = await error_of(work)
        assert isinstance(error, NotRunning)
        assert names_a_fix(error)


async def closing_a_store_that_was_never_opened_is_no_error(site: Site) -> None:
    await site.closed().close()


async def a_database_that_is_away_is_unavailable_and_not_an_error_of_the_handler(site: Site) -> None:
    await site.place.go_away()
    error = await error_of(_block(site.store))
    await site.place.come_back()
    assert isinstance(error, StoreUnavailable)
    assert names_a_fix(error)


async def every_call_says_when_the_database_is_away(site: Site) -> None:
    await site.emitted("m")
    await site.store.sent(["m"])
    await site.place.go_away()
    store = site.store
    calls = [store.flush(), store.claim(1, lease=1.0), store.unsent(["m"]), store.backlog(), store.prune(0.0)]
    errors = [await error_of(call) for call in calls]
    await site.place.come_back()
    assert [type(error) for error in errors] == [StoreUnavailable] * len(calls)


async def opening_says_when_the_database_is_away(site: Site) -> None:
    store = site.closed()
    await site.place.go_away()
    error = await error_of(store.open())
    await site.place.come_back()
    assert isinstance(error, StoreUnavailable)
    await store.open()
    assert await store.backlog() == 0


async def a_database_that_comes_back_is_used_again_and_nothing_is_lost(site: Site) -> None:
    await site.emitted("m", "n")
    await site.store.sent(["m"])
    await site.place.go_away()
    assert await error_of(site.store.flush()) is not None
    assert await error_of(_block(site.store)) is not None
    await site.place.come_back()
    async with site.store.begin() as tx:
        await site.put(tx, "a")
    await site.store.flush()
    assert await site.user_keys() == ["a"]
    assert await (await site.another()).backlog() == 1
