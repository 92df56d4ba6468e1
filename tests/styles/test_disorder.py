"""Messages twice, late or in the wrong order, and an owner that is away: nothing is lost, nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from brokers.contract import Publication
from stamp import Workflow
from stamp.style import Style
from tests.styles.conftest import Open
from tests.styles.stages import (
    ALL,
    COUNTED,
    DESK,
    ORCHESTRATED,
    OWN,
    OWNED,
    SHOP,
    STATELESS,
    Post,
    Stage,
    is_report,
    label,
    nothing,
    sent,
)
from tests.styles.tables import line
from tests.testing.orders import dynamic, nested, static

STYLES = pytest.mark.parametrize("style", ALL, ids=label)
OWNERS = pytest.mark.parametrize("style", OWNED, ids=label)
DESKS = pytest.mark.parametrize("style", [DESK, ORCHESTRATED], ids=label)
FRONT = pytest.mark.parametrize("style", [SHOP, DESK], ids=label)
ORCHESTRATORS = pytest.mark.parametrize("style", [OWN, ORCHESTRATED], ids=label)
REFUSED = pytest.mark.parametrize("refused", ["", "reserve", "ship", "tell"])


def ended(stage: Stage) -> object:
    return (stage.status, stage.ends, stage.house.calls, stage.row() if stage.owner else None)


@STYLES
@REFUSED
@pytest.mark.parametrize("times", [1, 2])
def test_every_message_may_come_again_and_nothing_runs_twice(
    staged: Open, style: Style, refused: str, times: int
) -> None:
    stage = staged(static, style, {refused}).play()
    before = ended(stage)
    for message in sent(stage):
        for _ in range(times):
            stage.table.redeliver(message)
        stage.table.settle()
    assert ended(stage) == before
    assert stage.table.held == ()
    stage.agrees()


@pytest.mark.parametrize("style", COUNTED, ids=label)
@pytest.mark.parametrize("refused", ["", "weigh:a"])
def test_every_message_of_forks_in_forks_may_come_again_at_once(staged: Open, style: Style, refused: str) -> None:
    stage = staged(nested, style, {refused}).play()
    before = ended(stage)
    messages = sent(stage)
    Random(5).shuffle(messages)
    for message in messages:
        stage.table.redeliver(message)
    stage.table.settle()
    assert ended(stage) == before


@OWNERS
@pytest.mark.parametrize("refused", ["reserve", "ship", "tell"])
def test_old_replies_and_reports_of_an_ended_run_change_nothing(stored: Open, style: Style, refused: str) -> None:
    stage = stored(static, style, {refused}).play()
    before = ended(stage)
    reports = [message for message in sent(stage) if message.routing_key.startswith("report.")]
    for message in reversed(reports):
        stage.table.redeliver(message)
    stage.table.settle()
    assert ended(stage) == before


@FRONT
@pytest.mark.parametrize("make", [static, dynamic, nested])
def test_a_front_controller_puts_reports_together_that_come_in_the_wrong_order(
    staged: Open, style: Style, make: Callable[[], Workflow]
) -> None:
    stage = staged(make, style)
    post = Post(stage.table, is_report)
    stage.play()
    assert (stage.ends, "tell" in stage.done) == (["end.completed"], True)
    post.deliver(post.kept[::-1])
    assert (stage.status, stage.table.held) == ("completed", ())
    stage.agrees()


@FRONT
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("make", "refused"), [(static, "ship"), (static, "tell"), (nested, "pack"), (nested, "ship")])
def test_a_run_goes_back_in_order_though_its_reports_come_in_any(
    staged: Open, style: Style, make: Callable[[], Workflow], refused: str, seed: int
) -> None:
    stage, chance = staged(make, style, {refused}), Random(seed)
    post = Post(stage.table, is_report)
    stage.play()
    while post.kept:
        late = list(post.kept)
        post.kept = []
        chance.shuffle(late)
        post.deliver(late)
    assert (stage.status, stage.ends, stage.undone[-1]) == ("compensated", ["end.compensated"], "check")
    assert sorted(stage.undone) == [name for name in stage.done if name not in {"ship", "tell"}] + (
        ["ship"] if refused == "tell" else []
    )
    stage.agrees()


@FRONT
@pytest.mark.parametrize("step", ["charge", "reserve", "ship"])
def test_one_report_that_is_much_later_than_all_others_still_counts(stored: Open, style: Style, step: str) -> None:
    stage = stored(static, style, {"tell"})
    post = Post(stage.table, lambda one: one.routing_key == f"report.{step}")
    stage.play()
    assert stage.undone == []
    post.deliver()
    while post.kept:
        post.deliver()
    assert (stage.status, stage.ends) == ("compensated", ["end.compensated"])
    assert (stage.undone[0], sorted(stage.undone[1:3]), stage.undone[3]) == ("ship", ["charge", "reserve"], "check")
    stage.agrees()


@FRONT
def test_steps_go_on_while_the_front_controller_is_away_and_it_catches_up(stored: Open, style: Style) -> None:
    stage = stored(line, style)
    post = Post(stage.table, lambda one: one.routing_key == "Checked")
    stage.play()
    owner = stage.away(stage.owner or "")
    post.wanted = nothing
    post.deliver()
    assert (stage.done, stage.ends) == (["charge", "check", "ship", "tell"], ["end.completed"])
    stage.back(owner)
    stage.agrees()
    row = stage.row()
    assert row is not None
    assert (row.status, row.done, row.remaining) == ("completed", ("check", "charge", "ship", "tell"), ())


@ORCHESTRATORS
def test_a_run_waits_while_its_orchestrator_is_away_and_goes_on_with_it(stored: Open, style: Style) -> None:
    stage = stored(line, style)
    post = Post(stage.table, lambda one: one.routing_key == "Checked")
    stage.play()
    owner = stage.away(stage.owner or "")
    post.wanted = nothing
    post.deliver()
    assert (stage.done, stage.ends) == (["charge", "check"], [])
    stage.back(owner)
    assert (stage.status, stage.done) == ("completed", ["charge", "check", "ship", "tell"])
    stage.agrees()


@OWNERS
@REFUSED
@pytest.mark.parametrize("burst", range(1, 9))
def test_an_owner_that_dies_before_it_has_sent_what_it_wrote_down_sends_it_when_it_is_back(
    staged: Open, style: Style, refused: str, burst: int
) -> None:
    stage = staged(static, style, {refused})
    post = Post(stage.table, nothing)
    left = [burst]

    def lost(publication: Publication) -> bool:
        """From here on nothing of the owner goes out, as if it died between its commit and the broker."""
        left[0] -= publication.message.app_id == stage.owner
        return left[0] <= 0 and publication.message.app_id == stage.owner

    post.lost = lost
    stage.start()
    stage.table.advance("3s")
    owner = stage.away(stage.owner or "")
    post.lost = nothing
    stage.table.advance("1s")
    stage.back(owner)
    stage.table.advance("2m")
    assert stage.ends == (["end.compensated"] if refused else ["end.completed"])
    assert stage.status == ("compensated" if refused else "completed")
    stage.agrees()


@STYLES
@pytest.mark.parametrize("name", ["shop", "payments", "warehouse", "shipping", "mail"])
@pytest.mark.parametrize("refused", ["", "tell"])
def test_any_service_may_be_away_for_a_while(staged: Open, style: Style, name: str, refused: str) -> None:
    stage = staged(static, style, {refused}).start()
    gone = stage.away(name)
    stage.table.settle()
    stage.back(gone)
    assert stage.ends == (["end.compensated"] if refused else ["end.completed"])
    stage.agrees()


@DESKS
@pytest.mark.parametrize("at", ["undo charge", "undo check", "undo ship"])
def test_an_owner_may_be_away_on_the_way_back(staged: Open, style: Style, at: str) -> None:
    stage = staged(line, style, {"tell"})
    post = Post(stage.table, lambda one: one.message.type == at.replace(" ", ":"))
    stage.play()
    owner = stage.away("desk")
    post.wanted = nothing
    post.deliver()
    stage.back(owner)
    assert (stage.status, stage.undone) == ("compensated", ["ship", "charge", "check"])
    stage.agrees()


def test_without_an_owner_nobody_is_waited_for(staged: Open) -> None:
    stage = staged(line, STATELESS, {"tell"}).play()
    assert (stage.status, stage.undone) == ("compensated", ["ship", "charge", "check"])
    assert not any(is_report(one) for one in stage.table.published)  # type: ignore[arg-type]
