"""Held runs are repaired from the command line, on the embedded broker."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from brokers.contract import Publication, Recorded
from stamp import held, journal, parking
from stamp.layout import HELD
from tests.cli.desk import APP, Desk
from tests.cli.test_runs import ALL

SAGA = APP.replace(
    '"phone": "DESK_PHONE_BROKEN" in os.environ}',
    '"phone": False, "undo": "DESK_UNDO" in os.environ}\nBROKEN["printer"] = "DESK_PRINTER" in os.environ',
).replace(
    "    hop.state.expert = None\n",
    '    if BROKEN["undo"]:\n        raise ConnectionError("no line")\n    hop.state.expert = None\n',
)
WHY = ("--reason", "by hand", "--by", "ada", "--yes")


@pytest.fixture
def saga(folder: Path) -> Desk:
    """The desk, with an undo that can fail."""
    (folder / "app.py").write_text(SAGA)
    return Desk(folder)


def at_failing_undo(desk: Desk, count: int = 1) -> list[str]:
    """Runs that are held because their undo failed."""
    desk.app.BROKEN["printer"] = desk.app.BROKEN["undo"] = True
    runs = desk.start(count, services=ALL, until="held")
    desk.app.BROKEN["printer"] = desk.app.BROKEN["undo"] = False
    return runs


def at_failing_step(desk: Desk, count: int = 1) -> list[str]:
    """Runs that are held after the pivot."""
    desk.app.BROKEN["phone"] = True
    runs = desk.start(count, services=ALL, until="held")
    desk.app.BROKEN["phone"] = False
    return runs


def finish(desk: Desk, runs: list[str]) -> None:
    desk.work(ALL, lambda rows: all(rows[run].ended for run in runs))


def statuses(desk: Desk) -> dict[str, int]:
    counts: dict[str, int] = desk.document("list")["counts"]
    return counts


def recorded(desk: Desk) -> list[Recorded]:
    async def read() -> list[Recorded]:
        await desk.broker.open()
        return [one async for one in journal.recorded(desk.broker)]

    return asyncio.run(read())


def ends(desk: Desk) -> list[str]:
    return [one.routing_key for one in recorded(desk) if one.routing_key.startswith("end.")]


def history(desk: Desk, run: str) -> list[dict[str, Any]]:
    stamp = desk.records()[run].stamp.to_dict()
    entries: list[dict[str, Any]] = stamp["history"]
    return entries


def test_a_run_held_by_a_failing_undo_is_turned_loose_again_and_ends_compensated_once(saga: Desk) -> None:
    runs = at_failing_undo(saga)
    result = saga.call("held", "undo", "--app", "app", "--code", "undo-failed", *WHY)
    assert (result.exit_code, result.stderr) == (0, "1 turned around\n")
    finish(saga, runs)
    assert (statuses(saga), ends(saga)) == ({"compensated": 1}, ["end.compensated"])


def test_an_undo_done_by_hand_is_skipped_and_the_run_ends_compensated(saga: Desk) -> None:
    (run,) = at_failing_undo(saga)
    result = saga.call("held", "skip", run, "--app", "app", *WHY)
    assert (result.exit_code, result.stderr) == (0, "1 skipped\n")
    assert (statuses(saga), ends(saga)) == ({"compensated": 1}, ["end.compensated"])
    last = history(saga, run)[-1]
    assert (last["outcome"], last["undoes"], last["service"]) == ("undone", 1, "operator")
    assert (last["by"], last["why"]) == ("ada", "by hand")
    assert "ada: by hand" in saga.call("trace", run).stdout


def test_a_state_is_amended_checked_and_then_released(saga: Desk) -> None:
    (run,) = at_failing_step(saga)
    amend = ("held", "amend", run, "--app", "app", "--set", 'expert="Grace"', *WHY)
    assert saga.call(*amend).stderr == "1 amended\n"
    (item,) = saga.document("held", "list", "--app", "app")["items"]
    assert json.loads(item["properties"]["headers"]["stamp"])["state"]["expert"] == "Grace"
    assert saga.call(*amend).stderr == "0 amended; 1 already so\n"
    assert saga.call("held", "release", "--app", "app", "--yes").exit_code == 0
    finish(saga, [run])
    assert (statuses(saga), ends(saga)) == ({"completed": 1}, ["end.completed"])
    assert [entry["step"] for entry in history(saga, run)] == ["assign", "print", "amend:notify", "notify"]
    assert 'ada: by hand; expert: "Ada" → "Grace"' in saga.call("trace", run).stdout


def test_amend_and_release_in_one_go(saga: Desk) -> None:
    runs = at_failing_step(saga, 2)
    result = saga.call("held", "amend", "--app", "app", "--unset", "expert", *WHY, "--release")
    assert (result.exit_code, result.stderr) == (0, "2 amended\n2 released\n")
    finish(saga, runs)
    assert statuses(saga) == {"completed": 2}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--set", "ticket_id=1"), 1, "error[E012]: 1 stay held: state of NEW_TICKET v1: "),
        (("--set", "nowhere.deep=1"), 1, "the state has no 'nowhere.deep'"),
        (("--set", "expert=Ada"), 2, "error[E060]: --set expert: 'Ada' is not JSON"),
        (("--set", "expert"), 2, "error[E060]: --set expert"),
        (("--state", "list.json"), 2, "error[E060]: list.json: the state is a JSON object"),
    ],
    ids=str,
)
def test_an_amendment_that_does_not_fit_changes_nothing(
    saga: Desk, words: tuple[str, ...], code: int, told: str
) -> None:
    (run,) = at_failing_step(saga)
    (saga.folder / "list.json").write_text("[1]")
    before = saga.document("held", "list", "--app", "app")["items"]
    result = saga.call("held", "amend", run, "--app", "app", *words, *WHY)
    assert (result.exit_code, told in result.stderr) == (code, True), result.stderr
    assert saga.document("held", "list", "--app", "app")["items"] == before


def test_the_whole_state_is_taken_from_a_file_or_an_editor(saga: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = at_failing_step(saga, 2)
    (saga.folder / "state.json").write_text('{"ticket_id": "T-9"}')
    amend = ("held", "amend", "--app", "app", *WHY)
    assert saga.call(*amend, first, "--state", "state.json").stderr == "1 amended\n"
    assert saga.call(*amend, second).exit_code == 2
    monkeypatch.setenv("EDITOR", "sed -i s/Ada/Grace/")
    assert saga.call(*amend, second).stderr == "1 amended\n"
    items = saga.document("held", "list", "--app", "app")["items"]
    states = {item["run"]: json.loads(item["properties"]["headers"]["stamp"])["state"] for item in items}
    assert states == {first: {"ticket_id": "T-9"}, second: {"ticket_id": "T-2", "expert": "Grace"}}


def test_a_frozen_schema_stands_in_for_the_app(saga: Desk) -> None:
    (run,) = at_failing_step(saga)
    amend = ("held", "amend", run, "--service", "notification", "--set", 'expert="Grace"', *WHY)
    refused = saga.call(*amend)
    assert (refused.exit_code, "no frozen schema of NEW_TICKET version 1" in refused.stderr) == (1, True)
    assert saga.call("schemas", "freeze", "app").exit_code == 0
    assert saga.call(*amend).stderr == "1 amended\n"


def test_a_run_is_turned_around_by_hand_and_walks_back(saga: Desk) -> None:
    """What waits for a step whose service is too old is held; somebody decides that it shall not go on."""
    (run,) = saga.start(services=["assignment"], until="TicketAssigned")
    hold_waiting(saga)
    assert saga.call("held", "undo", run, "--app", "app", *WHY).stderr == "1 turned around\n"
    finish(saga, [run])
    assert (statuses(saga), ends(saga)) == ({"compensated": 1}, ["end.compensated"])
    outcomes = [(entry["step"], entry["outcome"]) for entry in history(saga, run)]
    assert outcomes == [("assign", "ok"), ("print", "failed"), ("assign", "undone")]


def hold_waiting(desk: Desk, queue: str = "printing.NEW_TICKET.print") -> None:
    """Move what waits in a work queue to the held queue, as a service does that can't handle it."""

    async def move() -> None:
        await desk.broker.open()
        consumer = await desk.broker.consume(queue)
        found = await consumer.receive(100)
        for one in found:
            parcel = parking.park(
                one.message,
                service="printing",
                reason="payload-invalid",
                detail="",
                now=1.5,
                origin={parking.QUEUE: queue},
            )
            await desk.broker.publish(parcel)
        await consumer.ack(found)
        await consumer.close()

    asyncio.run(move())


