"""The few statements of a user that the conformance scenarios need, in each adapter's own language."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

CREATE = "CREATE TABLE {table} (key text PRIMARY KEY, value text NOT NULL)"


class MemoryRows:
    """A table of the memory store."""

    async def create(self, native: Any) -> None:
        native["rows"] = {}

    async def put(self, native: Any, key: str, value: str) -> None:
        if key in native["rows"]:
            raise KeyError(key)
        native["rows"][key] = value

    async def all(self, native: Any) -> dict[str, str]:
        return dict(native["rows"])

    async def commit(self, native: Any) -> None:
        native.commit()

    async def rollback(self, native: Any) -> None:
        native.rollback()

    async def begin(self, native: Any) -> None:
        native.begin()


class SQLiteRows:
    """A table through an aiosqlite connection."""

    async def create(self, native: Any) -> None:
        await native.execute(CREATE.format(table="user_rows"))

    async def put(self, native: Any, key: str, value: str) -> None:
        await native.execute("INSERT INTO user_rows VALUES (?, ?)", (key, value))

    async def all(self, native: Any) -> dict[str, str]:
        return dict(await native.execute_fetchall("SELECT key, value FROM user_rows"))

    async def commit(self, native: Any) -> None:
        await native.commit()

    async def rollback(self, native: Any) -> None:
        await native.rollback()

    async def begin(self, native: Any) -> None:
        await native.execute("BEGIN")


class PostgresRows:
    """A table through an asyncpg connection."""

    def __init__(self, table: str) -> None:
        self._table = table

    async def create(self, native: Any) -> None:
        await native.execute(CREATE.format(table=self._table))

    async def put(self, native: Any, key: str, value: str) -> None:
        await native.execute(f"INSERT INTO {self._table} VALUES ($1, $2)", key, value)

    async def all(self, native: Any) -> dict[str, str]:
        return dict(await native.fetch(f"SELECT key, value FROM {self._table}"))

    async def commit(self, native: Any) -> None:
        await native.execute("COMMIT")

    async def rollback(self, native: Any) -> None:
        await native.execute("ROLLBACK")

    async def begin(self, native: Any) -> None:
        await native.execute("BEGIN")


class SQLAlchemyRows:
    """A table through an `AsyncSession` or an `AsyncConnection`."""

    def __init__(self, table: str) -> None:
        self._table = table

    async def create(self, native: Any) -> None:
        await native.execute(text(CREATE.format(table=self._table)))

    async def put(self, native: Any, key: str, value: str) -> None:
        await native.execute(text(f"INSERT INTO {self._table} VALUES (:key, :value)"), {"key": key, "value": value})

    async def all(self, native: Any) -> dict[str, str]:
        result = await native.execute(text(f"SELECT key, value FROM {self._table}"))
        return {row[0]: row[1] for row in result}

    async def commit(self, native: Any) -> None:
        await native.commit()

    async def rollback(self, native: Any) -> None:
        await native.rollback()

    async def begin(self, native: Any) -> None:
        await native.begin()
