"""A publication as an outbox row, and back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from brokers.contract import Message, Publication
from stamp.stores.rows import properties_of, publication_of, row_of

TEXT = some.text(some.characters(exclude_categories=[]), max_size=12)
HEADERS = some.dictionaries(
    TEXT, TEXT | some.integers(-(2**63), 2**63 - 1) | some.booleans() | some.floats(), max_size=4
)


@given(HEADERS, some.none() | TEXT, some.none() | some.integers(0, 2**40))
def test_what_a_row_keeps_is_ascii_and_reads_back_as_it_was(
    headers: dict[str, Any], run: str | None, at: int | None
) -> None:
    message = Message(body=b"", message_id="m", headers=headers, correlation_id=run, timestamp=at)
    text = properties_of(message)
    assert text.isascii()
    given = {"correlation_id": run, "timestamp": at}
    kept = json.loads(text)
    assert repr(kept["headers"]) == repr(headers)
    assert {name: kept.get(name) for name in given} == given


@given(some.dictionaries(TEXT, TEXT | some.integers(-(2**63), 2**63 - 1), max_size=4), some.binary(max_size=20))
def test_a_publication_comes_back_from_its_row(headers: dict[str, Any], body: bytes) -> None:
    sent = Publication("events", "key", Message(body=body, message_id="m", type="T", headers=headers), mandatory=True)
    row = row_of(sent, run="r", now=1.0, lease_until=2.0, lease_by="me")
    assert (
        publication_of((row.message_id, row.exchange, row.routing_key, row.mandatory, row.properties, row.body)) == sent
    )
