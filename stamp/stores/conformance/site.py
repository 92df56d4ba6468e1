"""Where a scenario runs: an empty database, stores on it, and short words for what scenarios do often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Any, Protocol

from brokers.contract import Message, Publication
from stamp.errors import StampError
from stamp.ports import Store, Transaction

LEASE = 10.0
"""Seconds for which the stores of a scenario lease what they emit."""


class UserRows(Protocol):
    """A user's own statements on `native`: one table of text keys (unique) and text values."""

    async def create(self, native: Any) -> None:
        """Create the table."""
        ...

    async def put(self, native: Any, key: str, value: str) -> None:
        """Insert a row; the driver's own error when the key is there."""
        ...

    async def all(self, native: Any) -> dict[str, str]:
        """Every row."""
        ...

    async def commit(self, native: Any) -> None:
        """Commit by hand, as no handler should."""
        ...

    async def rollback(self, native: Any) -> None:
        """Roll back by hand."""
        ...

    async def begin(self, native: Any) -> None:
        """Begin another transaction by hand."""
        ...


class Place(Protocol):
    """One empty database."""

    @property
    def rows(self) -> UserRows: ...

    def store(self, *, now: Callable[[], float], lease: float) -> Store:
        """One more store object on this database, not yet open: to the others it is another process.

        It gives up after a moment, not after seconds, when the database is away.
        """
        ...

    async def go_away(self) -> None:
        """Make the database unreachable (locked, stopped, refused) for every store."""
        ...

    async def come_back(self) -> None:
        """Make it reachable again."""
        ...

    async def open_transactions(self) -> int:
        """How many transactions are open now."""
        ...

    async def open_connections(self) -> int:
        """How many connections there are, once the stores are closed."""
        ...


PlaceFactory = Callable[[], AbstractAsyncContextManager[Place]]
"""Each call gives another empty database; leaving the block removes it."""


class Site:
    """One scenario's database, its clock and its stores."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.rows = place.rows
        self.now = 1_000_000.0
        """What the stores' clock says, epoch seconds; scenarios set it."""
        self._stores: list[Store] = []
        self._ids = count(1)
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """The scenario's first store."""
        assert self._store is not None
        return self._store

    async def prepare(self) -> None:
        """Open the first store and create the user's table."""
        self._store = await self.another()
        async with self.store.begin() as tx:
            await self.rows.create(tx.native)

    async def another(self) -> Store:
        """One more open store on the same database, as another process would have; closes with the scenario."""
        store = self.closed()
        await store.open()
        return store

    def closed(self) -> Store:
        """One more store that is not open yet."""
        store = self.place.store(now=lambda: self.now, lease=LEASE)
        self._stores.append(store)
        return store

    async def close(self) -> None:
        """Close every store."""
        for store in self._stores:
            await store.close()

    def publication(self, message_id: str = "", *, body: bytes = b"{}", **properties: Any) -> Publication:
        """A publication with an id of its own, unless one is given."""
        message = Message(body=body, message_id=message_id or f"message-{next(self._ids)}", **properties)
        return Publication("NEW_TICKET", "TicketCreated", message)

    async def emitted(self, *message_ids: str, run: str = "run-1", store: Store | None = None) -> None:
        """Commit these ids to the outbox, in one transaction."""
        async with (store or self.store).begin() as tx:
            await tx.emit([self.publication(message_id) for message_id in message_ids], run=run)

    async def put(self, tx: Transaction, key: str, value: str = "") -> None:
        """Insert a user's row."""
        await self.rows.put(tx.native, key, value)

    async def user_keys(self) -> list[str]:
        """The keys of the user's rows that are committed, sorted, as another store sees them."""
        other = await self.another()
        async with other.begin() as tx:
            return sorted(await self.rows.all(tx.native))

    async def seen(self, message_id: str, consumer: str = "assign") -> bool:
        """Whether the inbox has this message, committed; leaves no trace."""
        try:
            async with self.store.begin() as tx:
                raise _Answer(not await tx.first_seen(consumer, message_id, expires=None))  # noqa: TRY301
        except _Answer as answer:
            return answer.yes

    async def claimed(self, store: Store | None = None, *, limit: int = 100, lease: float = LEASE) -> list[str]:
        """Message ids that this store claims now, in the order in which it gets them."""
        return ids(await (store or self.store).claim(limit, lease=lease))

    def pass_leases(self) -> None:
        """Let so much time pass that every lease has ended."""
        self.now += LEASE + 1


class Refused(Exception):  # noqa: N818  what a handler raises
    """A handler's own exception."""


class _Answer(Exception):  # noqa: N818  carries a value out of a transaction that must roll back
    def __init__(self, yes: bool) -> None:
        self.yes = yes


def ids(publications: Sequence[Publication]) -> list[str]:
    """Their message ids."""
    return [publication.message.message_id for publication in publications]


async def error_of(work: Any) -> BaseException | None:
    """What awaiting `work` raises; `None` when it does not."""
    try:
        await work
    except Exception as error:
        return error
    return None


def names_a_fix(error: BaseException | None) -> bool:
    """An error of the toolkit that says what to do next."""
    return isinstance(error, StampError) and bool(error.fix)
