"""The toolkit's SQL, written once for both dialects. Parameters are `$1`, `$2`, … (SQLite: `?1`, `?2`, …)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stamp.errors import BadConfiguration
from stamp.stores.ledger_sql import LedgerSQL, ledger_sql

Dialect = Literal["sqlite", "postgres"]
Statement = tuple[str, Sequence[Any]]

# PostgreSQL only; "STAMP" in ASCII. One claimer at a time, so that none overtakes a row that another just took.
ADVISORY_CLAIM = "SELECT pg_advisory_xact_lock(357895851344)"
ADVISORY_MIGRATE = "SELECT pg_advisory_xact_lock(357895851345)"

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}", re.ASCII)

_SEEN = """\
INSERT INTO {inbox} (consumer, message_id, expires_at) VALUES ($1, $2, $3)
 ON CONFLICT DO NOTHING RETURNING {transaction}"""

_KNOWN = "SELECT message_id FROM {inbox} WHERE message_id {in_1} AND consumer = $2"

# PostgreSQL only: says also which transaction it was. Each id is looked up by the whole key (LIMIT keeps the planner
# from joining): with `= ANY` it reads every row of a consumer that its statistics don't know yet, and filters.
_LOOK = """\
SELECT txid_current(), ARRAY(SELECT asked.id FROM unnest($1::text[]) AS asked (id),
 LATERAL (SELECT 1 FROM {inbox} WHERE consumer = $2 AND message_id = asked.id LIMIT 1) AS seen)"""

# SQLite only: whoever holds its one lock since the look needs no answer.
_NOTE = "INSERT INTO {inbox} (consumer, message_id, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

_EMIT = """\
INSERT INTO {outbox} (message_id, run, exchange, routing_key, mandatory, properties, body, created_at, lease_until,
 lease_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (message_id) DO NOTHING"""

# PostgreSQL only: what is forgotten and what is written in one round trip; says which transaction it was, and how many
# messages it was the first to record.
_FINISH = """\
WITH gone AS (DELETE FROM {outbox} WHERE message_id = ANY($1)),
noted AS (INSERT INTO {inbox} (consumer, message_id, expires_at)
 SELECT * FROM unnest($12::text[], $13::text[], $14::float8[]) ON CONFLICT DO NOTHING RETURNING 1),
put AS (INSERT INTO {outbox}
 (message_id, run, exchange, routing_key, mandatory, properties, body, created_at, lease_until, lease_by)
 SELECT message_id, run, exchange, routing_key, mandatory, properties, body, created_at, lease_until, lease_by
 FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bool[], $7::text[], $8::bytea[], $9::float8[],
  $10::float8[], $11::text[]) WITH ORDINALITY AS row (message_id, run, exchange, routing_key, mandatory, properties,
  body, created_at, lease_until, lease_by, number) ORDER BY number
ON CONFLICT (message_id) DO NOTHING)
SELECT txid_current(), (SELECT count(*) FROM noted)"""

_FORGET = "DELETE FROM {outbox} WHERE message_id {in_1}"

_UNLEASE = "UPDATE {outbox} SET lease_until = 0 WHERE message_id {in_1} AND lease_by = $2"

_REVIVE = "UPDATE {outbox} SET lease_until = 0 WHERE run {in_1} AND lease_by <> $2"

# A row waits while an earlier row of its run is held: a relay never overtakes what is still in flight.
_CLAIM = """\
WITH held AS (SELECT run, min(id) AS first FROM {outbox} WHERE lease_until > $1 GROUP BY run),
 free AS (SELECT o.id FROM {outbox} AS o LEFT JOIN held ON held.run = o.run
  WHERE o.lease_until <= $1 AND (held.first IS NULL OR o.id < held.first) ORDER BY o.id LIMIT $2 {skip_locked_o})
UPDATE {outbox} SET lease_until = $3, lease_by = $4 WHERE id IN (SELECT id FROM free)
RETURNING id, message_id, exchange, routing_key, mandatory, properties, body"""

_BACKLOG = "SELECT count(*) FROM {outbox}"

_PRUNE = """\
DELETE FROM {inbox} WHERE (consumer, message_id) IN
 (SELECT consumer, message_id FROM {inbox} WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 {skip_locked})
