"""Queues are looked at without touching them, and what is held is found and released, on the embedded broker."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest

from brokers.contract import Exchange, Message, Publication
from brokers.memory import MemoryBroker
from stamp import journal
from stamp.cli import tail
from tests.cli.desk import Desk
from tests.cli.test_runs import ALL

QUEUE = "printing.NEW_TICKET.print"


def test_peek_shows_what_waits_as_the_table_declares_it(desk: Desk) -> None:
    runs = desk.start(3, services=["assignment"], until="TicketAssigned")
    assert desk.call("peek", QUEUE, "--app", "app", "-o", "name").stdout.split() == runs
    assert desk.call("peek", "assignment.NEW_TICKET.assign", "--app", "app", "-o", "name").stdout == ""


def test_peek_learns_from_earlier_runs_which_event_goes_where(desk: Desk) -> None:
    desk.start(services=ALL, until="completed")
    runs = desk.start(2, services=["assignment"], until="TicketAssigned")
    result = desk.call("peek", QUEUE, "-o", "name")
    assert result.stdout.split() == runs


def test_peek_warns_when_it_can_not_know_what_waits(desk: Desk) -> None:
    desk.start(2)
    result = desk.call("peek", "assignment.NEW_TICKET.assign")
    assert "warning: the broker counts 2 messages there; give --app" in result.stderr


def test_peek_shows_what_is_held(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    (run,) = desk.start(services=ALL, until="held")
    assert desk.call("peek", "stamp.held.notification", "-o", "name").stdout.split() == [run]


def test_peek_at_a_queue_that_is_not_there_is_exit_4(desk: Desk) -> None:
    desk.start()
    result = desk.call("peek", "nobody.NOTHING.never", "--app", "app")
    assert result.exit_code == 4
    assert "fix: one of: assignment.NEW_TICKET.assign, " in result.stderr


def test_peek_without_a_journal_is_refused_unless_the_queue_may_be_touched(desk: Desk) -> None:
    desk.start(2)
    without = Desk(desk.folder)
    assert without.call("peek", QUEUE).exit_code == 1
    touched = desk.call("peek", "assignment.NEW_TICKET.assign", "--touch")
    assert touched.exit_code == 0
    assert touched.stderr.startswith("warning: --touch takes messages from the queue")
    assert touched.stderr.endswith("2 waiting\n")


def test_tail_shows_messages_and_its_lines_can_be_decoded(desk: Desk) -> None:
    (run,) = desk.start(services=ALL, until="completed")
    lines = desk.call("tail", "--from", "start", "--limit", "4", "-o", "jsonl").stdout
    assert [json.loads(line)["routing_key"] for line in lines.splitlines()] == [
        "TicketCreated",
        "TicketAssigned",
        "LetterPrinted",
        "end.completed",
    ]
    decoded = desk.call("decode", "-", "-o", "name", input=lines)
    assert decoded.stdout.split() == [run] * 4


def test_tail_waits_for_the_journal_and_misses_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    async def play() -> list[bytes]:
        broker = MemoryBroker()
        await broker.open()
        async with aclosing(tail.following(broker, start=None, pause=0.001)) as records:  # type: ignore[type-var]
            first = asyncio.ensure_future(anext(records))
            while "waiting" not in (told := capsys.readouterr().err):  # noqa: ASYNC110 (a remark sets no event)
                await asyncio.sleep(0)
            assert told.count("\n") == 1
            await broker.declare([Exchange("NEW_TICKET"), *journal.parts(["NEW_TICKET"])])
            await broker.publish_all([_note(b"1"), _note(b"2")])
            return [(await first).message.body, (await anext(records)).message.body]

    assert asyncio.run(play()) == [b"1", b"2"]
    assert capsys.readouterr().err == ""


def _note(body: bytes) -> Publication:
    return Publication("NEW_TICKET", "TicketCreated", Message(body=body, message_id=body.decode()))


def test_tail_filters_by_workflow_run_and_event(desk: Desk) -> None:
    first, second = desk.start(2, services=ALL, until="completed")
    only = desk.call("tail", "--from", "start", "--run", second, "--limit", "4", "-o", "name").stdout
    assert only.split() == [second] * 4
    events = desk.call("tail", "--from", "start", "--event", "TicketAssigned", "--limit", "2", "-o", "json").stdout
    assert {item["stamp"]["run"] for item in json.loads(events)["items"]} == {first, second}


def test_held_messages_are_grouped_by_workflow_step_and_reason(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    desk.start(3, services=ALL, until="held")
    document = desk.document("held", "list", "--app", "app")
    (group,) = document["groups"]
    assert (group["count"], group["service"], group["workflow"], group["step"], group["reason"]) == (
        3,
        "notification",
        "NEW_TICKET",
        "notify",
        "failed",
    )
    assert len(document["items"]) == 3
    shown = desk.call("held", "list", "--service", "notification")
    assert shown.stderr == "3 held\n"
    assert "\x1b" not in shown.stdout


def test_a_held_message_is_shown_whole(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    (run,) = desk.start(services=ALL, until="held")
    shown = desk.call("held", "show", run[:30], "--app", "app").stdout
    assert "held     failed: Fail: nobody answers \\x1b[31m" in shown
    assert "REMAINING  notify" in shown
    assert '{"ticket_id":"T-1"}' in shown
    decoded = desk.call(
        "decode", "-", "-o", "name", input=json.dumps(desk.document("held", "show", run, "--app", "app"))
    )
    assert decoded.stdout.split() == [run]


def test_released_messages_go_on_and_the_reason_is_kept_in_the_journal(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    runs = desk.start(2, services=ALL, until="held")
    desk.app.BROKEN["phone"] = False
    result = desk.call(
        "held", "release", "--service", "notification", "--yes", "--reason", "the phone works", "-o", "name"
    )
    assert (result.exit_code, len(result.stdout.split())) == (0, 2)
    desk.work(["notification"], lambda rows: all(rows[run].ended for run in runs))
    assert desk.document("list")["counts"] == {"completed": 2}
    assert "the phone works" in desk.call("trace", runs[0]).stdout
    again = desk.call("held", "release", "--service", "notification", "--yes")
    assert (again.exit_code, again.stderr) == (0, "0 released\n")


def test_a_dry_run_releases_nothing(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    desk.start(2, services=ALL, until="held")
    result = desk.call("held", "release", "--service", "notification", "--dry-run", "--limit", "1")
    assert (result.exit_code, result.stderr) == (0, "1 would be released\n")
    assert len(desk.document("held", "list", "--service", "notification")["items"]) == 2


def test_release_chooses_by_id_and_by_code(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    first, _ = desk.start(2, services=ALL, until="held")
    base = ("held", "release", "--app", "app", "--yes", "-o", "name")
    assert desk.call(*base, "--code", "too-new").stdout == ""
    assert len(desk.call(*base, first).stdout.split()) == 1
    assert len(desk.document("held", "list", "--app", "app")["items"]) == 1


def test_release_asks_and_without_a_terminal_wants_a_yes(desk: Desk) -> None:
    desk.app.BROKEN["phone"] = True
    desk.start(services=ALL, until="held")
    result = desk.call("held", "release", "--service", "notification")
    assert result.exit_code == 2
    assert result.stderr.startswith("error[E066]: 1 messages would be released")


@pytest.mark.parametrize("words", [("held", "list"), ("held", "release", "--yes"), ("held", "show", "x")], ids=str)
def test_held_commands_need_to_know_whose(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk.call(*words).exit_code == 2


def test_the_held_queue_of_nobody_is_exit_4(desk: Desk) -> None:
    assert desk.call("held", "list", "--service", "nobody").exit_code == 4
