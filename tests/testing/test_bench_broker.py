"""A broker that is away or says nothing: on the bench such waits are virtual, and nothing is lost or done twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from brokers.contract import Publication
from brokers.errors import BrokerError, BrokerUnreachable, PublishUnknown
from stamp.events import DuplicateDropped, Paused, RelaySent, Resumed
from stamp.layout import DELAY
from stamp.testing import NotSettled, SyncBench
from stamp.testing.runner import OpenBench
from tests.testing.desk import OPENED, STATE, TICKET, Desk

ONCE = [("assign", 1), ("solve", 1), ("tell", 1)]


class Line:
    """Between services and the node: fails so many publishes, before or after the node took them."""

    def __init__(self, table: SyncBench) -> None:
        self.broken = 0
        self.silent = 0
        self.exchange = ""
        self.key = ""
        """Only publishes whose exchange and routing key begin so are failed."""
        self._publish = table.broker.node.publish

    def publish(self, publication: Publication) -> BrokerError | None:
        meant = publication.exchange.startswith(self.exchange) and publication.routing_key.startswith(self.key)
        if meant and self.broken:
            self.broken -= 1
            return BrokerUnreachable("no line")
        error = self._publish(publication)
        if meant and self.silent:
            self.silent -= 1
            return PublishUnknown("no answer")
        return error


@pytest.fixture
def line(table: SyncBench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    line = Line(table)
    monkeypatch.setattr(table.broker.node, "publish", line.publish)
    yield line
    line.broken = 0


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(params=["memory", "sqlite"])
def table(bench: OpenBench, desk: Desk, request: pytest.FixtureRequest) -> SyncBench:
    return bench(*desk.services, store=request.param, patience=0.5)


def test_a_start_without_a_broker_is_sent_by_the_relay(table: SyncBench, desk: Desk, line: Line) -> None:
    line.broken = 1
    run_id = table.start(TICKET, OPENED, state=STATE)
    assert table.published == ()
    table.settle()
    assert (table.run(run_id).status, desk.calls) == ("completed", ONCE)
    assert [fact.service for fact in table.facts if isinstance(fact, RelaySent)] == ["assignment"]


def test_a_step_waits_for_the_broker_and_runs_once(table: SyncBench, desk: Desk, line: Line) -> None:
    line.key, line.broken = "Assigned", 7
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert (table.run(run_id).status, desk.calls) == ("completed", ONCE)
    assert {Paused, Resumed} <= {type(fact) for fact in table.facts}


def test_a_confirm_that_never_came_leads_to_a_twin_that_the_inbox_drops(
    table: SyncBench, desk: Desk, line: Line
) -> None:
    line.silent = 3
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert (table.run(run_id).status, desk.calls) == ("completed", ONCE)
    assert any(isinstance(fact, DuplicateDropped) for fact in table.facts)


def test_a_twin_of_a_retry_runs_nothing_twice(table: SyncBench, desk: Desk, line: Line) -> None:
    line.exchange = DELAY
    line.silent = 1
    table.fail("assign", times=1)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert len(table.published.of_run(run_id).of_kind("retry")) == 2
    assert (table.run(run_id).status, desk.calls) == ("completed", [("assign", 2), ("solve", 1), ("tell", 1)])


def test_a_broker_that_stays_away_is_named(table: SyncBench, line: Line) -> None:
    line.broken = 10**9
    table.start(TICKET, OPENED, state=STATE)
    with pytest.raises(NotSettled, match="1 rows wait in the outbox of 'assignment'"):
        table.settle()
