"""Where a run stands, by the ledger of its owner."""

from __future__ import annotations

from typing import Any

import msgspec

from stamp.errors import DefinitionError
from stamp.ledger import Status, load
from stamp.model import Entry
from stamp.nostore import NoStore
from stamp.ports import Books, LedgerRow, Store


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One run as its owner knows it, at the moment it was asked. Times are epoch seconds."""

    run: str
    workflow: str
    version: int
    status: Status
    """`overdue` too: it has not ended, and its deadline has passed."""
    event: str
    seq: int
    done: tuple[str, ...]
    current: tuple[str, ...]
    remaining: tuple[str, ...]
    to_undo: tuple[str, ...]
    attempts: int
    error: str
    started: float
    deadline: float | None
    updated: float
    ended: float | None
    history: tuple[Entry, ...]
    state: dict[str, Any]
    held: str = ""
    """Why it is held: reason and detail."""


async def standing_of(store: Store | NoStore, run: str, now: float) -> Standing | None:
    """The run in the store's ledger; `None` when it is not there, or the store keeps none."""
    if not isinstance(store, Books):
        return None
    rows = await store.ledger(runs=[run])
    return standing(rows[0], now) if rows else None


def standing(row: LedgerRow, now: float) -> Standing:
    """A row of the ledger, opened."""
    record = load(row.record)
    held = record.held
    return Standing(
        run=row.run,
        workflow=row.workflow,
        version=row.version,
        status=record.status(now),
        event=row.event,
        seq=row.seq,
        done=row.done,
        current=row.current,
        remaining=row.remaining,
        to_undo=row.to_undo,
        attempts=row.attempts,
        error=row.error,
        started=row.started,
        deadline=row.deadline,
        updated=row.updated,
        ended=row.ended,
        history=record.done,
        state=record.stamp.state,
        held=f"{held.reason}: {held.detail}" if held else "",
    )


def books_of(store: object) -> Books:
    """The store as one that keeps a ledger. Raises `DefinitionError`."""
    if isinstance(store, Books):
        return store
    raise DefinitionError(f"{type(store).__name__} keeps no ledger", fix="open the owner with a store that has one")
