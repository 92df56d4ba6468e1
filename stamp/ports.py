"""What the runtime asks of the world: a store, a clock, an observer. Each promise is in the docstring.

`stamp.stores.conformance` holds every sentence about stores against an adapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

from brokers.contract import Clock, Publication
from stamp.events import Event

__all__ = [
    "Bookkeeping",
    "Books",
    "Clock",
    "Foresight",
    "LedgerRow",
    "Observer",
    "OutOfTime",
    "Store",
    "Transaction",
    "sleep",
    "within",
]


class LedgerRow(NamedTuple):
    """One run in the ledger of its owner. The field order is the order of the columns; times are epoch seconds.

    `record` is all that is known of the run; the columns before it are drawn from it, so that SQL can ask for them.
    """

    run: str
    workflow: str
    version: int
    status: str
    """Derived, without the moment: never `overdue`, which only a clock can tell (`deadline`, `ended`)."""
    event: str
    seq: int
    done: tuple[str, ...]
    """Names of the finished steps, in order."""
    current: tuple[str, ...]
    """Names of the steps that have their turn now."""
    remaining: tuple[str, ...]
    to_undo: tuple[str, ...]
    """Names of the steps that would be undone, first to undo first."""
    attempts: int
    """Tries of all finished hops together."""
    error: str
    """`Type: message`; empty when nothing went wrong. What no database can hold (NUL, half a surrogate) is U+FFFD."""
    started: float
    deadline: float | None
    updated: float
    """When the run was last heard of."""
    ended: float | None
    expires: float | None
    """When the row of an ended run may be pruned; `None` keeps it."""
    record: bytes


class Observer(Protocol):
    """Gets every runtime event, frozen, in the order in which they happened.

    Called on the event loop and never awaited, so it must be quick. One that raises is disabled and logged
    once; it never breaks a message.
    """

    def __call__(self, event: Event) -> None: ...


class Transaction(Protocol):
    """One open local transaction: the user's rows, the inbox and the outbox commit together or not at all."""

    @property
    def native(self) -> Any:
        """The driver's own object (`hop.tx`): users write the SQL they know."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Undo everything done inside, by the user and by the toolkit, when the block raises; then raise on.

        Savepoints do not nest. Raises `TransactionHijacked` when the block ends and the surrounding transaction
        is no longer open (a handler committed or rolled back by itself).
        """
        ...

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:
        """Record in the inbox that `consumer` handles this message; False when it already did.

        Scoped to the consumer: another consumer may handle the same message id. `expires` (epoch seconds) is
        when the row may be pruned; `None` keeps it.
        """
        ...

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        """Write outbox rows, in order, leased to this process. A message id already there is left as it is."""
        ...

    async def gather(self, join: str) -> Mapping[str, bytes]:
        """The arrivals of a join so far, by name, and nobody else's until this transaction ends.

        Another transaction that gathers the same join waits, whether there are rows or not.
        """
        ...

    async def put_arrivals(self, join: str, rows: Mapping[str, bytes], *, expires: float | None) -> None:
        """Write arrivals of a join, each in place of the one of its name. `expires` as in `first_seen`."""
        ...


@runtime_checkable
class Foresight(Protocol):
    """What a transaction may offer besides: to look up a whole batch at once, so that its messages cost fewer trips."""

    async def foresee(self, consumer: str, message_ids: Sequence[str]) -> None:
        """`first_seen` will be asked for these. It answers the same as without this call, by what is found now.

        The row of a message that is new may be written late, but never apart from the outbox rows of its savepoint:
        whoever ends the transaction in between finds both there or neither. When somebody else records one of these
        messages meanwhile, the transaction raises `StoreUnavailable` before it commits anything; once more, it is told.
        """
        ...


@runtime_checkable
class Bookkeeping(Protocol):
    """What the transaction of a store that keeps a ledger offers besides."""

    async def read_runs(self, runs: Sequence[str]) -> Mapping[str, bytes]:
        """The records of these runs, as far as there are any, and nobody else's until this transaction ends.

        Another transaction that reads one of these runs waits, whether there is a row or not. The runs of one call are
        locked in one order, whatever order they are given in.
        """
        ...

    async def write_runs(self, rows: Sequence[LedgerRow]) -> None:
        """Write rows, each in place of the one of its run."""
        ...


