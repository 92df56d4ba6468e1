"""The shipped tickets, on every broker: the account and the four databases are what `expected.json` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.examples.playing import EXPECTED, TICKETS, account_of, demo, expected_rows, found, played, query
from tests.servers import Server


@pytest.fixture(scope="module", params=["memory", "rabbitmq processes", "rabbitmq together"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo")
    if request.param == "memory":
        return played(folder)
    server: Server = request.getfixturevalue("rabbitmq")
    how = "--processes" if "processes" in request.param else "--together"
    return played(folder, "--broker", server.url, how, "--replace")


def test_every_run_is_accounted_for(outcome: tuple[Any, dict[str, Any]]) -> None:
    assert account_of(outcome[1]) == EXPECTED["account"]


def test_the_four_databases_hold_what_is_expected(outcome: tuple[Any, dict[str, Any]]) -> None:
    assert found(outcome[0]) == expected_rows()


def test_every_text_arrives_as_it_was_written(outcome: tuple[Any, dict[str, Any]]) -> None:
    lines = (TICKETS / "tickets.jsonl").read_bytes().splitlines()
    written = {ticket["ticket_id"]: ticket for ticket in map(json.loads, lines)}
    columns = ("ticket_id", "customer", "product", "subject", "problem")
    rows = query(outcome[0].folder, "tickets", f"SELECT {', '.join(columns)} FROM ticket WHERE ticket_id LIKE 'T-%'")
    assert {row[0]: dict(zip(columns, row, strict=True)) for row in rows} == written


def test_every_line_that_is_no_ticket_is_reported_with_its_place(outcome: tuple[Any, dict[str, Any]]) -> None:
    reported = [line.removeprefix("rejected ") for line in outcome[0].talk if line.startswith("rejected ")]
    assert len(reported) == len(EXPECTED["rejected"])
    assert [
        line for line, start in zip(reported, EXPECTED["rejected"], strict=True) if not line.startswith(start)
    ] == []


def test_a_completed_and_an_undone_run_are_traced_step_by_step(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        code, out = running.finish()
    words = [line.split() for line in out.splitlines()]
    steps = [(line[1], line[2], line[4]) for line in words if line and line[0].isdigit()]
    assert code == 0
    assert steps == [
        ("create", "tickets", "ok"),
        ("assign", "assignment", "ok"),
        ("resolve", "resolution", "ok"),
        ("notify", "notification", "ok"),
        ("close", "tickets", "ok"),
        ("create", "tickets", "ok"),
        ("assign", "assignment", "ok"),
        ("resolve", "resolution", "failed"),
        ("assign", "assignment", "undone"),
        ("create", "tickets", "undone"),
    ]
    assert "NEW_TICKET B-0014: compensated" in out
    assert "accounted for: 503 started = 500 completed + 2 compensated + 1 held, 0 missing" in out


def test_the_same_files_again_start_nothing(tmp_path: Path) -> None:
    first, _ = played(tmp_path)
    (tmp_path / "temporary").rmdir()
    _, account = played(tmp_path)
    assert (account["started"], account["duplicates"], account["accounted"]) == (0, 529, True)
    assert found(first) == expected_rows()