def test_past_a_pivot_there_is_no_way_back_by_hand_either(saga: Desk) -> None:
    (run,) = at_failing_step(saga)
    result = saga.call("held", "undo", run, "--app", "app", *WHY)
    assert result.exit_code == 1
    assert "error[E012]: 1 stay held: there is no way back" in result.stderr
    assert len(saga.document("held", "list", "--app", "app")["items"]) == 1


def test_a_step_done_by_hand_is_skipped_with_the_event_that_follows(saga: Desk) -> None:
    (run,) = at_failing_step(saga)
    skip = ("held", "skip", run, "--app", "app", *WHY)
    wrong = saga.call(*skip, "--payload", '{"no": 1}')
    assert (wrong.exit_code, "error[E012]: 1 stay held: NotificationSent: " in wrong.stderr) == (1, True)
    done = saga.call(*skip, "--event", "NotificationSent", "--payload", '{"ticket_id": "T-1"}')
    assert (done.exit_code, done.stderr) == (0, "1 skipped\n")
    assert (statuses(saga), ends(saga)) == ({"completed": 1}, ["end.completed"])
    assert history(saga, run)[-1]["outcome"] == "skipped"


def test_a_dropped_run_is_failed_and_its_original_stays_readable_in_the_journal(saga: Desk) -> None:
    (run,) = at_failing_step(saga)
    assert saga.call("held", "drop", run, "--app", "app", "--yes").exit_code == 2
    assert saga.call("held", "drop", run, "--app", "app", *WHY).stderr == "1 dropped\n"
    assert (statuses(saga), ends(saga)) == ({"failed": 1}, ["end.failed"])
    assert saga.document("held", "list", "--app", "app")["items"] == []
    assert [one.message.body for one in recorded(saga) if one.exchange == HELD] == [b'{"ticket_id":"T-1"}']


