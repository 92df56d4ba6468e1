"""The same handlers under every owner of the state do the same: forward, back, through forks, again and again."""

from __future__ import annotations

from functools import partial

import pytest

from stamp.style import Style
from tests.styles.conftest import Open
from tests.styles.stages import ALL, COUNTED, DESK, ORCHESTRATED, STAMPED, Stage, label
from tests.styles.tables import chain, line, parted
from tests.testing.orders import (
    Charged,
    Reserved,
    dynamic,
    independent,
    nested,
    static,
)

STYLES = pytest.mark.parametrize("style", ALL, ids=label)
COUNTING = pytest.mark.parametrize("style", COUNTED, ids=label)


@STYLES
def test_a_run_completes(stored: Open, style: Style) -> None:
    stage = stored(static, style).play()
    assert (stage.status, stage.ends) == ("completed", ["end.completed"])
    assert stage.done == ["charge", "check", "reserve", "ship", "tell"]
    stage.agrees()


@STYLES
def test_a_failure_before_anything_can_be_undone_ends_the_run(staged: Open, style: Style) -> None:
    stage = staged(line, style, refuse={"check"}).play()
    assert (stage.status, stage.ends, stage.house.calls) == ("compensated", ["end.compensated"], [])
    stage.agrees()


@STYLES
def test_a_failure_behind_the_pivot_is_held_and_goes_on_when_it_is_released(staged: Open, style: Style) -> None:
    stage = staged(chain, style)
    stage.table.fail("tell", times=2)
    stage.play()
    assert (stage.status, [held.reason for held in stage.table.held]) == ("held", ["failed"])
    stage.agrees()
    stage.table.release()
    stage.table.settle()
    assert (stage.status, stage.ends, stage.done) == ("completed", ["end.completed"], ["charge", "check", "tell"])
    stage.agrees()


@STYLES
def test_a_failure_undoes_what_ran_in_reverse_order(stored: Open, style: Style) -> None:
    stage = stored(line, style, refuse={"tell"}).play()
    assert (stage.status, stage.ends) == ("compensated", ["end.compensated"])
    assert stage.undone == ["ship", "charge", "check"]
    stage.agrees()


@STYLES
def test_a_step_that_failed_half_way_is_undone_first(staged: Open, style: Style) -> None:
    stage = staged(line, style, refuse={"ship", "ship half-way"}).play()
    assert (stage.status, stage.ends) == ("compensated", ["end.compensated"])
    assert stage.undone == ["ship", "charge", "check"]
    stage.agrees()


@STYLES
def test_why_a_run_turned_back_is_told_with_its_end(staged: Open, style: Style) -> None:
    stage = staged(line, style, refuse={"tell"}).play()
    assert stage.found.error is not None
    assert (stage.found.error["type"], stage.found.error["step"]) == ("Fail", "tell")
    if stage.owner and (row := stage.row()):
        assert row.error == "Fail: tell refused"


@STYLES
def test_a_failed_branch_turns_the_other_then_the_trunk(stored: Open, style: Style) -> None:
    stage = stored(static, style, refuse={"reserve"}).play()
    assert (stage.status, stage.ends, stage.undone) == ("compensated", ["end.compensated"], ["charge", "check"])
    stage.agrees()


@STYLES
def test_two_failed_branches_end_the_run_once(staged: Open, style: Style) -> None:
    stage = staged(static, style, refuse={"reserve", "charge"}).play()
    assert (stage.status, stage.ends, stage.undone) == ("compensated", ["end.compensated"], ["check"])
    stage.agrees()


@STYLES
@pytest.mark.parametrize("step", ["ship", "tell"])
def test_a_failure_behind_the_join_undoes_the_join_both_branches_and_the_trunk(
    stored: Open, style: Style, step: str
) -> None:
    stage = stored(static, style, refuse={step}).play()
    assert (stage.status, stage.ends, stage.undone[-1]) == ("compensated", ["end.compensated"], "check")
    assert sorted(stage.undone[-3:-1]) == ["charge", "reserve"]
    assert stage.undone[:-3] == (["ship"] if step == "tell" else [])
    stage.agrees()


@STYLES
@pytest.mark.parametrize(("refused", "undone"), [("", 0), ("reserve", 1), ("ship", 2), ("tell", 3)])
def test_a_run_may_begin_with_a_fork(staged: Open, style: Style, refused: str, undone: int) -> None:
    stage = staged(parted, style, {refused}).play()
    assert (stage.status, len(stage.undone)) == ("compensated" if refused else "completed", undone)
    assert len(stage.ends) == 1
    stage.agrees()


@COUNTING
def test_items_are_picked_side_by_side_and_meet(staged: Open, style: Style) -> None:
    stage = staged(dynamic, style).play()
    assert (stage.status, stage.ends) == ("completed", ["end.completed"])
    assert stage.done == ["check", "pick:a", "pick:b", "pick:c", "ship", "tell"]
    stage.agrees()


@COUNTING
@pytest.mark.parametrize("step", ["pick:b", "ship"])
def test_items_are_undone_each_with_what_it_kept(staged: Open, style: Style, step: str) -> None:
    stage = staged(dynamic, style, refuse={step}).play()
    assert (stage.status, stage.ends, stage.undone[-1]) == ("compensated", ["end.compensated"], "check")
    assert sorted(stage.undone[:-1]) == sorted({"pick:a", "pick:b", "pick:c"} - {step})
    stage.agrees()


@COUNTING
def test_forks_in_forks_come_together(staged: Open, style: Style) -> None:
    stage = staged(nested, style).play()
    assert (stage.status, stage.ends, len(stage.done)) == ("completed", ["end.completed"], 14)
    stage.agrees()


