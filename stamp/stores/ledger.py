"""Ledger rows as every adapter writes, finds and reads them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stamp.ports import LedgerRow

_NAMES = ("done", "current", "remaining", "to_undo")
_SURROGATES = range(0xD800, 0xE000)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What `stamp.ports.Books.ledger` is asked for."""

    runs: Sequence[str] | None = None
    prefix: str = ""
    workflow: str | None = None
    statuses: Sequence[str] = ()
    overdue: float | None = None
    limit: int = 1000

    def admits(self, row: LedgerRow) -> bool:
        """Whether the row is one of those asked for."""
        return (
            row.run.startswith(self.prefix)
            and self.workflow in {None, row.workflow}
            and (self.runs is None or row.run in self.runs)
            and (not self.statuses or row.status in self.statuses)
            and (self.overdue is None or _overdue(row, self.overdue))
        )


def writable(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """One row a run, the last one given, by run id: two transactions that write the same runs do not lock crosswise.

    What no text column of PostgreSQL holds (NUL, half a surrogate pair) is U+FFFD in `error`; the record has it all.
    """
    last = {row.run: row for row in rows}
    return [last[run]._replace(error=_UNSTORABLE.sub("\ufffd", last[run].error)) for run in sorted(last)]


def values_of(row: LedgerRow) -> tuple[Any, ...]:
    """The row as the parameters of the insert."""
    given = row._asdict()
    return tuple((given | {name: json.dumps(given[name]) for name in _NAMES}).values())


def row_of(values: Sequence[Any]) -> LedgerRow:
    """A selected row."""
    found: dict[str, Any] = dict(zip(LedgerRow._fields, values, strict=True))
    for name in _NAMES:
        found[name] = tuple(json.loads(found[name]))
    found["record"] = bytes(found["record"])
    return LedgerRow(**found)


def newest_first(row: LedgerRow) -> tuple[float, str]:
    """The key by which the greatest comes first in a list."""
    return row.started, row.run


def after(prefix: str) -> str | None:
    """The first text that is greater than all that begin with `prefix`; `None` when there is none."""
    for end in range(len(prefix), 0, -1):
        following = ord(prefix[end - 1]) + 1
        if following in _SURROGATES:  # which no database keeps
            following = _SURROGATES.stop
        if following <= sys.maxunicode:
            return prefix[: end - 1] + chr(following)
    return None


def _overdue(row: LedgerRow, moment: float) -> bool:
    return row.ended is None and row.deadline is not None and row.deadline < moment
