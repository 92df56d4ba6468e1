"""What a step makes of the end of its child, and of its own undo: plain values, every case of the table."""

from __future__ import annotations

import msgspec
import pytest

from brokers.contract import Message
from stamp.children import Row, Then, Way, after_end, after_undo, read, written
from stamp.ids import child_run
from stamp.model import Stamp

TURN = Message(body=b"{}", message_id="turn")
UNDO = Message(body=b"\x00\xff", message_id="undo", headers={"stamp": "{}", "stamp_attempt": 2})


def row(way: Way, *, undo: bool = False, held: str = "", replaced: bool = False) -> Row:
    return Row(way=way, run="r", turn=TURN, began=0.0, undo=UNDO if undo else None, held=held, replaced=replaced)


def end(phase: str) -> Stamp:
    return Stamp({"phase": phase, "run": "c", "event": "Done", "seq": 2}, b"[]")


@pytest.mark.parametrize(
    ("before", "phase", "after", "then"),
    [
        (row("running"), "completed", "completed", "done"),
        (row("running"), "compensated", "failed", "failed"),
        (row("running"), "failed", "failed", "failed"),
        (row("running", undo=True), "completed", "undoing", "take back"),
        (row("running", undo=True), "compensated", "undone", "undone"),
        (row("undoing", undo=True), "compensated", "undone", "undone"),
        (row("undoing", undo=True), "failed", "undoing", "undo failed"),
        (row("undoing", undo=True), "completed", "undoing", "nothing"),
        (row("completed"), "completed", "completed", "nothing"),
        (row("failed"), "compensated", "failed", "nothing"),
        (row("failed", held="turn"), "compensated", "failed", "failed"),
        (row("failed", held="turn", replaced=True), "compensated", "failed", "nothing"),
        (row("undone", undo=True), "compensated", "undone", "nothing"),
    ],
)
def test_what_follows_when_a_child_has_ended(before: Row, phase: str, after: Way, then: Then) -> None:
    found, follows = after_end(before, end(phase))
    assert (found.way, follows) == (after, then)


@pytest.mark.parametrize(
    ("before", "after", "then"),
    [
        (row("running"), "running", "nothing"),
        (row("completed"), "undoing", "take back"),
        (row("undoing", undo=True), "undoing", "nothing"),
        (row("undoing", undo=True, held="undo"), "undoing", "undo failed"),
        (row("failed"), "failed", "undone"),
        (row("undone"), "undone", "undone"),
    ],
)
def test_what_follows_when_the_step_shall_be_undone(before: Row, after: Way, then: Then) -> None:
    found, follows = after_undo(before, UNDO)
    assert (found.way, follows) == (after, then)


def test_a_row_comes_back_as_it_was_written() -> None:
    noted = msgspec.structs.replace(row("running", undo=True), state={"a": 1}, keep={"b": "ü"})
    assert read(written(noted)) == noted


def test_there_is_no_row_about_a_run_that_is_no_child() -> None:
    assert read({}) is None


def test_the_id_of_a_child_is_a_uuid_7_of_the_beginning_of_its_parent() -> None:
    run = child_run(1_800_000_000.5, "visit", 1)
    assert (run, int(run.replace("-", "")[:12], 16), run[14]) == (
        child_run(1_800_000_000.5, "visit", 1),
        1_800_000_000_500,
        "7",
    )
    assert run != child_run(1_800_000_000.5, "visit", 2)
