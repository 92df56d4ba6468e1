"""Old versions are lifted step by step, or the message is held; nothing is guessed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp.errors import DefinitionError, PayloadInvalid, StateInvalid, TooNew, UnknownWorkflow
from stamp.evolution import Upcast, Upcasters, newest, too_new


def split_name(state: dict[str, Any]) -> dict[str, Any]:
    first, _, last = state.pop("name").partition(" ")
    return {**state, "first": first, "last": last}


def shout(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "last": state["last"].upper()}


CHAIN = Upcasters("NEW_TICKET", {1: split_name, 2: Upcast(state=shout, events={"Created": lambda it: {**it, "v": 3}})})


def test_a_chain_lifts_one_version_after_the_other() -> None:
    assert CHAIN.state({"name": "Ada Lovelace", "x": 1}, 1, 3) == {"first": "Ada", "last": "LOVELACE", "x": 1}


def test_an_event_passes_the_links_that_do_not_name_it() -> None:
    assert CHAIN.event("Created", {"id": 1}, 1, 3) == {"id": 1, "v": 3}


def test_no_way_to_go_changes_nothing() -> None:
    assert CHAIN.state({"name": "Ada"}, 2, 2) == {"name": "Ada"}


def test_the_input_stays_as_it_was_even_when_an_upcast_writes_into_it() -> None:
    state = {"name": "Ada Lovelace", "tags": ["a"]}
    Upcasters("W", {1: lambda it: it["tags"].clear() or it}).state(state, 1, 2)
    CHAIN.state(state, 1, 3)
    assert state == {"name": "Ada Lovelace", "tags": ["a"]}


def test_a_version_that_is_served_is_not_lifted() -> None:
    assert CHAIN.goal(1, {1, 2, 3}) == 1


def test_a_version_that_is_gone_goes_to_the_nearest_that_is_served() -> None:
    assert CHAIN.goal(1, {2, 3}) == 2


def test_a_version_above_all_that_are_served_is_too_new() -> None:
    with pytest.raises(TooNew, match="version 4: known are 2, 3"):
        CHAIN.goal(4, {2, 3})


def test_a_missing_link_holds_the_message_and_names_the_link() -> None:
    with pytest.raises(UnknownWorkflow, match=r"no longer known here.*upcasts=\{2: \.\.\.\}"):
        Upcasters("W", {1: split_name}).goal(1, {3})


def test_lifting_over_a_missing_link_is_the_same_clear_error() -> None:
    with pytest.raises(UnknownWorkflow, match="W version 2 is no longer known here and nothing lifts it to 3"):
        Upcasters("W", {1: split_name}).state({"name": "Ada"}, 1, 3)


def test_an_upcast_that_raises_holds_the_message_with_its_words() -> None:
    with pytest.raises(StateInvalid, match=r"upcast 1 -> 2 of the state of NEW_TICKET raised KeyError: 'name'"):
        CHAIN.state({}, 1, 3)


def test_an_upcast_of_a_payload_that_raises_is_a_payload_error() -> None:
    with pytest.raises(PayloadInvalid, match="upcast 1 -> 2 of Made of W raised"):
        Upcasters("W", {1: Upcast(events={"Made": lambda it: it["gone"]})}).event("Made", {}, 1, 2)


def test_an_upcast_that_forgets_to_return_holds_the_message() -> None:
    with pytest.raises(StateInvalid, match="returned NoneType, not a dict"):
        Upcasters("W", {1: lambda it: it.clear()}).state({"a": 1}, 1, 2)


@pytest.mark.parametrize("upcasts", [{0: split_name}, {1: "text"}])
def test_a_table_of_upcasts_that_makes_no_sense_is_refused_when_defined(upcasts: Any) -> None:
    with pytest.raises(DefinitionError, match="upcasts of W"):
        Upcasters("W", upcasts)


@given(own=st.integers(0, 9999), incoming=st.integers(0, 9999))
def test_a_hop_writes_the_larger_minor_by_number(own: int, incoming: int) -> None:
    assert newest(f"1.{own}", f"1.{incoming}") == f"1.{max(own, incoming)}"


@pytest.mark.parametrize("incoming", ["2.0", "0.9", "1", "", "one.two", "1.0\n"])
def test_another_major_has_no_larger_version(incoming: str) -> None:
    with pytest.raises(TooNew):
        newest("1.0", incoming)


@pytest.mark.parametrize(
    ("stamp", "why"),
    [
        ({"stamp": "2.0"}, "2.0 is not 1.x"),
        ({"stamp": "1.0", "crit": ["zip"]}, "zip"),
        ({"stamp": "1.0", "phase": "paused"}, "unknown phase 'paused'"),
    ],
)
def test_what_only_a_newer_reader_knows_is_too_new(stamp: dict[str, Any], why: str) -> None:
    assert why in str(too_new(stamp, own="1.0"))


@pytest.mark.parametrize(
    "stamp",
    [
        {"stamp": "1.7", "phase": "forward", "crit": []},
        {"stamp": "1.0", "crit": ["known"]},
        {},
        {"stamp": 2, "crit": "zip", "phase": None},
        {"stamp": "x.y", "crit": [1]},
    ],
)
def test_what_is_known_or_broken_is_not_too_new(stamp: dict[str, Any]) -> None:
    assert too_new(stamp, own="1.0", features={"known"}) is None
