"""Every check that a message passes before a handler sees it, one at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.contract import Message
from stamp import Workflow
from stamp.codec import HARD_LIMIT, Codec, attempt_of, parse
from stamp.errors import (
    Looping,
    NoStamp,
    OutputInvalid,
    PayloadInvalid,
    SignatureInvalid,
    StampError,
    StampInvalid,
    StampTooLarge,
    StampUnreadable,
    StateInvalid,
    TooNew,
    UnknownWorkflow,
)
from stamp.evolution import Upcast
from stamp.history import fold
from stamp.model import Stamp
from stamp.outgoing import publications
from stamp.seal import HmacKey, KeyRing
from stamp.workflow import Step
from tests.kernel.tables import NOW, ORDER, Charged, Order, Ordered, finish, run_through, started

CODEC = Codec()
VERSIONS = {1: ORDER}


def message(stamp: Stamp | str | bytes | None = None, **more: Any) -> Message:
    """The message that starts a run of ORDER, with another stamp or other properties."""
    decision = started()
    first = publications(decision, ORDER, CODEC, service="shop", now=NOW, trace={})[0].message
    if stamp is not None:
        header = stamp.to_json().decode() if isinstance(stamp, Stamp) else stamp
        first = replace(first, headers={**first.headers, "stamp": header})
    return replace(first, **more)


def refusal(message: Message, versions: dict[int, Workflow] | None = None, codec: Codec = CODEC) -> StampError:
    with pytest.raises(StampError) as raised:
        codec.decode(message, versions or VERSIONS)
    return raised.value


def changed(**members: Any) -> Message:
    return message(started().stamp.having(members))


def test_a_sound_message_is_opened() -> None:
    arrival = CODEC.decode(message(), VERSIONS)
    assert (arrival.workflow, arrival.payload, arrival.attempt) == (ORDER, {"order": "o-1"}, 1)
    assert arrival.stamp == started().stamp


def test_a_message_without_a_stamp_is_held() -> None:
    assert isinstance(refusal(message(headers={})), NoStamp)


@pytest.mark.parametrize("header", ["", "{", "[]", "7", '"text"', '{"a":NaN}', b"\xff\xfe", "{}extra"])
def test_a_stamp_that_is_no_json_object_is_held(header: str | bytes) -> None:
    assert isinstance(refusal(message(header)), StampUnreadable)


def test_a_nesting_bomb_is_held_before_it_is_parsed() -> None:
    bomb = started().stamp.to_json().decode()[:-1] + ',"ext":' + "[" * 5000 + "]" * 5000 + "}"
    assert "nested more than 32" in str(refusal(message(bomb)))


def test_a_stamp_over_the_hard_limit_is_held() -> None:
    assert "the limit is 65536" in str(refusal(changed(state={"order": "x" * HARD_LIMIT, "amount": 1})))


@pytest.mark.parametrize(
    "members", [{"stamp": "2.0"}, {"crit": ["time-travel"]}, {"phase": "sideways"}, {"version": 9}]
)
def test_what_is_newer_than_this_reader_waits_for_a_newer_one(members: dict[str, Any]) -> None:
    assert isinstance(refusal(changed(**members)), TooNew)


@pytest.mark.parametrize(
    "members",
    [
        {"seq": -1},
        {"seq": "0"},
        {"run": "not-a-uuid"},
        {"started": "yesterday"},
        {"workflow": "1ST"},
        {"state": []},
        {"event": None},
        {"seq": 3},
    ],
)
def test_a_stamp_that_breaks_the_schema_is_held(members: dict[str, Any]) -> None:
    stamp = run_through("charge").stamp if members == {"seq": 3} else started().stamp
    assert isinstance(refusal(message(stamp.having(members))), StampInvalid)


def test_a_stamp_of_another_workflow_is_held() -> None:
    assert isinstance(refusal(changed(workflow="OTHER")), UnknownWorkflow)


def test_a_stamp_without_its_history_is_held() -> None:
    assert "there is none" in str(refusal(message(Stamp(started().stamp.values, None))))


def test_state_that_breaks_the_schema_of_its_version_is_held() -> None:
    error = refusal(changed(state={"order": 7}))
    assert isinstance(error, StateInvalid)
    assert "order" in str(error)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"order":7}', b"{}", b"\xff", b"[" * 10_000])
def test_a_payload_that_breaks_its_schema_is_held(body: bytes) -> None:
    assert isinstance(refusal(message(body=body)), PayloadInvalid)


@pytest.mark.parametrize("message_id", ["", "1", "not-a-uuid", "019A0000-0000-7000-8000-000000000001"])
def test_an_id_that_is_no_canonical_uuid_is_held(message_id: str) -> None:
    assert isinstance(refusal(message(message_id=message_id)), StampInvalid)


@pytest.mark.parametrize("type_", ["", "Charged", "undo:charge"])
def test_a_type_that_does_not_fit_the_stamp_is_held(type_: str) -> None:
    assert isinstance(refusal(message(type=type_)), StampInvalid)


def test_a_run_that_has_ended_takes_no_further_step() -> None:
    assert "has ended" in str(refusal(changed(phase="completed")))


def test_a_run_that_hops_for_ever_is_stopped() -> None:
    stamp = started().stamp.having({"seq": 64})
    assert isinstance(refusal(message(stamp)), Looping)


@pytest.mark.parametrize("attempt", [0, -1, "2", 2**40, None, 1.5])
def test_an_attempt_header_that_makes_no_sense_counts_as_the_first(attempt: object) -> None:
    assert attempt_of(message(headers={"stamp_attempt": attempt})) == 1


def test_a_stamp_over_budget_is_refused_before_it_is_sent_and_the_biggest_members_are_named() -> None:
    stamp = started().stamp.having({"state": {"order": "o", "essay": "x" * 60_000, "poem": "y" * 9_000}})
    with pytest.raises(StampTooLarge, match=r"state.essay 60002 bytes, state.poem 9002 bytes"):
        CODEC.encode(stamp)


def test_an_event_that_its_schema_refuses_is_not_sent() -> None:
    decision = finish(started(), "charge")
    message = msgspec.structs.replace(decision.messages[0], event=Charged(order=7))
    broken = msgspec.structs.replace(decision, messages=(message,))
    with pytest.raises(OutputInvalid, match="Charged"):
        publications(broken, ORDER, CODEC, service="payments", now=NOW, trace={})


SIGNED = Workflow("ORDER", version=1, state=Order, start=Ordered, steps=ORDER.steps, signed=True)
KEYS = KeyRing([HmacKey("k1", b"s" * 32)], signing="k1")


def signed() -> Message:
    return publications(started(SIGNED), SIGNED, Codec(keys=KEYS), service="shop", now=NOW, trace={})[0].message


def test_a_signed_message_is_opened_with_the_right_key() -> None:
    assert Codec(keys=KEYS).decode(signed(), {1: SIGNED}).stamp.run


@pytest.mark.parametrize(
    "change", [{"body": b'{"order":"o-2"}'}, {"message_id": "019a0000-0000-7000-8000-00000000000f"}]
)
def test_a_signed_message_that_was_changed_is_held(change: dict[str, Any]) -> None:
    assert isinstance(refusal(replace(signed(), **change), {1: SIGNED}, Codec(keys=KEYS)), SignatureInvalid)


def test_a_missing_signature_is_held_when_policy_asks_for_one() -> None:
    bare = replace(signed(), headers={"stamp": signed().headers["stamp"]})
    assert isinstance(refusal(bare, {1: SIGNED}, Codec(keys=KEYS)), SignatureInvalid)


def test_a_service_without_keys_holds_signed_messages() -> None:
    assert isinstance(refusal(signed(), {1: SIGNED}), SignatureInvalid)


class OrderTwo(msgspec.Struct):
    order: str
    cents: int


def renamed(document: dict[str, Any]) -> dict[str, Any]:
    return {"order": document["order"], "cents": document["amount"] * 100}


def test_a_run_of_a_version_that_is_gone_is_lifted_to_the_one_that_is_served() -> None:
    second = Workflow(
        "ORDER",
        version=2,
        state=OrderTwo,
        start=Ordered,
        steps=[Step("charge", service="payments", on=Ordered)],
        upcasts={1: Upcast(state=renamed, events={"Ordered": lambda old: {"order": old["order"].upper()}})},
    )
    arrival = CODEC.decode(message(), {2: second})
    assert (arrival.stamp.version, arrival.stamp.state) == (2, {"order": "o-1", "cents": 700})
    assert arrival.payload == {"order": "O-1"}


def test_a_run_keeps_its_version_while_that_is_served() -> None:
    second = Workflow("ORDER", version=2, start=Ordered, steps=[Step("charge", service="payments", on=Ordered)])
    assert CODEC.decode(message(), {1: ORDER, 2: second}).workflow is ORDER


MEMBERS = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}_new", fullmatch=True),
    st.recursive(st.none() | st.integers() | st.text(max_size=9), lambda x: st.lists(x, max_size=3), max_leaves=5),
    max_size=4,
)


@given(MEMBERS, MEMBERS)
def test_what_goes_in_comes_out_with_every_unknown_member(top: dict[str, Any], inner: dict[str, Any]) -> None:
    stamp = run_through("charge").stamp.having({**top, "state": {"order": "o", "amount": 1, **inner}})
    again = parse(CODEC.encode(stamp).encode())
    assert again == stamp
    assert again.to_json() == stamp.to_json()


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_header_whatsoever_makes_the_reader_raise_anything_else(header: bytes) -> None:
    assert refusal(message(header)).disposition == "hold"


def test_decoding_and_encoding_without_a_change_gives_the_same_bytes() -> None:
    stamp = run_through("charge", "pack").stamp
    assert fold(parse(stamp.to_json()), ORDER).to_json() == stamp.to_json()


@pytest.mark.parametrize("member", ["started", "deadline"])
def test_a_day_that_no_calendar_has_is_invalid(member: str) -> None:
    error = refusal(changed(**{member: "2026-02-30T09:00:00Z"}))
    assert (error.reason, member in str(error)) == ("invalid", True)


@pytest.mark.parametrize("value", [True, 1.5, "2", 0, -1, 10**9])
def test_an_attempt_that_is_no_sensible_number_counts_as_the_first(value: object) -> None:
    attempt = attempt_of(message(headers={"stamp_attempt": value}))
    assert (attempt, type(attempt)) == (1, int)
