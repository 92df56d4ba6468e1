"""What `Bookkeeping` promises: rows of the ledger, one a run, within the transaction of the hop."""

from __future__ import annotations

import asyncio

from stamp.errors import TransactionHijacked
from stamp.ports import Foresight, LedgerRow, Store, Transaction
from stamp.stores.conformance.bookkeeping import PLAIN, add, books, keeper, listed, read, row, write
from stamp.stores.conformance.site import Refused, Site, error_of

BYTES = bytes(range(256))

FULL = LedgerRow(
    run="0197-ä",
    workflow="ORDER",
    version=2,
    status="compensated",
    event="OrderRejected",
    seq=2**40,
    done=("reserve", 'a "quoted" step', "Ü\\n"),
    current=(),
    remaining=("ship", "bill"),
    to_undo=("reserve",),
    attempts=7,
    error="OutOfStock: no ß left % _ $1 ?1 ' \"",
    started=1_767_225_600.125,
    deadline=1_767_398_400.25,
    updated=1_767_225_700.5,
    ended=1_767_225_700.5,
    expires=1_767_484_800.75,
    record=BYTES,
)


async def a_run_that_nobody_wrote_has_no_record(site: Site) -> None:
    assert await read(site.store, "run") == {}


async def records_are_read_byte_for_byte(site: Site) -> None:
    records = {"empty": b"", "all": BYTES, "zeros": b"\x00" * 3, "large": b"\xf0" * 1_000_000}
    await write(site.store, *(row(run, record=record) for run, record in records.items()))
    assert await read(site.store, *records) == records


async def every_column_comes_out_as_it_went_in(site: Site) -> None:
    await write(site.store, FULL, PLAIN)
    assert list(await books(site.store).ledger()) == [FULL, PLAIN]


async def only_the_runs_asked_for_are_read(site: Site) -> None:
    await write(site.store, row("a", record=b"1"), row("b", record=b"2"), row("c", record=b"3"))
    assert await read(site.store, "c", "a", "unknown") == {"a": b"1", "c": b"3"}


async def a_run_asked_for_twice_is_read_once(site: Site) -> None:
    await write(site.store, row("a", record=b"1"))
    assert await read(site.store, "a", "b", "a", "b") == {"a": b"1"}


async def a_row_takes_the_place_of_the_one_of_its_run(site: Site) -> None:
    for last in (PLAIN._replace(run=FULL.run), FULL, PLAIN._replace(run=FULL.run)):
        await write(site.store, last)
        assert list(await books(site.store).ledger()) == [last]


async def of_two_rows_of_one_run_in_one_call_the_last_stays(site: Site) -> None:
    await write(site.store, row("a", record=b"1"), row("b", record=b"2"), row("a", record=b"3"))
    assert await read(site.store, "a", "b") == {"a": b"3", "b": b"2"}


async def many_rows_are_written_at_once(site: Site) -> None:
    runs = [f"run-{number:04}" for number in range(1_500)]
    await write(site.store, *(row(run, record=run.encode()) for run in runs))
    assert await read(site.store, *runs) == {run: run.encode() for run in runs}


async def reading_and_writing_no_run_is_fine(site: Site) -> None:
    await write(site.store)
    assert await read(site.store) == {}


async def an_error_that_no_database_can_hold_is_marked_where_it_cannot(site: Site) -> None:
    await write(site.store, row("a", error="Broken: \x00 and \ud800 in 東京 🎫"))
    (found,) = await books(site.store).ledger()
    assert found.error == "Broken: \ufffd and \ufffd in 東京 🎫"


async def a_transaction_reads_what_it_wrote(site: Site) -> None:
    await write(site.store, row("a", record=b"1"))
    async with site.store.begin() as tx, tx.savepoint():
        await keeper(tx).write_runs([row("a", record=b"2"), row("b", record=b"3")])
        assert await keeper(tx).read_runs(["a", "b"]) == {"a": b"2", "b": b"3"}


async def rows_outside_a_savepoint_are_written_too(site: Site) -> None:
    async with site.store.begin() as tx:
        assert await keeper(tx).read_runs(["a"]) == {}
        await keeper(tx).write_runs([row("a", record=b"1")])
    assert await read(site.store, "a") == {"a": b"1"}


async def another_store_reads_what_was_committed(site: Site) -> None:
    await write(site.store, row("a", record=b"1"))
    other = await site.another()
    assert await read(other, "a") == {"a": b"1"}
    assert await listed(other) == ["a"]


