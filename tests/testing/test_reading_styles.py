"""What the journal's readers make of slim stamps: timelines, accounts, routes."""

from __future__ import annotations

import pytest

from brokers.contract import Recorded
from stamp.layout import JOURNAL
from stamp.reading.audit import Account, Book, Evidence, asked, judge
from stamp.reading.timeline import Timeline, timeline
from stamp.reading.waiting import Routes
from stamp.style import FrontController, Orchestrator, Stamped, Stateless, Style
from stamp.testing.runner import OpenBench, SyncBench
from tests.testing.test_status import Post

OWNERS = [FrontController("scale"), FrontController("office"), Orchestrator("office")]
STYLES = [Stamped(), *OWNERS, Stateless()]


def records(here: SyncBench) -> list[Recorded]:
    stream = here.broker.node.stream(JOURNAL)
    return list(stream.records(0, stream.end))


def account(here: SyncBench, post: Post) -> Account:
    book = Book(Routes.declared([post.flow]))
    for record in records(here):
        book.enter(record)
    there = here.broker.queues
    depths = {queue: here.call(here.broker.depth(queue)) if queue in there else None for queue in asked(book)}
    return judge(book, Evidence(depths=depths), now=here.clock.now() + 3600, older_than=60)


def line(here: SyncBench, run: str) -> Timeline:
    return timeline([one.sighting for one in here.published.of_run(run) if one.sighting is not None])


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_a_run_that_waits_for_a_service_is_in_flight_and_nothing_is_missing(bench: OpenBench, style: Style) -> None:
    post = Post(style)
    here, _ = post.play(bench, without=("van",))
    found = account(here, post)
    assert [(one.fate, one.where) for one in found.verdicts] == [("in flight", "its branches")]


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_a_run_that_has_ended_is_accounted_for(bench: OpenBench, style: Style) -> None:
    post = Post(style)
    here, _ = post.play(bench)
    assert [one.fate for one in account(here, post).verdicts] == ["completed"]


def test_what_an_orchestrator_has_not_sent_on_waits_in_its_ledger_queue(bench: OpenBench) -> None:
    post = Post(Orchestrator("office"))
    here, _ = post.play(bench, without=("office",))
    found = account(here, post)
    assert [(one.fate, one.where) for one in found.verdicts] == [("in flight", "office.PARCEL.ledger")]


def test_a_lost_report_to_an_orchestrator_is_missing_and_can_be_sent_again(bench: OpenBench) -> None:
    post = Post(Orchestrator("office"))
    here, run = post.play(bench, without=("office",))
    here.call(here.broker.delete_queue("office.PARCEL.ledger"))
    (lost,) = account(here, post).missing
    assert (lost.run, lost.where, lost.healable) == (run, "office.PARCEL.ledger", True)


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_a_timeline_is_put_together_from_reports(bench: OpenBench, style: Style) -> None:
    post = Post(style)
    here, run = post.play(bench)
    steps = [moment.step for moment in line(here, run).moments if moment.what == "ok"]
    assert (sorted(steps[:2]), steps[2:]) == (["frank", "weigh"], ["load", "deliver"])


def test_a_stateless_timeline_shows_the_steps_that_stamps_name_as_their_past(bench: OpenBench) -> None:
    post = Post(Stateless())
    here, run = post.play(bench)
    assert {"weigh", "frank", "load", "deliver"} == {one.step for one in line(here, run).moments if one.what == "ok"}


def test_routes_are_learned_from_slim_stamps(bench: OpenBench) -> None:
    post = Post(Stateless())
    here, run = post.play(bench)
    routes = Routes()
    routes.observe([one.sighting for one in here.published.of_run(run) if one.sighting is not None])
    assert routes.queues["PARCEL", 1, "Loaded"] == "van.PARCEL.deliver"
