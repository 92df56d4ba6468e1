"""What every adapter needs: whose lease it is, what is buffered, what a hijack is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from brokers.contract import Publication
from stamp.errors import BadConfiguration, NotRunning, TransactionHijacked
from stamp.stores.rows import OutboxRow, row_of


class Leases:
    """How rows are leased to this store object: its name, the clock it goes by, how long."""

    def __init__(self, *, seconds: float, now: Callable[[], float]) -> None:
        self.holder = uuid4().hex
        self._seconds = seconds
        self.now = now

    def rows(self, publications: Sequence[Publication], run: str) -> list[OutboxRow]:
        """Outbox rows of these publications, leased to this process from now on."""
        now = self.now()
        until = now + self._seconds
        return [
            row_of(publication, run=run, now=now, lease_until=until, lease_by=self.holder)
            for publication in publications
        ]


class SentBuffer:
    """Message ids that are confirmed and whose outbox rows still wait to be deleted."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}

    def add(self, message_ids: Sequence[str]) -> None:
        self._ids.update(dict.fromkeys(message_ids))

    def waiting(self) -> list[str]:
        """What to delete now; call `written` with it once that is committed."""
        return list(self._ids)

    def written(self, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            self._ids.pop(message_id, None)


class Turn:
    """One task at a time, in the order of asking. A task that asks again while it has its turn gets an error."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[object] | None = None

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        if task is not None and self._holder is task:
            raise BadConfiguration(
                "this task already has a transaction open on this store, and a second one would wait for ever",
                fix="do the work through the transaction that is open (`hop.tx`), or after it has ended",
            )
        async with self._lock:
            self._holder = task
            try:
                yield
            finally:
                self._holder = None


def hijacked() -> TransactionHijacked:
    """A handler ended the transaction that it was given."""
    return TransactionHijacked(
        "the handler committed or rolled back the transaction it was given",
        fix="leave COMMIT and ROLLBACK to the toolkit: return to commit, raise to roll back",
    )


def not_open(store: object) -> NotRunning:
    """The store was not opened, or is closed already."""
    return NotRunning(f"{type(store).__name__} is not open", fix="`await store.open()` first")


def nested() -> BadConfiguration:
    """A savepoint inside a savepoint."""
    return BadConfiguration("savepoints do not nest", fix="end the first one before the next begins")
