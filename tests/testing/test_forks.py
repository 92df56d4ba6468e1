"""Forks and joins on the bench: real services, real stores, the embedded broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stamp.errors import DefinitionError, UndeclaredEvent
from stamp.layout import JOURNAL
from stamp.reading.audit import Account, Book, Evidence, judge
from stamp.reading.timeline import timeline
from stamp.testing.record import Run
from stamp.testing.runner import OpenBench, SyncBench
from stamp.workflow import Workflow
from tests.testing.orders import (
    DONE,
    ORDERED,
    STATE,
    Charged,
    House,
    Order,
    Picked,
    Reserved,
    dynamic,
    independent,
    nested,
    static,
)

Open = Callable[[House], SyncBench]


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, bench: OpenBench) -> Open:
    return lambda house: bench(*house.all, store=request.param)


def play(table: SyncBench, house: House) -> Run:
    run = table.start(house.flow, ORDERED, state=STATE)
    table.settle()
    return table.run(run)


def before(house: House, one: str, other: str) -> bool:
    return house.calls.index(one) < house.calls.index(other)


def undone(house: House) -> list[str]:
    return [call.removeprefix("undo ") for call in house.calls if call.startswith("undo ")]


def notices(table: SyncBench) -> list[str]:
    keys = [message.routing_key for message in table.published.of_kind("progress")]
    return [key for key in keys if key.startswith("end.")]


def test_two_steps_on_one_event_run_side_by_side_and_meet_in_the_join(opened: Open) -> None:
    house = House(static())
    run = play(opened(house), house)
    assert (run.status, sorted(house.calls)) == ("completed", ["charge", "check", "reserve", "ship", "tell"])
    assert house.calls[-2:] == ["ship", "tell"]
    [joined] = house.joined
    assert (joined[Charged], joined[Reserved], joined.missing) == (Charged("r-1"), Reserved("s-1"), ())


def test_the_history_behind_a_join_has_every_branch_once(opened: Open) -> None:
    house = House(static())
    run = play(opened(house), house)
    assert [(entry.seq, entry.step, entry.branch) for entry in run.history] == [
        (1, "check", None),
        (2, "charge", "check:1.0/2"),
        (2, "reserve", "check:1.1/2"),
        (4, "ship", None),
        (5, "tell", None),
    ]
    assert run.stamp.seq == 5


def test_what_branches_wrote_into_the_state_comes_together(opened: Open) -> None:
    house = House(static())

    def charged(state: Order) -> None:
        state.receipt, state.weight = "r-1", 3
        state.notes = [*state.notes, "paid"]

    def reserved(state: Order) -> None:
        state.shelf, state.weight = "s-1", 4
        state.notes = [*state.notes, "packed"]

    house.change = {"charge": charged, "reserve": reserved}
    run = play(opened(house), house)
    assert run.state == {
        "order": "o",
        "receipt": "r-1",
        "shelf": "s-1",
        "weight": 7,
        "notes": ["packed", "paid"],
        "clash": "",
    }


def test_branches_that_disagree_without_a_policy_are_held_and_nothing_is_lost(opened: Open) -> None:
    house = House(static())
    house.change = {
        "charge": lambda state: setattr(state, "clash", "one"),
        "reserve": lambda state: setattr(state, "clash", "two"),
    }
    table = opened(house)
    run = play(table, house)
    assert [held.reason for held in table.held] == ["merge-conflict"]
    assert 'branches disagree about state.clash: "one" and "two"' in table.held[0].detail
    assert run.status == "held"


def test_an_arrival_that_comes_twice_counts_once(opened: Open) -> None:
    house = House(static())
    table = opened(house)
    play(table, house)
    for message in [*table.published.of_type("Charged"), *table.published.of_type("Checked")]:
        table.call(table._bench.redeliver(message))
    table.settle()
    assert sorted(house.calls) == ["charge", "check", "reserve", "ship", "tell"]
    assert notices(table) == ["end.completed"]


def test_a_failed_branch_turns_the_other_then_the_trunk(opened: Open) -> None:
    house = House(static(), refuse={"reserve"})
    table = opened(house)
    run = play(table, house)
    assert (run.status, undone(house), notices(table)) == ("compensated", ["charge", "check"], ["end.compensated"])
    assert run.error is not None
    assert (run.error["step"], run.error["message"]) == ("reserve", "reserve refused")
    outcomes = [(entry.step, entry.outcome, entry.undoes) for entry in run.history]
    assert outcomes == [
        ("check", "ok", None),
        ("charge", "ok", None),
        ("reserve", "failed", None),
        ("charge", "undone", 2),
        ("ship", "skipped", None),
        ("check", "undone", 1),
    ]


def test_two_failed_branches_end_the_run_once(opened: Open) -> None:
    house = House(static(), refuse={"reserve", "charge"})
    table = opened(house)
    run = play(table, house)
    assert (run.status, undone(house), notices(table)) == ("compensated", ["check"], ["end.compensated"])


def test_a_failure_behind_the_join_undoes_both_branches_then_the_trunk(opened: Open) -> None:
    house = House(static(), refuse={"ship"})
    run = play(opened(house), house)
    assert run.status == "compensated"
    assert (sorted(undone(house)[:2]), undone(house)[2:]) == (["charge", "reserve"], ["check"])


def test_a_join_is_undone_before_its_branches(opened: Open) -> None:
    house = House(static(), refuse={"tell"})
    run = play(opened(house), house)
    assert run.status == "compensated"
    assert (undone(house)[0], sorted(undone(house)[1:3]), undone(house)[3:]) == (
        "ship",
        ["charge", "reserve"],
        ["check"],
    )


def test_an_undo_that_is_held_in_a_branch_is_released_and_the_run_ends_compensated_once(opened: Open) -> None:
    house = House(static(), refuse={"reserve"})
    table = opened(house)
    table.fail("undo:charge", times=2)
    run = play(table, house)
    assert (run.status, [held.reason for held in table.held]) == ("held", ["undo-failed"])
    table.release()
    table.settle()
    assert table.run(run.id).status == "compensated"
    assert (undone(house), notices(table)) == (["charge", "check"], ["end.compensated"])


def test_a_join_that_fails_for_a_while_is_tried_again_with_all_its_branches(opened: Open) -> None:
    house = House(static())
    table = opened(house)
    table.fail("ship", times=1)
    run = play(table, house)
    assert (run.status, house.calls[-2:]) == ("completed", ["ship", "tell"])
    assert [entry.attempt for entry in run.history if entry.step == "ship"] == [2]


def test_a_list_of_events_opens_one_branch_for_each(opened: Open) -> None:
    house = House(dynamic())
    run = play(opened(house), house)
    assert run.status == "completed"
    assert sorted(house.calls) == ["check", "pick:a", "pick:b", "pick:c", "ship", "tell"]
    assert [picked.name for picked in house.joined[0].each(Picked)] == ["a", "b", "c"]
    assert len(set(house.keys)) == len(house.keys)


def test_one_failed_item_undoes_all_the_others_each_with_what_it_kept(opened: Open) -> None:
    house = House(dynamic(), refuse={"pick:b"})
    table = opened(house)
    run = play(table, house)
    assert (run.status, notices(table)) == ("compensated", ["end.compensated"])
    assert (sorted(undone(house)[:-1]), undone(house)[-1]) == (["pick:a", "pick:c"], "check")
    assert len(set(house.keys)) == len(house.keys)


def test_items_are_undone_each_once_after_a_failed_join(opened: Open) -> None:
    house = House(dynamic(), refuse={"ship"})
    run = play(opened(house), house)
    assert run.status == "compensated"
    assert (sorted(undone(house)[:-1]), undone(house)[-1]) == (["pick:a", "pick:b", "pick:c"], "check")
    assert len(set(house.keys)) == len(house.keys)


def test_an_empty_list_is_held_with_the_way_out(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DONE, "DYNAMIC.check", lambda _: [])
    house = House(dynamic())
    table = opened(house)
    play(table, house)
    assert [held.reason for held in table.held] == ["undeclared-event"]
    assert "an empty list" in table.held[0].detail


def test_forks_in_forks_come_together_from_the_inside_out(opened: Open) -> None:
    house = House(nested())
    run = play(opened(house), house)
    assert run.status == "completed"
    assert sorted(house.calls) == sorted(
        ["check", "charge", "split", "gather", "ship", "tell"]
        + [f"{step}:{item}" for step in ("pick", "weigh", "label") for item in "ab"]
        + ["pack", "pack"]
    )
    assert before(house, "gather", "ship")
    assert before(house, "charge", "ship")
    keys = [(entry.branch, entry.seq) for entry in run.history]
    assert len(keys) == len(set(keys)) == run.stamp.seq - run.stamp.folded


@pytest.mark.parametrize("step", ["weigh:a", "pick:b", "pack", "gather", "charge", "split", "ship"])
def test_a_failure_anywhere_in_nested_forks_undoes_everything_once_effects_before_causes(
    opened: Open, step: str
) -> None:
    house = House(nested(), refuse={step})
    table = opened(house)
    run = play(table, house)
    assert (run.status, notices(table)) == ("compensated", ["end.compensated"])
    done = [call for call in house.calls if not call.startswith("undo ")]
    expected = [call for call in done if call not in {"ship", "tell"}]
    assert sorted(undone(house)) == sorted(expected)
    assert len(set(house.keys)) == len(house.keys)
    for cause, effect in [("check", "charge"), ("check", "split"), ("split", "pick:a"), ("pick:a", "weigh:a")]:
        if effect in undone(house):
            assert undone(house).index(effect) < undone(house).index(cause)


@pytest.mark.parametrize("make", [static, dynamic, nested])
def test_a_service_without_a_store_can_not_hold_a_join(bench: OpenBench, make: Callable[[], Workflow]) -> None:
    with pytest.raises(DefinitionError, match="joins branches, and the service has no store"):
        bench(*House(make()).all, store=None)


def test_a_join_whose_time_is_up_turns_what_came_and_what_comes_late(opened: Open) -> None:
    house = House(static(timeout="90m", missing="fail"))
    warehouse = house.services.pop("warehouse")
    table = opened(house)
    run = play(table, house)
    table.advance("89m")
    assert undone(house) == []
    table.advance("2m")
    assert (table.run(run.id).status, undone(house)) == ("compensating", ["charge"])
    table.deploy(warehouse)
    table.settle()
    assert (table.run(run.id).status, undone(house)) == ("compensated", ["charge", "reserve", "check"])
    error = table.run(run.id).error
    assert error is not None
    assert (error["type"], error["step"], error["message"]) == ("Timeout", "ship", "branch 1 of 2 did not come in time")
    assert [entry.outcome for entry in table.run(run.id).history if entry.step == "ship"] == ["timeout"]


def test_a_join_that_may_proceed_runs_without_the_missing_branch_and_turns_it_when_it_comes(opened: Open) -> None:
    house = House(static(timeout="1h", missing="proceed"))
    warehouse = house.services.pop("warehouse")
    table = opened(house)
    run = play(table, house)
    table.advance("61m")
    [joined] = house.joined
    assert (joined[Charged], joined[Reserved], joined.missing) == (Charged("r-1"), None, (1,))
    assert table.run(run.id).status == "completed"
    table.deploy(warehouse)
    table.settle()
    assert (undone(house), notices(table)) == (["reserve"], ["end.completed"])
    assert table.run(run.id).status == "completed"


def test_a_join_that_waits_waits_for_ever(opened: Open) -> None:
    house = House(static(timeout="1h", missing="wait"))
    warehouse = house.services.pop("warehouse")
    table = opened(house)
    run = play(table, house)
    table.advance("5h")
    assert table.run(run.id).status == "running"
    table.deploy(warehouse)
    table.settle()
    assert table.run(run.id).status == "completed"


def test_the_timer_of_a_join_that_ran_in_time_does_nothing(opened: Open) -> None:
    house = House(static(timeout="1h", missing="fail"))
    table = opened(house)
    run = play(table, house)
    calls = list(house.calls)
    table.advance("2h")
    assert (house.calls, table.run(run.id).status, notices(table)) == (calls, "completed", ["end.completed"])
    assert table.held == ()


def test_a_branch_that_is_late_for_the_deadline_turns_the_run(opened: Open) -> None:
    house = House(static())
    warehouse = house.services.pop("warehouse")
    table = opened(house)
    run = play(table, house)
    table.advance("49h")
    table.deploy(warehouse)
    table.settle()
    found = table.run(run.id)
    assert (found.status, undone(house)) == ("compensated", ["charge", "check"])
    assert [entry.outcome for entry in found.history if entry.step == "reserve"] == ["timeout"]


def test_the_record_of_a_run_shows_its_open_branches(opened: Open) -> None:
    house = House(static())
    warehouse = house.services.pop("warehouse")
    table = opened(house)
    record = play(table, house).record
    assert [entry.step for entry in record.done] == ["check", "charge"]
    assert [(head.branch, head.stamp.event) for head in record.current] == [
        ("", "Checked"),
        ("check:1.0/2", "Charged"),
    ]
    assert record.remaining(house.flow) == ("charge", "reserve", "ship", "tell")
    assert record.to_undo == ("charge", "check")
    table.deploy(warehouse)
    table.settle()
    assert [head.branch for head in table.run(record.run).record.current] == [""]


def test_a_branch_that_is_held_holds_the_run(opened: Open) -> None:
    house = House(static())
    table = opened(house)
    table.fail("reserve", error=UndeclaredEvent("odd"))
    run = play(table, house)
    assert (run.status, run.record.held is not None) == ("held", True)
    table.release()
    table.settle()
    assert table.run(run.id).status == "completed"


def test_no_hop_of_a_run_with_branches_looks_like_two(opened: Open) -> None:
    for refuse in (set(), {"weigh:a"}, {"ship"}, {"charge"}):
        house = House(nested(), refuse=set(refuse))
        table = opened(house)
        assert not play(table, house).record.equivocal
        table.__exit__(None, None, None)


def test_independent_branches_end_each_by_itself_and_the_run_with_the_last(opened: Open) -> None:
    house = House(independent())
    table = opened(house)
    run = play(table, house)
    assert (run.status, sorted(house.calls)) == ("completed", ["charge", "check", "reserve"])
    assert notices(table) == ["end.completed", "end.completed"]


def test_an_independent_branch_walks_back_alone_and_not_beyond_its_fork(opened: Open) -> None:
    house = House(independent(), refuse={"reserve"})
    table = opened(house)
    run = play(table, house)
    assert (undone(house), sorted(notices(table))) == ([], ["end.compensated", "end.completed"])
    assert run.record.ended


def test_a_run_is_running_while_one_of_its_independent_branches_is(opened: Open) -> None:
    house = House(independent())
    warehouse = house.services.pop("warehouse")
    table = opened(house)
    run = play(table, house)
    assert run.status == "running"
    table.deploy(warehouse)
    table.settle()
    assert table.run(run.id).status == "completed"


def test_a_timeline_shows_every_hop_of_every_branch(opened: Open) -> None:
    house = House(static(), refuse={"ship"})
    table = opened(house)
    run = play(table, house)
    seen = [message.sighting for message in table.published if message.sighting and message.run == run.id]
    line = timeline(seen)
    hops = [(moment.seq, moment.step, moment.branch, moment.what) for moment in line.moments if moment.step]
    assert hops[:4] == [
        (1, "check", "", "ok"),
        (2, "charge", "check:1.0/2", "ok"),
        (2, "reserve", "check:1.1/2", "ok"),
        (4, "ship", "", "failed"),
    ]
    assert len(hops) == len(run.history)
    assert all((moment.wait or 0) >= 0 for moment in line.moments)


def test_an_audit_calls_a_run_with_open_branches_in_flight_and_one_whose_branches_ended_ended(opened: Open) -> None:
    house = House(static())
    warehouse = house.services.pop("warehouse")
    table = opened(house)
    play(table, house)

    def account() -> Account:
        book = Book()
        stream = table.broker.node.stream(JOURNAL)
        for record in stream.records(0, stream.end):
            book.enter(record)
        return judge(book, Evidence(), now=table.clock.now() + 1e6, older_than=0)

    assert account().places == {"its branches": 1}
    table.deploy(warehouse)
    table.settle()
    assert (account().count("completed"), account().missing, account().doubled) == (1, [], [])
