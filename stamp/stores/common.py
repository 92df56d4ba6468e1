"""What every adapter needs: whose lease it is, what is buffered, what a hijack is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from uuid import uuid4

from brokers.contract import Publication
from stamp.errors import BadConfiguration, NotRunning, StoreUnavailable, TransactionHijacked
from stamp.stores.rows import InboxRow, OutboxRow, row_of

_STEP = 200
"""Inbox rows deleted in one turn (about a millisecond), so that a hop never waits longer for a pruner."""


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

    def __bool__(self) -> bool:
        return bool(self._ids)

    def take(self) -> list[str]:
        """What to delete now; nobody else gets it. Whoever fails to delete it gives it back with `add`."""
        ids = list(self._ids)
        self._ids.clear()
        return ids

    @contextmanager
    def taken(self) -> Iterator[list[str]]:
        """`take`, and back with it when the block raises."""
        ids = self.take()
        try:
            yield ids
        except BaseException:
            self.add(ids)
            raise


class Foreseen:
    """What a transaction looked up in advance: of which messages the inbox row is there, or soon will be."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bool] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def add(self, consumer: str, message_ids: Sequence[str], *, known: Collection[str]) -> None:
        """These were looked up, and those of them are in the inbox."""
        for message_id in message_ids:
            self._known.setdefault((consumer, message_id), message_id in known)

    def first(self, consumer: str, message_id: str) -> bool | None:
        """Whether it is new, which it is once; `None` when nobody looked."""
        known = self._known.get((consumer, message_id))
        if known is None:
            return None
        self._known[consumer, message_id] = True
        return not known

    def undo(self, rows: Sequence[InboxRow]) -> None:
        """These rows will not be written after all."""
        for consumer, message_id, _ in rows:
            self._known[consumer, message_id] = False


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


async def in_steps(step: Callable[[int], Awaitable[int]], limit: int) -> int:
    """Call `step` with small counts until it does less than asked for, or `limit` is reached; the sum."""
    total = 0
    while total < limit:
        asked = min(_STEP, limit - total)
        done = await step(asked)
        total += done
        if done < asked:
            break
    return total


def hijacked() -> TransactionHijacked:
    """A handler ended the transaction that it was given."""
    return TransactionHijacked(
        "the handler committed or rolled back the transaction it was given",
        fix="leave COMMIT and ROLLBACK to the toolkit: return to commit, raise to roll back",
    )


def swallowed() -> TransactionHijacked:
    """PostgreSQL answers COMMIT with ROLLBACK after a failed statement, and says no more about it."""
    return TransactionHijacked(
        "a statement in this transaction failed, the handler went on, and so nothing of it could be committed",
        fix="let SQL errors out of the handler, or wrap what may fail in a savepoint of the driver",
    )


def overtaken(store: str) -> StoreUnavailable:
    """Of two transactions that handled one message at the same time, this one was second."""
    return StoreUnavailable(f"{store}: a message was handled elsewhere meanwhile", fix="it is looked up again")


def not_open(store: object) -> NotRunning:
    """The store was not opened, or is closed already."""
    return NotRunning(f"{type(store).__name__} is not open", fix="`await store.open()` first")


def nested() -> BadConfiguration:
    """A savepoint inside a savepoint."""
    return BadConfiguration("savepoints do not nest", fix="end the first one before the next begins")
