"""The same SQL on SQLite and PostgreSQL: places for values are `$1`, `$2`, which both of them know."""

from __future__ import annotations

from typing import Any


async def rows(tx: Any, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run one statement in a local transaction (`hop.tx`: asyncpg's connection or aiosqlite's); what it returns."""
    if hasattr(tx, "fetch"):
        found = await tx.fetch(sql, *values)
    else:
        found = await tx.execute_fetchall(sql, {str(number): value for number, value in enumerate(values, 1)})
    return [tuple(row) for row in found]