def test_without_a_journal_nothing_is_dropped_unless_that_is_said(saga: Desk) -> None:
    (run,) = at_failing_step(saga)

    async def forget() -> None:
        await saga.broker.open()
        await saga.broker.delete_queue("stamp.journal")

    asyncio.run(forget())
    assert saga.call("held", "drop", run, "--app", "app", *WHY).stderr.startswith("error[E065]")
    assert saga.call("held", "drop", run, "--app", "app", *WHY, "--no-journal").stderr == "1 dropped\n"


def copy_of_held(desk: Desk) -> Publication:
    """A held message as it lies there now: what a process that died before the acknowledgement leaves behind."""

    async def look() -> Publication:
        await desk.broker.open()
        for service in ALL:
            for one in await held.listed(desk.broker, service):
                return Publication(HELD, service, one.message)
        raise AssertionError("nothing is held")

    return asyncio.run(look())


def publish(desk: Desk, publication: Publication) -> None:
    async def send() -> None:
        await desk.broker.open()
        await desk.broker.publish(publication)

    asyncio.run(send())


@pytest.mark.parametrize(
    "again",
    [
        ("release",),
        ("undo",),
        ("skip", "--payload", '{"ticket_id": "T-1"}'),
        ("amend", "--set", 'expert="Grace"'),
        ("drop",),
    ],
    ids=lambda words: words[0],
)
def test_what_has_meanwhile_completed_is_already_done_and_taken_out_with_a_yes(
    saga: Desk, again: tuple[str, ...]
) -> None:
    (run,) = at_failing_step(saga)
    leftover = copy_of_held(saga)
    assert saga.call("held", "release", run, "--app", "app", "--yes").exit_code == 0
    finish(saga, [run])
    publish(saga, leftover)
    words = ("held", *again, "--app", "app", "--reason", "again", run)
    asked = saga.call(*words)
    assert (asked.exit_code, "; 1 already done (--yes takes them out)" in asked.stderr) == (0, True), asked.stderr
    assert "already done: the run is completed" in asked.stdout
    assert "; 1 already done, taken out" in saga.call(*words, "--yes").stderr
    assert (statuses(saga), ends(saga)) == ({"completed": 1}, ["end.completed"])
    assert saga.document("held", "list", "--app", "app")["items"] == []


def test_what_is_not_held_any_more_is_told_by_the_journal_and_no_error(saga: Desk) -> None:
    (run,) = at_failing_step(saga)
    drop = ("held", "drop", run, "--app", "app", *WHY)
    assert saga.call(*drop).exit_code == 0
    again = saga.call(*drop)
    assert again.exit_code == 0
    assert again.stderr == f"{run}: already done, not held here any more; the run is failed\n0 dropped\n"
    assert saga.call("held", "drop", "ffff", "--app", "app", *WHY).exit_code == 4


