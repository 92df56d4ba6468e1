"""What stores promise of the ledger that have several transactions open at once."""

from __future__ import annotations

import asyncio

from stamp.stores.conformance.bookkeeping import add, keeper, listed, read, row, write
from stamp.stores.conformance.site import Site


async def _read_while(site: Site, held: list[str], *orders: list[str]) -> list[asyncio.Task[None]]:
    """Hold some runs while others ask for theirs, and see them wait; the tasks of those others, free to go on."""

    async def ask(order: list[str]) -> None:
        async with site.store.begin() as tx, tx.savepoint():
            await add(tx, order[0], order[1:])

    async with site.store.begin() as tx, tx.savepoint():
        await add(tx, held[0], held[1:])
        tasks = [asyncio.create_task(ask(order)) for order in orders]
        for number in range(20):  # as many round trips as they need to get to their locks, and more
            await read(site.store, f"nobody's-{number}")
        assert not any(task.done() for task in tasks)
    return tasks


async def a_transaction_that_reads_a_run_of_an_open_one_waits_and_sees_what_it_wrote(site: Site) -> None:
    await write(site.store, row("known", record=b"0"))
    for run in ("known", "new"):
        async with asyncio.timeout(5):
            await asyncio.gather(*await _read_while(site, [run], [run], ["other", run]))
        assert await read(site.store, run) == {run: b"2"}


async def runs_are_locked_in_one_order_whatever_order_they_are_given_in(site: Site) -> None:
    runs = [f"run-{number}" for number in range(9)]
    for middle in runs[1:-1]:
        async with asyncio.timeout(5):
            await asyncio.gather(*await _read_while(site, [middle], runs, runs[::-1]))


async def a_transaction_that_reads_other_runs_waits_for_none(site: Site) -> None:
    await write(site.store, row("a", record=b"0"), row("b", record=b"0"))
    async with site.store.begin() as slow, slow.savepoint():
        await add(slow, "a")
        async with asyncio.timeout(5), site.store.begin() as quick, quick.savepoint():
            await add(quick, "b")
            await quick.gather("a")
        assert await read(site.store, "b") == {"b": b"1"}


async def a_join_of_the_same_name_is_another_lock(site: Site) -> None:
    async with site.store.begin() as tx, tx.savepoint():
        await tx.gather("a")
        async with asyncio.timeout(5):
            assert await read(site.store, "a") == {}


async def a_list_waits_for_no_open_transaction_and_shows_what_is_committed(site: Site) -> None:
    await write(site.store, row("a"))
    async with site.store.begin() as tx, tx.savepoint():
        await keeper(tx).write_runs([row("a", status="held"), row("b")])
        async with asyncio.timeout(5):
            assert await listed(site.store) == ["a"]
            assert await listed(site.store, statuses=["held"]) == []
    assert await listed(site.store) == ["b", "a"]


async def pruning_the_ledger_waits_for_no_open_transaction(site: Site) -> None:
    await write(site.store, row("a", expires=1.0), row("b", expires=1.0))
    async with site.store.begin() as tx, tx.savepoint():
        await keeper(tx).write_runs([row("a", expires=None)])
        async with asyncio.timeout(5):
            assert await site.store.prune(2.0) == 1
    assert await site.store.prune(2.0) == 0
    assert await listed(site.store) == ["a"]