@COUNTING
@pytest.mark.parametrize("step", ["weigh:a", "pick:b", "pack", "gather", "charge", "split", "ship"])
def test_a_failure_anywhere_in_nested_forks_undoes_everything_once_effects_before_causes(
    staged: Open, style: Style, step: str
) -> None:
    stage = staged(nested, style, refuse={step}).play()
    assert (stage.status, stage.ends) == ("compensated", ["end.compensated"])
    assert sorted(stage.undone) == [name for name in stage.done if name not in {"ship", "tell"}]
    for cause, effect in [("check", "charge"), ("check", "split"), ("split", "pick:a"), ("pick:a", "weigh:a")]:
        if effect in stage.undone:
            assert stage.undone.index(effect) < stage.undone.index(cause)
    stage.agrees()


@STYLES
def test_independent_branches_end_each_by_itself(stored: Open, style: Style) -> None:
    stage = stored(independent, style).play()
    assert (stage.status, stage.ends) == ("completed", ["end.completed"] * 2)
    stage.agrees()


@STYLES
def test_an_independent_branch_walks_back_alone_and_not_beyond_its_fork(staged: Open, style: Style) -> None:
    stage = staged(independent, style, refuse={"reserve"}).play()
    assert (stage.undone, sorted(stage.ends)) == ([], ["end.compensated", "end.completed"])
    assert stage.found.record.ended
    stage.agrees()


@STYLES
def test_a_join_whose_time_is_up_turns_what_came_and_what_comes_late(staged: Open, style: Style) -> None:
    stage = staged(partial(static, timeout="90m", missing="fail"), style, without=("warehouse",)).play()
    stage.table.advance("89m")
    assert stage.undone == []
    stage.table.advance("2m")
    stage.back([stage.house.services["warehouse"]])
    assert (stage.status, stage.ends) == ("compensated", ["end.compensated"])
    assert (sorted(stage.undone[:2]), stage.undone[2:]) == (["charge", "reserve"], ["check"])
    stage.agrees()


@STYLES
def test_a_join_that_may_proceed_runs_without_a_branch_and_turns_it_when_it_comes(stored: Open, style: Style) -> None:
    stage = stored(partial(static, timeout="1h", missing="proceed"), style, without=("warehouse",)).play()
    stage.table.advance("61m")
    [joined] = stage.house.joined
    assert (joined[Charged], joined[Reserved], joined.missing) == (Charged("r-1"), None, (1,))
    assert stage.status == "completed"
    stage.back([stage.house.services["warehouse"]])
    assert (stage.undone, stage.ends, stage.status) == (["reserve"], ["end.completed"], "completed")
    stage.agrees()


@STYLES
def test_a_branch_that_comes_after_the_run_went_back_without_it_is_undone_as_well(staged: Open, style: Style) -> None:
    make = partial(static, timeout="1h", missing="proceed")
    stage = staged(make, style, refuse={"tell"}, without=("warehouse",)).play()
    stage.table.advance("61m")
    assert stage.undone[0] == "ship"
    stage.back([stage.house.services["warehouse"]])
    assert (stage.status, stage.ends) == ("compensated", ["end.compensated"])
    assert sorted(stage.undone) == ["charge", "check", "reserve", "ship"]
    assert before(stage.undone, "charge", "check")
    stage.agrees()


@STYLES
def test_tries_are_counted_and_shown(staged: Open, style: Style) -> None:
    stage = staged(line, style)
    stage.table.fail("charge", times=2)
    stage.play()
    assert (stage.status, stage.done) == ("completed", ["charge", "check", "ship", "tell"])
    if stage.owner and (row := stage.row()):
        assert row.attempts == 6
    stage.agrees()


@STYLES
def test_an_undo_that_keeps_failing_is_held_and_goes_on_when_it_is_released(stored: Open, style: Style) -> None:
    stage = stored(line, style, refuse={"tell"})
    stage.table.fail("undo:charge", times=3)
    stage.play()
    assert (stage.status, stage.undone) == ("held", ["ship"])
    stage.agrees()
    stage.table.release("undo-failed")
    stage.table.settle()
    assert (stage.status, stage.undone) == ("compensated", ["ship", "charge", "check"])
    assert (stage.ends, stage.table.held) == (["end.compensated"], ())
    stage.agrees()


@STYLES
def test_a_step_that_comes_too_late_turns_the_run(staged: Open, style: Style) -> None:
    stage = staged(line, style, without=("shipping",)).play()
    stage.table.advance("49h")
    stage.back([stage.house.services["shipping"]])
    assert (stage.status, stage.ends, stage.undone) == ("compensated", ["end.compensated"], ["charge", "check"])
    assert stage.found.error is not None
    assert stage.found.error["type"] == "Late"


@pytest.mark.parametrize("style", [DESK, ORCHESTRATED], ids=label)
@pytest.mark.parametrize("refused", ["", "ship", "weigh:a", "charge"])
def test_a_run_is_told_as_its_stamped_twin_is(staged: Open, style: Style, refused: str) -> None:
    mine, twin = staged(nested, style, {refused}).play(), staged(nested, STAMPED, {refused}).play()
    assert story(mine) == story(twin)


def story(stage: Stage) -> object:
    record = stage.found.record
    done = sorted((entry.step, entry.outcome, entry.visit) for entry in record.done if entry.outcome == "ok")
    return (stage.status, stage.ends, done, sorted(stage.undone), record.remaining(stage.house.flow))


def before(calls: list[str], one: str, other: str) -> bool:
    return calls.index(one) < calls.index(other)
