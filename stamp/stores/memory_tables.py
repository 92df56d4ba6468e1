"""Tables in memory whose changes can be undone: what a transaction is when there is no database."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from copy import deepcopy
from enum import Enum
from typing import Any


class _Absent(Enum):
    """Where there was no row. An enum's member survives `deepcopy` as itself."""

    ROW = 0


Entry = tuple["MemoryTable", Any, Any]


class UndoLog:
    """What the values were before this transaction touched them. Reading counts: a row may be changed in place."""

    def __init__(self) -> None:
        self.open = False
        self.number = 0
        """Which transaction is open: a handler that ends one and begins another is found out by it."""
        self._entries: list[Entry] = []
        self._kept: list[set[tuple[int, Any]]] = []

    def begin(self) -> None:
        self.open = True
        self.number += 1
        self._entries, self._kept = [], [set()]

    def end(self) -> None:
        """Keep everything."""
        self.open = False
        self._entries, self._kept = [], []

    def mark(self) -> int:
        """A savepoint."""
        self._kept.append(set())
        return len(self._entries)

    def release(self) -> None:
        """Forget the last savepoint and keep what was done since."""
        inner = self._kept.pop()
        self._kept[-1] |= inner

    def rewind(self, mark: int = 0) -> None:
        """Put back every value touched since `mark`, last first."""
        while len(self._entries) > mark:
            table, key, value = self._entries.pop()
            table.put_back(key, value)
        self._kept[-1].clear()

    def keep(self, table: MemoryTable, key: Any, value: Any) -> None:
        """Remember `value` unless this savepoint already does."""
        if not self.open or (id(table), key) in self._kept[-1]:
            return
        self._kept[-1].add((id(table), key))
        self._entries.append((table, key, deepcopy(value)))


class MemoryTable(MutableMapping[Any, Any]):
    """One table: key to row. A row may be any value and may be changed in place."""

    def __init__(self, log: UndoLog) -> None:
        self._log = log
        self._rows: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        row = self._rows[key]
        self._log.keep(self, key, row)
        return row

    def __setitem__(self, key: Any, row: Any) -> None:
        self._log.keep(self, key, self._rows.get(key, _Absent.ROW))
        self._rows[key] = row

    def __delitem__(self, key: Any) -> None:
        self._log.keep(self, key, self._rows[key])
        del self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"MemoryTable({self._rows!r})"

    def put_back(self, key: Any, row: Any) -> None:
        """Undo one change."""
        if row is _Absent.ROW:
            self._rows.pop(key, None)
        else:
            self._rows[key] = row

    def peek(self) -> dict[Any, Any]:
        """The rows as they are, for looking only: nothing is remembered for an undo."""
        return self._rows


class MemoryTables(MutableMapping[str, MutableMapping[Any, Any]]):
    """The user's tables, by name: `tables["ticket"]["T-1"] = {"status": "open"}`. A new name is an empty table.

    What is changed inside a transaction is restored when it rolls back, rows changed in place included.
    """

    def __init__(self, log: UndoLog) -> None:
        self._log = log
        self._tables: dict[str, MemoryTable] = {}

    def __getitem__(self, name: str) -> MemoryTable:
        if name not in self._tables:
            self._tables[name] = MemoryTable(self._log)
        return self._tables[name]

    def __setitem__(self, name: str, rows: MutableMapping[Any, Any]) -> None:
        table = self[name]
        table.clear()
        table.update(rows)

    def __delitem__(self, name: str) -> None:
        self._tables[name].clear()

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, table in self._tables.items() if table])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def begin(self) -> None:
        """Begin another transaction, as a driver's connection could. A handler that calls it is found out."""
        self._log.begin()

    def commit(self) -> None:
        """End the transaction, as a driver's connection could. A handler that calls it is found out."""
        self._log.end()

    def rollback(self) -> None:
        """Undo the transaction and end it, as a driver's connection could. A handler that calls it is found out."""
        if self._log.open:
            self._log.rewind()
        self._log.end()
