"""Running without a local database: at least once, nothing remembered, ids deterministic all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from brokers.contract import Publication
from stamp.errors import DefinitionError


class _Nothing:
    """A block that does nothing at its ends; a generator would cost every hop a few microseconds."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None


_NOTHING = _Nothing()


class NoTransaction:
    """Stands where a transaction would: sees every message as new and writes nothing."""

    native = None

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        return _NOTHING

    async def first_seen(self, consumer: str, message_id: str, *, expires: float | None) -> bool:  # noqa: ARG002
        return True

    async def emit(self, publications: Sequence[Publication], *, run: str) -> None:
        """The publications go out before the delivery is acknowledged; there is nowhere to keep them."""

    async def gather(self, join: str) -> Mapping[str, bytes]:
        """Raises `DefinitionError`: branches can't be collected without a place to keep them."""
        raise DefinitionError(f"the join {join} has no store", fix="open the service with store=")

    async def put_arrivals(self, join: str, rows: Mapping[str, bytes], *, expires: float | None) -> None:
        """Never called: `gather` comes first."""


class NoStore:
    """`store=None`: a delivery is acknowledged only after its messages are confirmed, so nothing is lost.

    A crash in between means that the step runs again; the next service sees the same message ids twice.
    """

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[NoTransaction]:
        yield NoTransaction()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def sent(self, message_ids: Sequence[str]) -> None: ...

    async def unsent(self, message_ids: Sequence[str]) -> None: ...

    async def revive(self, runs: Sequence[str]) -> None: ...

    async def flush(self) -> None: ...

    async def claim(self, limit: int, *, lease: float) -> Sequence[Publication]:  # noqa: ARG002
        return ()

    async def backlog(self) -> int:
        return 0

    async def prune(self, now: float, *, limit: int = 1000) -> int:  # noqa: ARG002
        return 0
