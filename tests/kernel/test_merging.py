"""Uniting branches: the laws hold for whatever the branches did, and nothing is guessed."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp.beginning import begin
from stamp.decision import Done, Position, decide
from stamp.errors import Equivocation, MergeConflict
from stamp.evolution.subset import subset_problems
from stamp.merging import Policy, merge, merge_histories, merge_stamps, merge_states, policies_of
from stamp.model import Stamp
from stamp.schema import Contract
from tests.kernel.tables import NOW, ORDER, RUN, Charged, started

POLICIES: dict[str, Policy] = {"low": "min", "high": "max", "total": "sum", "all": "union"}
NUMBERS = st.integers(-5, 5)
STATES = st.fixed_dictionaries(
    {},
    optional={"low": NUMBERS, "high": NUMBERS, "total": NUMBERS, "all": st.lists(NUMBERS, max_size=3)},
)
FULL = st.fixed_dictionaries({"low": NUMBERS, "high": NUMBERS, "total": NUMBERS, "all": st.lists(NUMBERS, max_size=2)})


def several(base: dict[str, Any], states: list[dict[str, Any]]) -> dict[str, Any]:
    return merge_states(base, [{**base, **state} for state in states], POLICIES)


@given(FULL, st.lists(STATES, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_arrivals_does_not_matter(base: dict[str, Any], states: list[dict[str, Any]], random: Any) -> None:
    shuffled = random.sample(states, len(states))
    assert several(base, states) == several(base, shuffled)


@given(FULL, st.lists(STATES, max_size=2), st.lists(STATES, max_size=2))
def test_the_grouping_of_arrivals_does_not_matter(
    base: dict[str, Any], some: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    assert several(base, [*some, *others]) == several(base, [several(base, some), several(base, others)])


@given(FULL, STATES)
def test_one_branch_alone_is_taken_as_it_is(base: dict[str, Any], state: dict[str, Any]) -> None:
    own = {**base, **state}
    united = merge_states(base, [own, base], POLICIES)
    assert {name: united[name] for name in ("low", "high", "total")} == {
        name: own[name] for name in ("low", "high", "total")
    }


def test_disjoint_writes_combine_and_equal_writes_agree() -> None:
    assert merge_states({"a": 1}, [{"a": 1, "b": 2, "d": 5}, {"a": 1, "c": 3, "d": 5}], {}) == {
        "a": 1,
        "b": 2,
        "c": 3,
        "d": 5,
    }


def test_a_member_that_one_branch_removed_is_gone() -> None:
    assert merge_states({"a": 1, "b": 2}, [{"b": 2}, {"a": 1, "b": 2}], {}) == {"b": 2}


@pytest.mark.parametrize(("one", "other"), [(1, 2), (1, None), (1, True), (1, 1.0), ([1], [2])])
def test_branches_that_disagree_are_a_conflict_that_names_the_member(one: Any, other: Any) -> None:
    with pytest.raises(MergeConflict, match=r"disagree about state\.x"):
        merge_states({"x": 0}, [{"x": one}, {"x": other}], {})


def test_going_backward_a_conflict_falls_back_to_the_fork() -> None:
    assert merge_states({"x": 0}, [{"x": 1}, {"x": 2}], {}, fallback="base") == {"x": 0}


def test_sums_count_equal_changes_of_two_branches_twice() -> None:
    assert merge_states({"n": 5}, [{"n": 6}, {"n": 6}], {"n": "sum"}) == {"n": 7}


def test_policies_are_declared_on_the_state_type_and_travel_in_its_schema() -> None:
    class State(msgspec.Struct):
        total: Annotated[int, merge("sum")] = 0
        tags: Annotated[list[str], merge("union")] = []
        name: str = ""

    contract = Contract.derive("W", 1, State, [])
    assert policies_of(contract.document) == {"total": "sum", "tags": "union"}
    assert contract.document["$defs"]["State"]["properties"]["total"]["x-merge"] == "sum"


def child(number: int, *, event: object = Charged("o-1"), state: dict[str, Any] | None = None) -> Stamp:
    base = started().stamp
    at = Position(step=ORDER.step("charge"), action="do", message_id=RUN)
    inside = base.having({"branch": f"start:1.{number}/2"})
    return decide(ORDER, inside, at, Done(event=event, state=state or base.state), NOW).stamp


def test_histories_are_united_entry_by_entry_in_any_order() -> None:
    base, one, two = started().stamp, child(0), child(1)
    united = merge_histories(base, [two, one, one])
    assert united == merge_histories(base, [one, two])
    assert [msgspec.json.decode(raw)["branch"] for raw in united] == ["start:1.0/2", "start:1.1/2"]


def test_one_entry_with_two_contents_is_equivocation() -> None:
    other = child(0)
    forged = other.with_trail([msgspec.Raw(bytes(other.raw_history()[0]).replace(b'"charge"', b'"forged"'))], {})
    with pytest.raises(Equivocation, match=r"entry 1 of start:1\.0/2"):
        merge_histories(started().stamp, [other, forged])


def test_members_that_nobody_here_knows_survive_a_join() -> None:
    base = started().stamp.having({"ext": {"org.example": 1}})
    one = child(0).having({"ext": {"org.example": 1}, "later": [1], "crit": ["x"], "stamp": "1.4"})
    two = child(1).having({"ext": {"org.example": 1}, "crit": ["y"]})
    merged = merge_stamps(base, [one, two], {}, backward=False)
    assert merged.values["ext"] == {"org.example": 1}
    assert merged.values["later"] == [1]
    assert merged.values["crit"] == ["x", "y"]
    assert (merged.format, merged.seq, merged.branch, merged.phase) == ("1.4", 2, None, "forward")


def test_a_run_that_starts_is_the_base_of_its_own_fork() -> None:
    base = begin(ORDER, ORDER.start("o"), run=RUN, state={}, now=NOW).stamp
    assert merge_stamps(base, [], {}, backward=False) == base


def test_a_merge_policy_in_a_frozen_schema_stays_within_what_the_compatibility_gate_judges() -> None:
    class State(msgspec.Struct):
        total: Annotated[int, merge("sum")] = 0
        tags: Annotated[list[str], merge("union")] = []

    assert subset_problems(Contract.derive("W", 1, State, []).document) == []
