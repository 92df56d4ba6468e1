"""What the journal's readers make of messages that somebody else wrote."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.contract import Message
from stamp.branching import around, natural, place_of, within
from stamp.codec import parse
from stamp.ledger import Record, apply
from stamp.model import ENDED
from stamp.sighting import Sighting, sight
from tests.kernel.tables import RUN, started

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


PATHS = ["", *(f"a:1.{a}/2" for a in range(2)), *(f"a:1.0/2|b:{visit}.{b}/3" for visit in (1, 2) for b in range(3))]
"""A trunk, a fork of two, and in its first branch a fork of three that is visited twice."""


def head(branch: str, seq: int, phase: str) -> Sighting:
    values = {**started().stamp.to_dict(), "seq": seq, "phase": phase, **({"branch": branch} if branch else {})}
    stamp = parse(msgspec.json.encode(values))
    return Sighting(stamp=stamp, kind="progress", at=0.0, attempt=1, message_id="m", routing_key="Charged")


def followed(one: Sighting, heads: list[Sighting]) -> bool:
    """The same in the words of the promise, however long it takes."""

    def past(other: Sighting) -> bool:
        return other.stamp.seq > one.stamp.seq or other.stamp.phase in ENDED

    if any(
        past(other) for other in heads if other is not one and (not other.branch or within(one.branch, other.branch))
    ):
        return True
    places = [place_of(other.branch) for other in heads if other.branch and other.stamp.seq >= one.stamp.seq]
    inside = [place for place in places if (place.parent or "") == one.branch]
    return any(sum(other.fork == place.fork for other in inside) == place.children for place in inside)


@given(st.dictionaries(st.sampled_from(PATHS), st.tuples(st.integers(0, 4), st.sampled_from(["forward", "completed"]))))
def test_where_a_run_stands_are_the_heads_that_nothing_followed(where: dict[str, tuple[int, str]]) -> None:
    heads = [head(branch, *far) for branch, far in where.items()]
    record = Record(run=RUN, heads={one.branch: one for one in heads})
    assert set(map(id, record.current)) == {id(one) for one in heads if not followed(one, heads)}
    assert [one.branch for one in record.current] == sorted((one.branch for one in record.current), key=natural)
    assert record.current is record.current, "worked out once"


def test_the_paths_around_a_branch_go_from_the_innermost_to_the_trunk() -> None:
    assert around("a:1.0/2|b:1.1/3") == ["a:1.0/2", ""]
    assert around("") == []
