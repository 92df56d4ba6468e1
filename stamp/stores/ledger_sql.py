"""The SQL of the ledger, in the way of `stamp.stores.sql`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stamp.ports import LedgerRow

COLUMNS = ", ".join(f'"{name}"' if name == "current" else name for name in LedgerRow._fields)
"""As both dialects take them, in the order of the row."""

_TYPES = {
    "version": "int8",
    "seq": "int8",
    "attempts": "int8",
    **dict.fromkeys(("started", "deadline", "updated", "ended", "expires"), "float8"),
    "record": "bytea",
}
_WORDS = {
    "columns": COLUMNS,
    "places": ", ".join(f"${number}" for number, _ in enumerate(LedgerRow._fields, 1)),
    "arrays": ", ".join(f"${number}::{_TYPES.get(name, 'text')}[]" for number, name in enumerate(LedgerRow._fields, 1)),
    "replace": ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:]),
}

# PostgreSQL only. Locks by name: a run may have no row yet. Another seed than the joins' keeps their names apart. Keys
# are locked in their own order, whatever order the runs come in: OFFSET holds the planner to it. Says which transaction
# it was. A statement of its own, because a snapshot is older than the locks that its statement waits for.
_LOCK = """\
SELECT txid_current(), count(pg_advisory_xact_lock(key)) FROM
 (SELECT DISTINCT hashtextextended(run, 357895851347) AS key FROM unnest($1::text[]) AS run
  ORDER BY key OFFSET 0) AS keys"""

_READ = "SELECT run, record FROM {ledger} WHERE run {in_1}"

_WRITE = """\
INSERT INTO {ledger} (%(columns)s) VALUES (%(places)s)
 ON CONFLICT (run) DO UPDATE SET %(replace)s"""

# PostgreSQL only: any number of rows in one round trip; says which transaction it was.
_WRITE_ALL = """\
WITH put AS (INSERT INTO {ledger} (%(columns)s) SELECT * FROM unnest(%(arrays)s)
 ON CONFLICT (run) DO UPDATE SET %(replace)s)
SELECT txid_current()"""

_COUNTS = "SELECT status, count(*) FROM {ledger} GROUP BY status"

_COUNTS_OF = "SELECT status, count(*) FROM {ledger} WHERE workflow = $1 GROUP BY status"

_PRUNE = """\
DELETE FROM {ledger} WHERE run IN
 (SELECT run FROM {ledger} WHERE expires < $1 ORDER BY expires LIMIT $2 {skip_locked})
RETURNING 1"""


@dataclass(frozen=True, slots=True)
class LedgerSQL:
    """How this dialect says what it does with the ledger."""

    lock: str
    read: str
    write: str
    """SQLite: a row. PostgreSQL: an array a column."""
    counts: str
    counts_of: str
    prune: str


def ledger_sql(say: Callable[[str], str], *, arrays: bool) -> LedgerSQL:
    """The statements, each as the dialect says it."""
    return LedgerSQL(
        lock=say(_LOCK),
        read=say(_READ),
        write=say((_WRITE_ALL if arrays else _WRITE) % _WORDS),
        counts=say(_COUNTS),
        counts_of=say(_COUNTS_OF),
        prune=say(_PRUNE),
    )
