"""The asyncpg connection that handlers get: one that can put something before their first statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg  # type: ignore[import-untyped]


class StoreConnection(asyncpg.Connection):  # type: ignore[misc]
    """An asyncpg connection in every respect, which also knows what its last command was answered with.

    PostgreSQL answers COMMIT with `ROLLBACK` when a statement had failed, and asyncpg drops the answer.
    """

    answer: str = ""
    _before: Callable[[], Awaitable[None]] | None = None

    def before_next(self, work: Callable[[], Awaitable[None]] | None) -> None:
        """Do `work` once, before the next statement of any kind, whoever sends it; `None` takes it back."""
        self._before = work

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """As asyncpg's, and keeps the answer."""
        await self._come_first()
        self.answer = await super().execute(query, *args, timeout=timeout)
        return self.answer

    def get_reset_query(self) -> str:
        """Nothing: a round trip for every hop. Session state is the handler's own (`SET LOCAL`, not `SET`)."""
        return ""

    async def _get_statement(self, *args: Any, **options: Any) -> Any:
        """What every fetch, executemany, cursor and prepared statement comes through."""
        await self._come_first()
        return await super()._get_statement(*args, **options)

    async def _copy_in(self, *args: Any, **options: Any) -> Any:
        await self._come_first()
        return await super()._copy_in(*args, **options)

    async def _copy_out(self, *args: Any, **options: Any) -> Any:
        await self._come_first()
        return await super()._copy_out(*args, **options)

    async def _come_first(self) -> None:
        work, self._before = self._before, None
        if work is not None:
            await work()


CAN_COME_FIRST = all(hasattr(asyncpg.Connection, name) for name in ("_get_statement", "_copy_in", "_copy_out"))
"""Whether the inside of the installed asyncpg is the one that `before_next` was read against."""
