"""Short words for what scenarios about the ledger do often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stamp.ports import Bookkeeping, Books, LedgerRow, Store, Transaction

PLAIN = LedgerRow(
    run="run",
    workflow="NEW_TICKET",
    version=1,
    status="running",
    event="TicketCreated",
    seq=0,
    done=(),
    current=("assign",),
    remaining=("notify",),
    to_undo=(),
    attempts=0,
    error="",
    started=1_000.0,
    deadline=None,
    updated=1_000.0,
    ended=None,
    expires=None,
    record=b"{}",
)


def row(run: str, **columns: Any) -> LedgerRow:
    """A row of that run; what is not given is as in `PLAIN`."""
    return PLAIN._replace(run=run, **columns)


def keeper(tx: Transaction) -> Bookkeeping:
    """The transaction as one that keeps a ledger."""
    assert isinstance(tx, Bookkeeping)
    return tx


def books(store: Store) -> Books:
    """The store as one that keeps a ledger."""
    assert isinstance(store, Books)
    return store


async def write(store: Store, *rows: LedgerRow) -> None:
    """Commit these rows, in one transaction with a savepoint."""
    async with store.begin() as tx, tx.savepoint():
        await keeper(tx).write_runs(rows)


async def read(store: Store, *runs: str) -> Mapping[str, bytes]:
    """The records of these runs, in a transaction of its own."""
    async with store.begin() as tx, tx.savepoint():
        return dict(await keeper(tx).read_runs(runs))


async def listed(store: Store, **question: Any) -> list[str]:
    """The runs that the ledger lists, in its order."""
    return runs_of(await books(store).ledger(**question))


def runs_of(rows: Iterable[LedgerRow]) -> list[str]:
    """Their run ids."""
    return [each.run for each in rows]


async def add(tx: Transaction, run: str, others: Sequence[str] = ()) -> None:
    """Count one up in the record of `run`, as a controller does: read, think, write."""
    found = await keeper(tx).read_runs([run, *others])
    await keeper(tx).write_runs([row(run, record=b"%d" % (int(found.get(run, b"0")) + 1))])
