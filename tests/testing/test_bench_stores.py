"""Local data on the bench: rows, stamp and next message commit together, whatever goes wrong in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stamp import Fail, Hop, RetryLater
from stamp.errors import StoreUnavailable
from stamp.events import Paused, Resumed
from stamp.ports import Store, Transaction
from stamp.stores.memory import MemoryStore
from stamp.testing import NotSettled, SyncBench
from stamp.testing.runner import OpenBench
from tests.testing.desk import OPENED, STATE, TICKET, Assigned, Desk, Opened, Solved, Ticket


def writing(*, raises: BaseException | None = None, failures: int = 1) -> Desk:
    """A desk whose first step writes a row, and then raises so many times."""
    left = [failures if raises else 0]

    async def assign(event: Opened, hop: Hop[Ticket]) -> Assigned:
        await hop.tx.execute("INSERT INTO work VALUES (?, ?)", (event.ticket, hop.attempt))
        if left[0]:
            left[0] -= 1
            assert raises is not None
            raise raises
        return Assigned(event.ticket, "Ada")

    return Desk().instead("assign", assign)


def opened(bench: OpenBench, desk: Desk) -> SyncBench:
    table = bench(*desk.services, store="sqlite")
    table.call(_sql(table, "CREATE TABLE work (ticket TEXT, attempt INTEGER)"))
    return table


async def _sql(table: SyncBench, statement: str) -> list[tuple[Any, ...]]:
    async with table.store("assignment").begin() as tx:
        cursor = await tx.native.execute(statement)
        return [tuple(row) for row in await cursor.fetchall()]


def rows(table: SyncBench) -> list[tuple[Any, ...]]:
    return table.call(_sql(table, "SELECT ticket, attempt FROM work"))


@pytest.mark.parametrize("error", [ConnectionError("gone"), RetryLater("later"), asyncio.CancelledError()], ids=repr)
def test_what_a_failed_try_wrote_is_gone_when_the_next_one_runs(bench: OpenBench, error: BaseException) -> None:
    table = opened(bench, writing(raises=error))
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert table.run(run_id).status == "completed"
    assert rows(table) == [("t-1", 2)]


def test_what_a_step_wrote_before_a_business_failure_is_gone(bench: OpenBench) -> None:
    table = opened(bench, writing(raises=Fail("no")))
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert (table.run(run_id).status, rows(table)) == ("compensated", [])


def test_one_bad_message_in_a_batch_does_not_touch_the_others(bench: OpenBench) -> None:
    async def assign(event: Opened, hop: Hop[Ticket]) -> Assigned:
        await hop.tx.execute("INSERT INTO work VALUES (?, ?)", (event.ticket, hop.attempt))
        if event.ticket == "t-2":
            raise Fail("not this one")
        return Assigned(event.ticket, "Ada")

    table = opened(bench, Desk().instead("assign", assign))
    runs = [table.start(TICKET, Opened(f"t-{n}"), state=Ticket(ticket=f"t-{n}")) for n in range(5)]
    table.settle()
    statuses = [table.run(run).status for run in runs]
    assert statuses == ["completed", "completed", "compensated", "completed", "completed"]
    assert [ticket for ticket, _ in rows(table)] == ["t-0", "t-1", "t-3", "t-4"]


def test_duplicates_in_one_batch_write_once(bench: OpenBench) -> None:
    table = opened(bench, writing())
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.redeliver(table.published[0])
    table.settle()
    assert (table.run(run_id).status, rows(table)) == ("completed", [("t-1", 1)])


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (lambda _: Solved("t-1"), "undeclared-event"),
        (lambda _: None, "undeclared-event"),
        (lambda _: Assigned("t-1", 5), "output-invalid"),  # type: ignore[arg-type]
        (lambda hop: hop.keep(blob="x" * 2000) or Assigned("t-1", "Ada"), "output-invalid"),
        (lambda hop: setattr(hop.state, "expert", 5) or Assigned("t-1", "Ada"), "output-invalid"),
        (lambda hop: setattr(hop.state, "expert", "x" * 70_000) or Assigned("t-1", "Ada"), "too-large"),
    ],
    ids=["other event", "no event", "event", "keep", "state", "size"],
)
def test_what_may_not_be_sent_is_held_and_rolls_back(bench: OpenBench, result: Any, reason: str) -> None:
    async def assign(event: Opened, hop: Hop[Ticket]) -> object:
        await hop.tx.execute("INSERT INTO work VALUES (?, ?)", (event.ticket, hop.attempt))
        return result(hop)

    table = opened(bench, Desk().instead("assign", assign))
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    run = table.run(run_id)
    assert run.held is not None
    assert (run.status, run.held.reason, rows(table)) == ("held", reason, []), run


@pytest.mark.parametrize("verb", ["commit", "rollback"])
def test_a_handler_that_ends_the_transaction_is_found_out_and_held(bench: OpenBench, verb: str) -> None:
    async def assign(event: Opened, hop: Hop[Ticket]) -> Assigned:
        await getattr(hop.tx, verb)()
        return Assigned(event.ticket, "Ada")

    table = opened(bench, Desk().instead("assign", assign))
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    run = table.run(run_id)
    assert run.held is not None
    assert run.held.reason == "transaction-ended", run


def test_a_start_that_raises_starts_nothing(bench: OpenBench) -> None:
    desk = writing()
    table = opened(bench, desk)

    async def half() -> None:
        async with desk.assignment.transaction() as tx:
            await tx.execute("INSERT INTO work VALUES ('half', 0)")
            await tx.start(TICKET, OPENED, state=STATE)
            raise RuntimeError("on second thought")

    with pytest.raises(RuntimeError):
        table.call(half())
    table.settle()
    assert (rows(table), table.published) == ([], ())


def test_the_memory_store_rolls_back_as_well(bench: OpenBench) -> None:
    async def assign(event: Opened, hop: Hop[Ticket]) -> Assigned:
        hop.tx["work"][event.ticket] = hop.attempt
        if hop.attempt == 1:
            raise ConnectionError("gone")
        assert hop.tx["work"] == {"t-1": 2}
        return Assigned(event.ticket, "Ada")

    table = bench(*Desk().instead("assign", assign).services)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert table.run(run_id).status == "completed", table.run(run_id)


class Flaky(MemoryStore):
    """Out of reach for so many transactions."""

    def __init__(self, *, away: int) -> None:
        super().__init__()
        self.away = away

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:  # type: ignore[override]
        if self.away:
            self.away -= 1
            raise StoreUnavailable("locked")
        async with super().begin() as tx:
            yield tx


def test_a_store_that_comes_back_costs_no_attempt(bench: OpenBench) -> None:
    stores: dict[str, Flaky] = {}

    def choose(name: str) -> Store:
        return stores.setdefault(name, Flaky(away=0))

    desk = Desk()
    table = bench(*desk.services, store=choose)
    stores["resolution"].away = 4
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert table.run(run_id).status == "completed"
    assert desk.calls == [("assign", 1), ("solve", 1), ("tell", 1)]
    assert [fact.service for fact in table.facts if isinstance(fact, Paused | Resumed)] == ["resolution"] * 2


def test_a_store_that_stays_away_is_named(bench: OpenBench) -> None:
    stores = {name: Flaky(away=0) for name in ("assignment", "resolution", "notification")}
    table = bench(*Desk().services, store=stores.__getitem__, patience=0.2)
    stores["resolution"].away = 10**9
    table.start(TICKET, OPENED, state=STATE)
    with pytest.raises(NotSettled, match="service 'resolution' waits for its store or broker"):
        table.settle()
