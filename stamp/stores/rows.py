"""A publication as an outbox row and back, the same for every adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from brokers.contract import Message, Publication

_PROPERTIES = (
    "type",
    "correlation_id",
    "app_id",
    "timestamp",
    "content_type",
    "content_encoding",
    "reply_to",
)


class OutboxRow(NamedTuple):
    """One row as it is inserted; the field order is the order of the parameters of the insert."""

    message_id: str
    run: str
    exchange: str
    routing_key: str
    mandatory: bool
    properties: str
    body: bytes
    created_at: float
    lease_until: float
    lease_by: str


InboxRow = tuple[str, str, float | None]
"""Consumer, message id and when it may be pruned: the parameters of the insert, in their order."""


@dataclass(slots=True)
class Unwritten:
    """Rows that are not in the database yet. A message's inbox row and its outbox rows get there in one stroke."""

    inbox: list[InboxRow] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.inbox or self.outbox)

    def __add__(self, later: Unwritten) -> Unwritten:
        return Unwritten(self.inbox + later.inbox, self.outbox + later.outbox)

    def extend(self, later: Unwritten) -> None:
        """These rows, then those."""
        self.inbox += later.inbox
        self.outbox += later.outbox


def row_of(publication: Publication, *, run: str, now: float, lease_until: float, lease_by: str) -> OutboxRow:
    """The row that keeps `publication` byte for byte; times are epoch seconds."""
    message = publication.message
    return OutboxRow(
        message.message_id,
        run,
        publication.exchange,
        publication.routing_key,
        publication.mandatory,
        properties_of(message),
        bytes(message.body),
        now,
        lease_until,
        lease_by,
    )


def properties_of(message: Message) -> str:
    """Everything but the body and the message id, as JSON; values that are not set are left out."""
    given = {name: value for name in _PROPERTIES if (value := getattr(message, name)) is not None}
    given["headers"] = dict(message.headers)
    # ASCII only: no database then has an opinion about NUL or lone surrogates.
    return json.dumps(given, separators=(",", ":"))


def publication_of(row: Sequence[Any]) -> Publication:
    """The publication that a claimed row keeps: message_id, exchange, routing_key, mandatory, properties, body."""
    message_id, exchange, routing_key, mandatory, properties, body = row
    given: Mapping[str, Any] = json.loads(properties)
    message = Message(body=bytes(body), message_id=message_id, **given)
    return Publication(exchange, routing_key, message, mandatory=bool(mandatory))


def publications_in_order(rows: Sequence[Sequence[Any]]) -> list[Publication]:
    """Claimed rows (id first) as publications, oldest first: `UPDATE ... RETURNING` keeps no order."""
    return [publication_of(row[1:]) for row in sorted(rows, key=lambda row: row[0])]