def test_a_process_that_died_while_it_amended_leaves_nothing_that_is_done_twice(saga: Desk) -> None:
    (run,) = at_failing_step(saga)
    leftover = copy_of_held(saga)
    saga.call("held", "amend", run, "--app", "app", "--set", 'expert="Grace"', *WHY)
    publish(saga, leftover)
    result = saga.call("held", "release", "--app", "app", "--yes")
    assert (result.exit_code, result.stderr) == (0, "1 released; 1 already done, taken out\n")
    finish(saga, [run])
    steps = [entry["step"] for entry in history(saga, run)]
    assert (steps.count("notify"), steps.count("amend:notify"), ends(saga)) == (1, 1, ["end.completed"])


def test_held_messages_are_grouped_by_the_type_of_the_error_too(saga: Desk) -> None:
    at_failing_undo(saga, 2)
    at_failing_step(saga)
    groups = saga.document("held", "list", "--app", "app")["groups"]
    assert [(one["count"], one["step"], one["reason"], one["error"]) for one in groups] == [
        (2, "assign", "undo-failed", "ConnectionError"),
        (1, "notify", "failed", "Fail"),
    ]
    assert all(one["oldest"] for one in groups)
    only = saga.document("held", "list", "--app", "app", "--error", "Fail")
    assert [item["step"] for item in only["items"]] == ["notify"]


def test_show_tells_what_changed_since_the_last_good_stamp_and_where_the_handler_raised(saga: Desk) -> None:
    (run,) = at_failing_undo(saga)
    shown = saga.call("held", "show", run, "--app", "app").stdout
    assert "CHANGED  nothing since seq 1 (TicketAssigned)" in shown
    assert "app.py:" in shown
    assert 'unassign: raise ConnectionError("no line")' in shown
    saga.call("held", "amend", run, "--app", "app", "--set", 'expert="Grace"', *WHY)
    document = saga.document("held", "show", run, "--app", "app")["items"][0]
    assert document["last_good"]["seq"] == 2
    assert document["changes"] == [{"path": "expert", "before": "Ada", "after": "Grace"}]
    assert document["trace"][0] == "ConnectionError"
    assert "ada: by hand" in saga.call("held", "show", run, "--app", "app").stdout


def test_a_dry_run_of_a_repair_changes_nothing(saga: Desk) -> None:
    (run,) = at_failing_step(saga)
    before = saga.document("held", "list", "--app", "app")["items"]
    for words in (("drop",), ("skip", "--payload", '{"ticket_id": "T-1"}'), ("amend", "--set", 'expert="Grace"')):
        result = saga.call("held", *words, run, "--app", "app", *WHY, "--dry-run")
        assert (result.exit_code, "1 would be " in result.stderr) == (0, True)
    assert saga.document("held", "list", "--app", "app")["items"] == before
    assert statuses(saga) == {"held": 1}


def test_a_rate_is_kept_and_the_rest_waits_for_the_next_time(saga: Desk) -> None:
    at_failing_step(saga, 3)
    result = saga.call("held", "release", "--app", "app", "--yes", "--rate", "1000", "--limit", "2")
    assert (result.exit_code, result.stderr) == (0, "2 released\n")
    assert len(saga.document("held", "list", "--app", "app")["items"]) == 1


def test_what_nobody_can_read_can_still_be_dropped_and_the_journal_says_why(saga: Desk) -> None:
    at_failing_step(saga)
    leftover = copy_of_held(saga)
    saga.call("held", "release", "--app", "app", "--yes")
    broken = {**leftover.message.headers, "stamp": "{"}
    publish(saga, Publication(HELD, "notification", type(leftover.message)(body=b"x", message_id="m", headers=broken)))
    skip = saga.call("held", "skip", "--app", "app", *WHY)
    assert (skip.exit_code, "error[E012]: 1 stay held: the stamp is not a JSON object" in skip.stderr) == (1, True)
    assert saga.call("held", "drop", "m", "--app", "app", *WHY).stderr == "1 dropped\n"
    assert saga.document("held", "list", "--app", "app")["items"] == []


def test_a_repair_without_a_reason_is_a_mistake_of_usage(saga: Desk) -> None:
    for words in (("amend", "--set", "a=1"), ("undo",), ("skip",), ("drop",)):
        assert saga.call("held", *words, "--app", "app", "--yes").exit_code == 2


def test_some_repaired_and_some_refused_is_exit_3(saga: Desk) -> None:
    at_failing_undo(saga)
    at_failing_step(saga)
    result = saga.call("held", "skip", "--app", "app", *WHY)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (3, "1 skipped")