RETURNING 1"""

# PostgreSQL only. A lock by name: before the first arrival there is no row that could be locked.
_LOCK_JOIN = "SELECT pg_advisory_xact_lock(hashtextextended($1, 357895851346))"

_GATHER = "SELECT name, record FROM {joins} WHERE join_id = $1 ORDER BY name"

_ARRIVE = """\
INSERT INTO {joins} (join_id, name, record, expires_at) VALUES ($1, $2, $3, $4)
 ON CONFLICT (join_id, name) DO UPDATE SET record = excluded.record, expires_at = excluded.expires_at"""

_PRUNE_JOINS = """\
DELETE FROM {joins} WHERE (join_id, name) IN
 (SELECT join_id, name FROM {joins} WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 {skip_locked})
RETURNING 1"""

_HAS_META: Mapping[Dialect, str] = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
    "postgres": "SELECT 1 WHERE to_regclass($1) IS NOT NULL",
}
_META = "CREATE TABLE IF NOT EXISTS {meta} (version INTEGER PRIMARY KEY)"
_VERSIONS = "SELECT version FROM {meta} ORDER BY version"
_RECORD = "INSERT INTO {meta} (version) VALUES ($1) ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class Schema:
    """Where the toolkit's tables are and how this dialect says what it does with them."""

    dialect: Dialect
    inbox: str
    outbox: str
    joins: str
    ledger: str
    meta: str
    place: str
    """The prefix on SQLite, the schema on PostgreSQL: a checked identifier, safe to write into SQL."""
    seen: str
    known: str
    note: str
    emit: str
    finish: str
    forget: str
    unlease: str
    revive: str
    claim: str
    backlog: str
    prune: str
    lock_join: str
    gather: str
    arrive: str
    prune_joins: str
    books: LedgerSQL
    create_meta: str
    has_meta: str
    """A row when the table of the name given is there."""
    versions: str
    record: str
    array: Callable[[Sequence[str]], Any]
    """A list of strings as the one parameter that `IN` takes."""


def sqlite_schema(prefix: str) -> Schema:
    """Tables `<prefix>inbox` and so on. Raises `BadConfiguration` on a bad prefix."""
    place = identifier(prefix, what="table prefix")
    words = {"in_1": "IN (SELECT value FROM json_each($1))", "transaction": "1", "skip_locked": "", "skip_locked_o": ""}
    return _schema("sqlite", place, place, words, _as_json)


def postgres_schema(schema: str) -> Schema:
    """Tables `inbox`, `outbox`, `joins`, `ledger`, `meta` in that schema. Raises `BadConfiguration` on a bad name."""
    place = identifier(schema, what="schema")
    skip = "FOR UPDATE SKIP LOCKED"
    words = {
        "in_1": "= ANY($1)",
        "transaction": "txid_current()",
        "skip_locked": skip,
        "skip_locked_o": "FOR UPDATE OF o SKIP LOCKED",
    }
    return _schema("postgres", place, f'"{place}".', words, list)


def forgetting(schema: Schema, message_ids: Sequence[str]) -> list[Statement]:
    """The delete of these outbox rows; nothing when there are none."""
    return [(schema.forget, (schema.array(message_ids),))] if message_ids else []


def identifier(name: str, *, what: str) -> str:
    """`name` when it is a plain ASCII identifier; raises `BadConfiguration` otherwise."""
    if _IDENTIFIER.fullmatch(name):
        return name
    raise BadConfiguration(
        f"{what} {name!r} is not a plain identifier",
        fix="use letters, digits and _ only, starting with a letter, at most 48 characters",
    )


def _schema(
    dialect: Dialect, place: str, before: str, words: dict[str, str], array: Callable[[Sequence[str]], Any]
) -> Schema:
    tables = {name: f"{before}{name}" for name in ("inbox", "outbox", "joins", "ledger", "meta")}

    def say(template: str) -> str:
        text = template.format(**tables, **words)
        return text.replace("$", "?") if dialect == "sqlite" else text

    return Schema(
        dialect=dialect,
        **tables,
        place=place,
        seen=say(_SEEN),
        known=say(_KNOWN if dialect == "sqlite" else _LOOK),
        note=say(_NOTE),
        emit=say(_EMIT),
        finish=say(_FINISH),
        forget=say(_FORGET),
        unlease=say(_UNLEASE),
        revive=say(_REVIVE),
        claim=say(_CLAIM),
        backlog=say(_BACKLOG),
        prune=say(_PRUNE),
        lock_join=say(_LOCK_JOIN),
        gather=say(_GATHER),
        arrive=say(_ARRIVE),
        prune_joins=say(_PRUNE_JOINS),
        books=ledger_sql(say, arrays=dialect == "postgres"),
        create_meta=say(_META),
        has_meta=say(_HAS_META[dialect]),
        versions=say(_VERSIONS),
        record=say(_RECORD),
        array=array,
    )


def _as_json(values: Sequence[str]) -> str:
    return json.dumps(list(values))
