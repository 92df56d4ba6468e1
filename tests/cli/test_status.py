"""`stamp status`: from the journal, and asked of the services."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.desk import APP, RUN, Desk

OWNED = APP.replace('    deadline="48h",', '    deadline="48h", style=FrontController("assignment"),').replace(
    "from stamp import Fail,", "from stamp import Fail, FrontController,"
)


@pytest.fixture
def owned(folder: Path) -> Desk:
    """The desk with a front controller."""
    (folder / "app.py").write_text(OWNED)
    return Desk(folder)


def test_the_journal_tells_where_a_run_stands(desk: Desk) -> None:
    (run,) = desk.start(services=["assignment"], until="TicketAssigned")
    (item,) = desk.document("status", run[:30], "--app", "app")["items"]
    assert (item["run"], item["status"], item["remaining"]) == (run, "running", ["print", "notify"])
    result = desk.call("status", run)
    assert (result.exit_code, "would undo  assign" in result.stdout) == (0, True)


def test_an_unknown_run_is_told_so(desk: Desk) -> None:
    desk.start(services=["assignment"], until="TicketAssigned")
    result = desk.call("status", "0000")
    assert (result.exit_code, "error[E062]" in result.stderr) == (4, True)


def test_without_an_app_nobody_can_be_asked(desk: Desk) -> None:
    result = desk.call("status", RUN, "--ask")
    assert (result.exit_code, "which app?" in result.stderr) == (2, True)


def test_without_the_journal_the_whole_id_and_the_workflow_are_needed(desk: Desk) -> None:
    result = desk.call("status", "0190", "--ask", "--app", "app")
    assert (result.exit_code, "give the whole id, and --workflow NAME" in result.stderr) == (2, True)


def test_an_owner_that_does_not_answer_is_named(owned: Desk) -> None:
    result = owned.call("status", RUN, "--ask", "--app", "app", "--workflow", "NEW_TICKET", "--timeout", "100ms")
    assert (result.exit_code, "silent     assignment" in result.stdout) == (1, True)