async def _hop(site: Site, tx: Transaction, key: str, *, error: Exception | None = None) -> None:
    async with tx.savepoint():
        await tx.first_seen("assign", f"in-{key}", expires=None)
        await keeper(tx).write_runs([row("run", record=key.encode()), row(key)])
        await tx.emit([site.publication(f"out-{key}")], run="run")
        if error is not None:
            raise error


async def a_row_commits_with_inbox_and_outbox(site: Site) -> None:
    async with site.store.begin() as tx:
        if isinstance(tx, Foresight):
            await tx.foresee("assign", ["in-a", "in-b"])
        await _hop(site, tx, "a")
        await _hop(site, tx, "b")
    assert await read(site.store, "run", "a", "b") == {"run": b"b", "a": b"{}", "b": b"{}"}
    assert [await site.seen("in-a"), await site.seen("in-b")] == [True, True]
    assert await site.store.backlog() == 2


async def a_row_rolls_back_with_its_savepoint_and_no_further(site: Site) -> None:
    async with site.store.begin() as tx:
        if isinstance(tx, Foresight):
            await tx.foresee("assign", ["in-a", "in-b"])
        await _hop(site, tx, "a")
        assert await error_of(_hop(site, tx, "b", error=Refused())) is not None
        assert await keeper(tx).read_runs(["run", "b"]) == {"run": b"a"}
    assert await read(site.store, "run", "a", "b") == {"run": b"a", "a": b"{}"}


async def a_row_rolls_back_with_its_transaction(site: Site) -> None:
    await write(site.store, row("run", record=b"before"))

    async def block() -> None:
        async with site.store.begin() as tx:
            await _hop(site, tx, "a")
            raise Refused

    assert isinstance(await error_of(block()), Refused)
    assert await read(site.store, "run", "a") == {"run": b"before"}
    assert await listed(site.store) == ["run"]


async def _count(store: Store, run: str) -> None:
    async with store.begin() as tx, tx.savepoint():
        await add(tx, run)
        await asyncio.sleep(0)


async def of_transactions_that_race_for_a_run_each_sees_the_one_before_it(site: Site) -> None:
    stores = [site.store, await site.another()]
    for run in ("new", "known"):
        if run == "known":
            await write(site.store, row(run, record=b"0"))
        await asyncio.gather(*(_count(stores[number % 2], run) for number in range(8)))
        assert await read(site.store, run) == {run: b"8"}


async def runs_given_in_any_order_never_lock_one_another_out(site: Site) -> None:
    stores = [site.store, await site.another()]
    runs = [f"run-{number}" for number in range(40)]

    async def read_all(number: int) -> None:
        async with stores[number % 2].begin() as tx, tx.savepoint():
            order = runs[number:] + runs[:number]
            await add(tx, order[0], order[1:] if number % 2 else order[:0:-1])

    await asyncio.gather(*(read_all(number) for number in range(8)))
    assert await read(site.store, *runs) == dict.fromkeys(runs[:8], b"1")


async def neither_reads_nor_writes_pass_in_a_transaction_that_was_ended(site: Site) -> None:
    errors: list[BaseException | None] = []

    async def block() -> None:
        async with site.store.begin() as tx:
            await site.rows.commit(tx.native)
            errors.append(await error_of(keeper(tx).read_runs(["a"])))
            errors.append(await error_of(keeper(tx).write_runs([row("a")])))

    assert isinstance(await error_of(block()), TransactionHijacked)
    assert [type(error) for error in errors] == [TransactionHijacked, TransactionHijacked]
    assert await read(site.store, "a") == {}


async def _begun_anew(site: Site, tx: Transaction, *, writes: bool) -> None:
    """A handler ends the transaction between two calls, and begins another."""
    for run in ("a", "b"):
        await (keeper(tx).write_runs([row(run)]) if writes else keeper(tx).read_runs([run]))
        if run == "a":
            await site.rows.rollback(tx.native)
            await site.rows.begin(tx.native)


async def beginning_another_transaction_hides_nothing_from_the_ledger(site: Site) -> None:
    async def block(*, writes: bool) -> None:
        async with site.store.begin() as tx:
            await _begun_anew(site, tx, writes=writes)

    async def savepoint(*, writes: bool) -> None:
        async with site.store.begin() as tx, tx.savepoint():
            await _begun_anew(site, tx, writes=writes)

    for work in (block, savepoint):
        for writes in (True, False):
            assert isinstance(await error_of(work(writes=writes)), TransactionHijacked)
    assert await read(site.store, "a", "b") == {}
