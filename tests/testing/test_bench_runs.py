"""Runs on the bench: they complete, go back, try again, stop; all of it in virtual time."""

from __future__ import annotations

import pytest

from stamp import Fail, Hop, Service
from stamp.errors import DefinitionError, NotRunning
from stamp.testing.runner import OpenBench
from tests.testing.desk import OPENED, STATE, TICKET, Assigned, Desk, Solved, Ticket

STORES = pytest.mark.parametrize("store", ["memory", "sqlite", None])


@STORES
def test_a_run_completes_and_its_record_says_what_happened(bench: OpenBench, store: str | None) -> None:
    desk = Desk()
    table = bench(*desk.services, store=store)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    run = table.run(run_id)
    assert run.status == "completed", run
    assert run.events == ["Opened", "Assigned", "Solved", "Told"]
    assert [(entry.step, entry.outcome) for entry in run.history] == [("assign", "ok"), ("solve", "ok"), ("tell", "ok")]
    assert run.state == {"ticket": "t-1", "expert": "Ada", "solution": "off and on"}
    assert desk.calls == [("assign", 1), ("solve", 1), ("tell", 1)]


@STORES
def test_a_business_failure_walks_back_and_ends_compensated(bench: OpenBench, store: str | None) -> None:
    desk = Desk(refuse=True)
    table = bench(*desk.services, store=store)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    run = table.run(run_id)
    assert run.status == "compensated", run
    assert run.events == ["Opened", "Assigned", "undo:assign"]
    assert run.state["expert"] is None
    assert run.error is not None
    assert (run.error["type"], run.error["message"], run.error["step"]) == ("Fail", "nobody knows how", "solve")
    assert desk.calls == [("assign", 1), ("solve", 1), ("undo assign of Ada", 1)]


@STORES
def test_a_step_that_fails_twice_succeeds_at_its_third_try(bench: OpenBench, store: str | None) -> None:
    desk = Desk()
    table = bench(*desk.services, store=store)
    table.fail("solve", times=2)
    before = table.clock.now()
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    run = table.run(run_id)
    assert run.status == "completed", run
    assert [entry.attempt for entry in run.history] == [1, 3, 1]
    assert desk.calls == [("assign", 1), ("solve", 3), ("tell", 1)]
    assert table.clock.now() - before == 60 + 60, "two pauses: the policy's, by the rungs of the ladder"


def test_the_attempt_that_a_handler_sees_counts_from_one(bench: OpenBench) -> None:
    seen: list[int] = []

    async def solve(event: Assigned, hop: Hop[Ticket]) -> Solved:
        seen.append(hop.attempt)
        if len(seen) < 3:
            raise ConnectionError("not yet")
        return Solved(event.ticket)

    table = bench(*Desk().instead("solve", solve).services)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert (table.run(run_id).status, seen) == ("completed", [1, 2, 3])


def test_tries_that_are_used_up_before_the_pivot_send_the_run_back(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(*desk.services)
    table.fail("solve", times=3, error=ConnectionError("no way"))
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    run = table.run(run_id)
    assert run.status == "compensated", run
    assert run.error is not None
    assert run.error["type"] == "ConnectionError"
    assert [(entry.step, entry.outcome, entry.attempt) for entry in run.history] == [
        ("assign", "ok", 1),
        ("solve", "failed", 3),
        ("assign", "undone", 1),
    ]


def test_tries_that_are_used_up_after_the_pivot_hold_the_message(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(*desk.services)
    table.fail("tell", times=2, error=ConnectionError("no mail"))
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    run = table.run(run_id)
    assert run.status == "held", run
    assert run.held is not None
    assert (run.held.reason, run.held.detail) == ("failed", "ConnectionError: no mail")
    assert [held.message.type for held in table.held] == ["Solved"]


def test_an_undo_that_keeps_failing_is_held_with_the_undo_still_to_do(bench: OpenBench) -> None:
    desk = Desk(refuse=True)
    table = bench(*desk.services)
    table.fail("undo:assign", times=3)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    run = table.run(run_id)
    assert run.status == "held", run
    assert run.held is not None
    assert run.held.reason == "undo-failed"
    assert run.record.to_undo == ("assign",)


def test_a_held_undo_that_is_released_finishes_the_run(bench: OpenBench) -> None:
    desk = Desk(refuse=True)
    table = bench(*desk.services)
    table.fail("undo:assign", times=3)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert [held.reason for held in table.release("undo-failed")] == ["undo-failed"]
    table.settle()
    run = table.run(run_id)
    assert (run.status, run.held, table.held) == ("compensated", None, ())
    assert desk.calls[-1] == ("undo assign of Ada", 1)


def test_a_fault_may_be_a_business_failure(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(*desk.services)
    table.fail("assign", error=Fail("closed today"))
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    assert table.run(run_id).status == "compensated"
    assert desk.calls == []


def test_a_hundred_runs_settle_together(bench: OpenBench) -> None:
    desk = Desk()
    table = bench(*desk.services, store="sqlite")
    runs = [table.start(TICKET, OPENED, state=STATE) for _ in range(100)]
    table.settle()
    assert {table.run(run).status for run in runs} == {"completed"}
    assert len(desk.calls) == 300


def test_a_run_that_was_never_sent_is_said_to_be_unknown(bench: OpenBench) -> None:
    table = bench(*Desk().services)
    with pytest.raises(LookupError, match="the journal has seen no run 0199"):
        table.run("0199")


def test_a_fault_for_a_step_that_is_not_there_names_those_which_are(bench: OpenBench) -> None:
    table = bench(*Desk().services)
    with pytest.raises(DefinitionError, match=r"no service on the bench runs a step 'slove' .*solve"):
        table.fail("slove")


def test_a_workflow_that_nobody_here_knows_cannot_be_started(bench: OpenBench) -> None:
    table = bench(Service("bystander"))
    with pytest.raises(NotRunning, match="no service on the bench has a handler for TICKET v1"):
        table.start(TICKET, OPENED, state=STATE)


def test_a_service_without_steps_may_start_runs(bench: OpenBench) -> None:
    desk, portal = Desk(), Service("portal")
    table = bench(portal, *desk.services)
    run_id = table.start(TICKET, OPENED, state=STATE, via=portal)
    table.settle()
    assert table.run(run_id).status == "completed"
    assert table.published[0].message.app_id == "portal"


def test_the_first_sendings_and_the_copies_are_told_apart(bench: OpenBench) -> None:
    table = bench(*Desk().services)
    table.fail("assign")
    table.fail("tell", times=2)
    run_id = table.start(TICKET, OPENED, state=STATE)
    table.settle()
    seen = table.published.of_run(run_id)
    assert seen.types == ["Opened", "Opened", "Assigned", "Solved", "Solved", "Solved"]
    assert [message.kind for message in seen] == ["progress", "retry", "progress", "progress", "retry", "held"]
    assert seen.of_type("Assigned")[0].payload == {"ticket": "t-1", "expert": "Ada"}
