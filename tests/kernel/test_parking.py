"""A held message lies whole in its queue, whatever it carried, and fits in a frame."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.contract import FRAME_LIMIT, Message
from brokers.framesize import header_frame_size, refusal
from stamp.parking import DETAIL, ENVELOPE, REASON, park, sendable, unpark

NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20).map("h_{}".format)
VALUES = st.recursive(
    st.text(max_size=20) | st.integers(-(2**31), 2**31) | st.booleans() | st.binary(max_size=20) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


def parked(message: Message, detail: str = "why") -> Message:
    return park(message, service="s", reason="invalid", detail=detail, now=1.5, origin={}).message


def message(**headers: Any) -> Message:
    return Message(body=b"\x00body", message_id="m", headers=headers, content_type="text/plain")


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=50))
def test_what_is_parked_comes_back_as_it_was(headers: dict[str, Any], body: bytes) -> None:
    original = Message(body=body, message_id="m", headers=headers, content_type="text/plain")
    assert unpark(parked(original)) == original


def test_plain_headers_stay_headers_so_that_tools_can_read_the_stamp() -> None:
    lying = parked(message(stamp="{}", tenant="t"))
    assert (lying.headers["stamp"], lying.headers["tenant"], lying.body) == ("{}", "t", b"\x00body")
    assert lying.headers[REASON] == "invalid"


def test_headers_that_would_overflow_the_frame_move_into_the_body() -> None:
    lying = parked(message(stamp="{}", big="x" * 129_000))
    assert (lying.content_type, lying.headers["stamp"]) == (ENVELOPE, "{}")
    assert header_frame_size(lying) < FRAME_LIMIT


def test_a_stamp_that_leaves_no_room_for_the_note_moves_too() -> None:
    original = message(stamp="x" * 130_000)
    lying = parked(original)
    assert "stamp" not in lying.headers
    assert unpark(lying) == original


def test_a_message_without_an_id_gets_a_stand_in_that_is_the_same_each_time_and_goes_again() -> None:
    original = Message(body=b"b", message_id="", headers={"stamp": "{}"})
    assert parked(original).message_id == parked(original).message_id != ""
    assert unpark(parked(original)) == original


def test_headers_that_would_route_a_publish_elsewhere_are_not_sent_as_headers() -> None:
    lying = parked(message(stamp="{}", CC=["other-queue"], BCC="x"))
    assert {"CC", "BCC"}.isdisjoint(lying.headers)


@given(st.dictionaries(st.text(max_size=200), VALUES | st.integers() | st.text(st.characters()), max_size=4))
def test_whatever_was_held_a_broker_takes_it(headers: dict[str, Any]) -> None:
    parcel = park(message(**headers), service="s", reason="r", detail="\ud800", now=1.5, origin={})
    assert refusal(parcel) is None


def test_a_header_with_a_lone_surrogate_is_kept_as_it_was() -> None:
    original = message(stamp="{}", odd=["a\ud800b"], table={"inner": "\udfff"})
    assert unpark(parked(original)) == original


@pytest.mark.parametrize("name", ["a\ud800b", "\udfff"])
def test_a_header_whose_name_has_no_utf_8_does_not_keep_a_message_from_being_held(name: str) -> None:
    parcel = park(message(**{name: ["x"]}), service="s", reason="r", detail="d", now=1.5, origin={})
    assert refusal(parcel) is None


def test_the_brokers_own_headers_are_not_taken_along() -> None:
    lying = parked(message(stamp="{}", **{"x-death": [{"count": 1}], "x-delivery-count": 3}))
    assert not any(name.startswith("x-") for name in lying.headers)


def test_a_message_that_is_held_again_carries_one_note_and_the_newest() -> None:
    twice = park(parked(message()), service="s", reason="failed", detail="later", now=2.5, origin={}).message
    assert (twice.headers[REASON], twice.headers[DETAIL]) == ("failed", "later")
    assert unpark(twice) == message()


def test_a_very_long_detail_is_cut() -> None:
    assert len(parked(message(), "x" * 100_000).headers[DETAIL]) == 2000


def test_the_attempt_counts_from_one_again_after_a_release() -> None:
    assert "stamp_attempt" not in unpark(parked(message(stamp_attempt=5))).headers


def test_only_headers_that_amqp_takes_from_a_publisher_are_sent_on() -> None:
    assert sendable(message(a="1", b=b"2", c=[3])).headers == {"a": "1"}
