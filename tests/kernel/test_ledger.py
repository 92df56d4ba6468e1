"""What the journal's readers make of messages that somebody else wrote."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from brokers.contract import Message
from stamp.ledger import apply
from stamp.sighting import sight
from tests.kernel.tables import started

GOOD = {"seq": 1, "step": "charge", "service": "till", "at": "2026-11-23T09:00:00.000Z", "outcome": "ok"}


def seen(*history: Any) -> Message:
    """A message of a run with a history that others wrote; only its newest entry was checked by a service."""
    stamp = {**started().stamp.to_dict(), "seq": len(history), "history": list(history)}
    return Message(body=b"{}", message_id="m", headers={"stamp": msgspec.json.encode(stamp).decode()})


def test_a_sighting_shows_every_finished_hop() -> None:
    sighting = sight(seen(GOOD, {**GOOD, "seq": 2}), "ORDER", "Charged")
    assert sighting is not None
    assert [entry.seq for entry in apply(None, sighting).done] == [1, 2]


@pytest.mark.parametrize(
    "entry",
    [{}, 5, {**GOOD, "attempt": True}, {**GOOD, "seq": "1"}, {**GOOD, "at": "yesterday"}],
    ids=["empty", "no-object", "attempt-true", "seq-text", "no-time"],
)
def test_a_stamp_with_an_unreadable_entry_in_its_history_is_no_sighting(entry: Any) -> None:
    assert sight(seen(entry, {**GOOD, "seq": 2}), "ORDER", "Charged") is None


@pytest.mark.parametrize("moment", ["2026-02-30T09:00:00Z", "0000-01-01T00:00:00Z"])
def test_a_stamp_with_a_day_that_no_calendar_has_is_no_sighting(moment: str) -> None:
    assert sight(seen({**GOOD, "at": moment}), "ORDER", "Charged") is None