@runtime_checkable
class Books(Protocol):
    """What a store that keeps a ledger offers besides: reading it, outside a transaction."""

    async def ledger(
        self,
        *,
        runs: Sequence[str] | None = None,
        prefix: str = "",
        workflow: str | None = None,
        statuses: Sequence[str] = (),
        overdue: float | None = None,
        limit: int = 1000,
    ) -> Sequence[LedgerRow]:
        """Up to `limit` rows, those that started last first (of equals, the greater run id).

        Each argument narrows: these runs, runs whose id begins with `prefix` (taken literally), one workflow, these
        statuses; `overdue` asks for runs that have not ended and whose deadline lies before that moment.
        """
        ...

    async def counts(self, workflow: str | None = None) -> Mapping[str, int]:
        """How many runs have each status; statuses that none has are left out."""
        ...


class Store(Protocol):
    """A service's local database as the toolkit uses it. Shared by the tasks of a process and by several processes."""

    async def open(self) -> None:
        """Connect and create the toolkit's tables when they are missing. Raises `StoreUnavailable` with the fix."""
        ...

    async def close(self) -> None:
        """Write down what is buffered (`sent`), release connections. Idempotent."""
        ...

    def begin(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Raises `StoreUnavailable` (transient) when the database is out of reach, locked or full: at entry, inside
        or at commit. After it nothing of the block is in the database, or (lost at commit) the inbox will tell.
        """
        ...

    async def sent(self, message_ids: Sequence[str]) -> None:
        """Confirmed by the broker: forget these outbox rows.

        May be buffered and written with the next commit, `flush` or `close`: a crash before that only causes a
        re-send, which the next inbox drops.
        """
        ...

    async def unsent(self, message_ids: Sequence[str]) -> None:
        """The publish failed: end the lease, so that any relay may claim these rows at once."""
        ...

    async def revive(self, runs: Sequence[str]) -> None:
        """A delivery of these runs came again: whoever else leased their outbox rows is probably gone.

        Ends the leases of other processes on these runs' rows, so that any relay may claim them at once. If their
        holder lives after all, a row goes out twice with one message id, which the next inbox drops.
        """
        ...

    async def flush(self) -> None:
        """Write what `sent` buffered."""
        ...

    async def claim(self, limit: int, *, lease: float) -> Sequence[Publication]:
        """Lease up to `limit` outbox rows that nobody holds, oldest first, to this process for `lease` seconds.

        Two processes never hold a lease on one row at the same time. Rows of one run come in order. A row whose
        transaction commits late is found by a later call (no "last id" is remembered).
        """
        ...

    async def backlog(self) -> int:
        """Outbox rows not yet forgotten: the relay's lag as a number."""
        ...

    async def prune(self, now: float, *, limit: int = 1000) -> int:
        """Delete up to `limit` inbox rows, arrivals and ledger rows each, expired before `now` (seconds); the count."""
        ...


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait by the clock given, so that a test that owns the clock owns the wait."""
    done = asyncio.Event()
    cancel = clock.call_later(seconds, done.set)
    try:
        await done.wait()
    finally:
        cancel()


class OutOfTime(Exception):  # noqa: N818  an outcome, not an error of ours
    """The block of `within` took longer than it may."""


@asynccontextmanager
async def within(clock: Clock, seconds: float | None) -> AsyncIterator[None]:
    """Cancel the block once `seconds` have passed by the clock given, and raise `OutOfTime`; `None` is no limit."""
    if seconds is None:
        yield
        return
    loop = asyncio.get_running_loop()
    scope = asyncio.timeout(None)
    try:
        async with scope:
            cancel = clock.call_later(seconds, lambda: scope.reschedule(loop.time()))
            try:
                yield
            finally:
                cancel()
    except TimeoutError:
        if scope.expired():
            raise OutOfTime(f"it took longer than {seconds:g} s") from None
        raise
