"""What the toolkit's tables hold, for people who look after them. Reads only; one short transaction each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from stamp.stores.migrate import Execute, Status, migratable, status

_ROWS = """\
SELECT (SELECT count(*) FROM {inbox}), (SELECT count(*) FROM {inbox} WHERE expires_at < $1),
 (SELECT count(*) FROM {inbox} WHERE expires_at IS NULL), (SELECT count(*) FROM {outbox}),
 (SELECT min(created_at) FROM {outbox})"""

_RUNS = "SELECT count(*), count(CASE WHEN expires < $1 THEN 1 END) FROM {ledger}"
_RUNS_SINCE = 3
"""The file that made the ledger."""

_UNSENT = "SELECT run, message_id, exchange, routing_key, created_at FROM {outbox} ORDER BY id"

_HANDLED = {
    "sqlite": "SELECT message_id FROM {inbox} WHERE consumer = $1 AND message_id IN (SELECT value FROM json_each($2))",
    "postgres": "SELECT message_id FROM {inbox} WHERE consumer = $1 AND message_id = ANY($2)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """One look at the tables. Counts are 0 while the tables are not there."""

    status: Status
    inbox: int = 0
    """Rows of the inbox: messages that are known as handled."""
    expired: int = 0
    """Of those: rows that `prune` may delete."""
    kept: int = 0
    """Of those: rows without an end, of workflows without a deadline."""
    outbox: int = 0
    """Messages that are committed and not yet known as confirmed: the relay's lag."""
    oldest: float | None = None
    """When the oldest of them was written, epoch seconds."""
    ledger: int = 0
    """Rows of the ledger: runs whose history is kept here."""
    ledger_expired: int = 0
    """Of those: rows that `prune` may delete."""


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message in an outbox."""

    run: str
    message_id: str
    exchange: str
    routing_key: str
    at: float
    """When it was written, epoch seconds."""


async def survey(store: object, *, now: float) -> Survey:
    """Versions and row counts of an open store. Raises `BadConfiguration` for one without tables."""
    found = await status(store)
    if not found.applied:
        return Survey(status=found)
    target = migratable(store)
    async with target.altering() as execute:
        ((inbox, expired, kept, outbox, oldest),) = await _ask(execute, store, _ROWS, (now,))
        runs, over = (await _ask(execute, store, _RUNS, (now,)))[0] if _RUNS_SINCE in found.applied else (0, 0)
    rows = {"inbox": inbox, "expired": expired, "kept": kept, "outbox": outbox, "ledger": runs, "ledger_expired": over}
    return Survey(status=found, oldest=oldest, **rows)


async def unsent(store: object) -> list[Unsent]:
    """The outbox, oldest first."""
    async with migratable(store).altering() as execute:
        return [Unsent(*row) for row in await _ask(execute, store, _UNSENT, ())]


async def handled(store: object, consumer: str, keys: Collection[str]) -> set[str]:
    """Which of these messages the inbox knows as handled by `consumer`; each by its `stamp.ids.inbox_key`."""
    schema = migratable(store).schema
    async with migratable(store).altering() as execute:
        rows = await _ask(execute, store, _HANDLED[schema.dialect], (consumer, schema.array(list(keys))))
        return {str(row[0]) for row in rows}


async def _ask(execute: Execute, store: object, template: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
    schema = migratable(store).schema
    text = template.format(inbox=schema.inbox, outbox=schema.outbox, ledger=schema.ledger)
    return await execute(text.replace("$", "?") if schema.dialect == "sqlite" else text, values)
