"""Durations, ids, retry policies and grafts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp.duration import seconds, text
from stamp.errors import DefinitionError
from stamp.graft import graft
from stamp.ids import first_message, idempotency_key, inbox_key, next_message, run_id
from stamp.retry import LADDER, Retry, rung

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


@pytest.mark.parametrize(("written", "length"), [("250ms", 0.25), ("1s", 1), ("48h", 172800), ("7d", 604800), (2, 2)])
def test_a_length_of_time_is_read_in_seconds(written: str | float, length: float) -> None:
    assert seconds(written) == length


@pytest.mark.parametrize("written", ["", "1", "1 week", "-1s", "0s", "1s\n2s", float("inf"), float("nan"), -3])
def test_what_is_no_length_of_time_is_refused(written: str | float) -> None:
    with pytest.raises(DefinitionError, match="is not a length of time"):
        seconds(written)


@given(st.sampled_from(LADDER))
def test_every_rung_of_the_ladder_has_a_text_that_reads_back(pause: float) -> None:
    assert seconds(text(pause)) == pause


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_a_run_id_is_a_version_7_uuid_that_sorts_by_time(milliseconds: int, entropy: bytes) -> None:
    run = UUID(run_id(milliseconds / 1000, entropy))
    assert (run.version, run.variant) == (7, "specified in RFC 4122")


def test_ids_follow_from_what_was_consumed_and_nothing_else() -> None:
    run = run_id(1.0, b"0123456789")
    first = first_message(run)
    assert next_message(first, "assign", "do") == next_message(first, "assign", "do")
    others = {
        next_message(first, "assign", "undo"),
        next_message(first, "assign", "do", "b"),
        next_message(first, "x", "do"),
    }
    assert next_message(first, "assign", "do") not in others
    assert idempotency_key(run, "a", "do", visit=1) != idempotency_key(run, "a", "do", visit=2)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("5x 1s..60s", Retry(5, 1, 60)),
        ("3x", Retry(3, 1, 60)),
        ("2x 100ms", Retry(2, 0.1, 0.1)),
        ("1x 2h", Retry(1, 7200, 7200)),
    ],
)
def test_a_retry_policy_is_read_from_its_text(policy: str, expected: Retry) -> None:
    assert Retry.parse(policy) == expected


@pytest.mark.parametrize("policy", ["", "x", "0x 1s", "5x 60s..1s", "five times", "5x 1s..60s extra"])
def test_what_is_no_retry_policy_is_refused(policy: str) -> None:
    with pytest.raises(DefinitionError):
        Retry.parse(policy)


@given(st.integers(1, 10**9), st.text(max_size=40))
def test_every_pause_is_a_rung_and_the_same_for_the_same_message(attempt: int, seed: str) -> None:
    policy = Retry(5, 1, 60)
    assert policy.delay(attempt, seed=seed) in LADDER
    assert policy.delay(attempt, seed=seed) == policy.delay(attempt, seed=seed)


def test_pauses_grow_up_to_the_ceiling() -> None:
    pauses = [Retry(9, 1, 60).delay(attempt, seed="m") for attempt in range(1, 9)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60


@given(st.text(max_size=40))
def test_no_pause_is_longer_than_the_rung_of_the_ceiling(seed: str) -> None:
    assert max(Retry(9, 60, 120).delay(attempt, seed=seed) for attempt in range(1, 9)) <= rung(120)


def test_a_pause_beyond_the_ladder_takes_its_last_rung() -> None:
    assert (rung(0.01), rung(42), rung(10**9)) == (LADDER[0], 60, LADDER[-1])


@given(OBJECTS, OBJECTS)
def test_a_graft_onto_a_view_that_knows_everything_is_the_new_value(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert graft(before, before, after) == after


@given(OBJECTS, OBJECTS)
def test_unknown_members_survive_any_change_of_the_known_ones(before: dict[str, Any], after: dict[str, Any]) -> None:
    raw = {**before, "unknown": {"x": [1, {"y": None}]}}
    assert graft(raw, before, after)["unknown"] == {"x": [1, {"y": None}]}


def test_unknown_members_survive_inside_a_list_whose_item_moved() -> None:
    raw = [{"id": 1, "new": "a"}, {"id": 2, "new": "b"}]
    assert graft(raw, [{"id": 1}, {"id": 2}], [{"id": 2}, {"id": 3}, {"id": 1}]) == [
        {"id": 2, "new": "b"},
        {"id": 3},
        {"id": 1, "new": "a"},
    ]


def test_unknown_members_survive_in_a_list_item_that_changed_in_place() -> None:
    assert graft([{"id": 1, "new": "a"}], [{"id": 1}], [{"id": 9}]) == [{"id": 9, "new": "a"}]


@given(OBJECTS)
def test_empty_values_are_values(raw: dict[str, Any]) -> None:
    after = {**raw, "a": "", "b": 0, "c": None, "d": []}
    assert graft(raw, raw, after) == after


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=2, unique=True), st.binary(min_size=20, max_size=20))
def test_an_inbox_keeps_the_messages_of_older_runs_before_those_of_later_ones(
    moments: list[int], thrown: bytes
) -> None:
    early, late = (run_id(moment / 1000, thrown[n : n + 10]) for n, moment in enumerate(sorted(moments)))
    assert inbox_key(early, first_message(early)) < inbox_key(late, first_message(late))
    second = next_message(first_message(early), "assign", "do")
    assert inbox_key(early, first_message(early)) != inbox_key(early, second)
