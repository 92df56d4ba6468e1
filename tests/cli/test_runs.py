"""Runs are started, waited for, listed and traced from the command line, on the embedded broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from brokers.contract import Message
from stamp.cli import main
from stamp.cli.peek import document
from stamp.ids import run_id
from stamp.reading.timeline import timeline
from stamp.sighting import Sighting, sight
from tests.cli.desk import RUN, STAMP, Desk, order

ALL = ("assignment", "printing", "notification")


def test_start_prints_the_ids_of_the_runs_it_started(desk: Desk) -> None:
    result = desk.call("start", "NEW_TICKET", "--app", "app", "ticket.json")
    (run,) = result.stdout.split()
    assert (result.exit_code, list(desk.records())) == (0, [run])
    assert result.stderr == "1 started, 0 refused\n"


def test_start_reads_one_order_a_line_and_tells_bad_ones_by_their_number(desk: Desk) -> None:
    bad = [
        "not json",
        '{"event": {"ticket_id": "T-1"}}',
        '{"event": {"ticket_id": "T-1", "problem": "p"}, "state": {}}',
        '{"event": {"ticket_id": "T-1", "problem": "p"}, "state": {"ticket_id": "T"}, "run": "7"}',
        '{"state": {}}',
        "[" * 1000,
    ]
    result = desk.call("start", "NEW_TICKET", "--app", "app", input="\n".join([json.dumps(order()), *bad, "", "{"]))
    assert result.exit_code == 3
    assert len(desk.records()) == len(result.stdout.split()) == 1
    told = [line.partition(": ")[2].partition(": ")[0] for line in result.stderr.splitlines()[:-1]]
    assert told == [f"stdin:{number}" for number in (2, 3, 4, 5, 6, 7, 9)]


def test_start_tells_bad_json_from_what_the_schema_refuses(desk: Desk) -> None:
    bad = [
        "{",
        '{"event": {"ticket_id": "\\ud800", "problem": "p"}}',
        '{"event": {"ticket_id": "T-1"}}',
        '{"event": NaN}',
    ]
    told = desk.call("start", "NEW_TICKET", "--app", "app", input="\n".join(bad)).stderr.splitlines()
    assert [line.partition(":")[0] for line in told[:4]] == ["error[E064]"] * 2 + ["error[E004]", "error[E064]"]
    assert "lone surrogate" in told[1]
    assert "lone surrogate" not in told[3]


def test_start_with_nothing_but_bad_lines_is_exit_1(desk: Desk) -> None:
    assert desk.call("start", "NEW_TICKET", "--app", "app", input="{\n{\n").exit_code == 1
    assert desk.call("start", "NEW_TICKET", "--app", "app", input="").exit_code == 1


def test_a_dry_run_checks_and_starts_nothing(desk: Desk) -> None:
    result = desk.call("start", "NEW_TICKET", "--app", "app", "tickets.jsonl", "--dry-run")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "2 would start, 0 refused\n")


def test_the_same_run_id_twice_is_one_run(desk: Desk) -> None:
    run = run_id(1_700_000_000, b"0123456789")
    for _ in range(2):
        text = json.dumps(order() | {"run": run})
        assert desk.call("start", "NEW_TICKET", "--app", "app", input=text).stdout == f"{run}\n"
    assert list(desk.records()) == [run]


def test_an_unknown_workflow_is_exit_4_and_names_those_there_are(desk: Desk) -> None:
    result = desk.call("start", "NEW_TOCKET", "--app", "app", input="{}")
    assert result.exit_code == 4
    assert "fix: one of: NEW_TICKET@1" in result.stderr


def test_wait_ends_with_0_when_all_runs_completed(desk: Desk) -> None:
    runs = desk.start(2, services=ALL, until="completed")
    result = desk.call("wait", *runs, "-o", "name")
    assert (result.exit_code, result.stdout.split()) == (0, runs)


def test_wait_ends_with_1_when_a_run_was_held_or_is_still_under_way(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    (held,) = desk.start(services=ALL, until="held")
    assert desk.call("wait", held).exit_code == 1
    (waiting,) = desk.start()
    assert desk.call("wait", waiting, "--timeout", "50ms").exit_code == 1


def test_wait_ends_with_4_for_a_run_that_nobody_knows(desk: Desk) -> None:
    desk.start()
    assert desk.call("wait", "ffff").exit_code == 4
    assert desk.call("wait", RUN, "--timeout", "50ms").exit_code == 4


def test_list_shows_each_run_with_its_status_and_counts_them(desk: Desk) -> None:
    desk.app.BROKEN["printer"] = True
    (undone,) = desk.start(services=ALL, until="compensated")
    desk.app.BROKEN["printer"] = False
    (done,) = desk.start(services=ALL, until="completed")
    (fresh,) = desk.start()
    document = desk.document("list")
    assert {item["run"]: item["status"] for item in document["items"]} == {
        undone: "compensated",
        done: "completed",
        fresh: "running",
    }
    assert document["counts"] == {"compensated": 1, "completed": 1, "running": 1}
    assert (document["kind"], document["version"]) == ("stamp.runs", 1)
    assert desk.call("list").stderr == "3 runs: 1 running, 1 completed, 1 compensated\n"


def test_list_filters_by_status_workflow_and_time(desk: Desk) -> None:
    desk.start(services=ALL, until="completed")
    (fresh,) = desk.start()
    assert desk.call("list", "--status", "running", "-o", "name").stdout.split() == [fresh]
    assert desk.call("list", "--workflow", "OTHER", "-o", "name").stdout == ""
    assert len(desk.call("list", "--since", "1h", "-o", "name").stdout.split()) == 2
    assert desk.call("list", "--limit", "1", "-o", "name").stdout.split() == [fresh]


def test_list_knows_the_remaining_steps_when_it_knows_the_app(desk: Desk) -> None:
    desk.start()
    assert desk.document("list")["items"][0]["remaining"] is None
    assert desk.document("list", "--app", "app")["items"][0]["remaining"] == ["assign", "print", "notify"]


def test_trace_shows_hops_with_changes_waits_and_work_and_what_remains(desk: Desk) -> None:
    (run,) = desk.start(services=["assignment"], until="TicketAssigned")
    document = desk.document("trace", run, "--app", "app")
    assert [(item["what"], item.get("step")) for item in document["items"]] == [("started", None), ("ok", "assign")]
    assert document["items"][1]["changes"] == [{"path": "expert", "before": None, "after": "Ada"}]
    assert document["run"]["remaining"] == ["print", "notify"]
    assert document["run"]["undo"] == ["assign"]
    assert document["items"][1]["wait_ms"] + document["work_ms"] <= document["elapsed_ms"] + 1
    shown = desk.call("trace", run[:20], "--app", "app").stdout
    assert 'expert: null → "Ada"' in shown
    assert "REMAINING  print → notify\nWOULD UNDO  assign" in shown


def test_trace_shows_the_way_back(desk: Desk) -> None:
    desk.app.BROKEN["printer"] = True
    (run,) = desk.start(services=ALL, until="compensated")
    items = desk.document("trace", run)["items"]
    assert [(item["what"], item.get("step")) for item in items] == [
        ("started", None),
        ("ok", "assign"),
        ("failed", "print"),
        ("undone", "assign"),
    ]
    assert items[2]["detail"] == "Fail: no paper"


def test_trace_draws_a_run(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    (run,) = desk.start(services=ALL, until="held")
    mermaid = desk.call("trace", run, "-o", "mermaid").stdout
    assert mermaid.startswith("sequenceDiagram\n  participant p0 as start\n  participant p1 as assignment\n")
    assert "p0->>p1: TicketCreated" in mermaid
    assert "\x1b" not in mermaid
    drawing = ElementTree.fromstring(desk.call("trace", run, "-o", "svg").stdout)
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"


def test_an_unknown_and_an_ambiguous_id_are_told_apart(desk: Desk) -> None:
    runs = desk.start(2)
    assert desk.call("trace", "ffff").exit_code == 4
    ambiguous = desk.call("trace", runs[0][:4])
    assert ambiguous.exit_code == 1
    assert "error[E063]: 2 runs start with" in ambiguous.stderr


def test_without_a_journal_the_fix_is_named(desk: Desk) -> None:
    result = desk.call("list")
    assert result.exit_code == 1
    assert result.stderr.startswith("error[E065]: there is no journal on this broker")


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--since", "2 weeks"),
        ("list", "--since", "-5s"),
        ("wait", RUN, "--timeout", "xx"),
        ("audit", "--older-than", "soon"),
    ],
)
def test_a_length_of_time_that_is_none_is_a_wrong_usage(desk: Desk, words: tuple[str, ...]) -> None:
    result = desk.call(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error[E060]: {words[-2]}: {words[-1]!r} is not a length of time")


@pytest.mark.parametrize("url", ["amqp://[::1", "amqp://127.0.0.1:99999/"])
def test_a_url_that_is_none_is_a_bad_configuration(folder: Path, url: str) -> None:
    assert CliRunner().invoke(main, ["list", "--broker", url]).exit_code == 78


def seen(stamp: dict[str, Any], exchange: str, key: str, **headers: Any) -> Sighting:
    message = Message(body=b"{}", message_id=RUN, app_id="assignment", headers={"stamp": json.dumps(stamp), **headers})
    sighting = sight(message, exchange, key)
    assert sighting is not None
    return sighting


def test_a_retry_is_told_of_the_step_that_tries_again_not_of_the_publisher() -> None:
    again = seen(STAMP, "stamp.delay.1s", "printing.NEW_TICKET.print", stamp_attempt=2)
    sharded = seen(STAMP, "stamp.delay.1s", "printing.NEW_TICKET.print.7", stamp_attempt=3)
    own = seen(STAMP, "stamp.delay.1s", "letters", stamp_attempt=4)
    moments = timeline([seen(STAMP, "NEW_TICKET", "TicketAssigned"), again, sharded, own]).moments
    assert [(moment.service, moment.step) for moment in moments if moment.what == "retry"] == [
        ("printing", "print"),
        ("printing", "print"),
        ("", ""),
    ]


def test_a_wait_that_clocks_contradict_is_not_known() -> None:
    behind = {**STAMP, "started": "2026-01-02T03:04:09.000Z"}
    line = timeline([seen(behind, "NEW_TICKET", "TicketAssigned")])
    assert (line.moments[1].wait, line.took) == (None, 0.0)


def test_the_last_line_of_a_trace_says_how_the_run_ended(desk: Desk) -> None:
    (run,) = desk.start(services=ALL, until="completed")
    assert desk.call("trace", run).stdout.endswith("ENDED  completed\n")


def test_a_message_without_a_time_waits_for_an_unknown_time() -> None:
    assert document(seen(STAMP, "NEW_TICKET", "TicketAssigned"), 5.0)["age_s"] is None
