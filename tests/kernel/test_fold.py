"""Settled history is folded away; what a later hop may need never is."""

from __future__ import annotations

import itertools
from hashlib import sha256

import msgspec

from stamp.decision import Done, Position, decide
from stamp.history import FOLD_BYTES, FOLD_ENTRIES, PORTION, ROUND, fold, undo_stack, visit_of
from stamp.model import Entry, Stamp
from stamp.workflow import Step, Workflow
from tests.kernel.tables import NOW, RUN, Ordered, started


class Bounced(msgspec.Struct):
    order: str


class Stopped(msgspec.Struct):
    order: str


LOOP = Workflow(
    "LOOP",
    version=1,
    start=Ordered,
    hop_guard=200,
    steps=[
        Step("ping", service="a", on=Ordered, emits=Bounced, max_visits=100),
        Step("pong", service="b", on=Bounced, emits=(Ordered, Stopped), max_visits=100),
    ],
)


def entries(stamp: Stamp, *steps: Entry) -> Stamp:
    for entry in steps:
        stamp = stamp.appended(entry, {})
    return stamp


def entry(seq: int, step: str = "ping", **more: object) -> Entry:
    return Entry(seq=seq, step=step, service="a", at="2025-11-23T12:13:21Z", outcome="ok", **more)  # type: ignore[arg-type]


def looped(hops: int) -> Stamp:
    stamp, message = started(LOOP).stamp, RUN
    for _ in range(hops):
        step = LOOP.consumer(stamp.event)
        assert step is not None
        event = Bounced("o") if step.name == "ping" else Ordered("o")
        decision = decide(
            LOOP,
            stamp,
            Position(step=step, action="do", message_id=message),
            Done(event=event, state={}),
            NOW,
        )
        stamp, message = decision.stamp, decision.messages[0].message_id
    return stamp


def test_a_long_history_keeps_its_count_while_it_stays_small() -> None:
    stamp = looped(100)
    assert stamp.folded + len(stamp.history) == 100
    assert len(stamp.history) <= FOLD_ENTRIES + 1
    assert stamp.history[-1].seq == 100


def test_the_visit_of_a_looping_step_is_known_after_folding() -> None:
    stamp = looped(100)
    assert visit_of(stamp, LOOP.step("ping")) == 51


def test_no_hop_folds_more_than_a_portion() -> None:
    folded = [looped(hops).folded for hops in range(150)]
    assert {after - before for before, after in itertools.pairwise(folded)} == {0, PORTION}


def test_a_round_of_folding_leaves_a_short_history_to_the_hops_after_it() -> None:
    lengths = [len(looped(hops).history) for hops in range(FOLD_ENTRIES + ROUND)]
    assert (max(lengths), min(lengths[FOLD_ENTRIES:])) == (FOLD_ENTRIES, FOLD_ENTRIES - ROUND // PORTION)


def test_a_history_far_over_its_limit_is_folded_back_at_once() -> None:
    stamp = entries(started(LOOP).stamp, *(entry(seq, "old") for seq in range(1, 90)))
    assert len(fold(stamp, LOOP).history) == FOLD_ENTRIES


def test_few_but_large_entries_are_folded_until_they_fit() -> None:
    large = {"text": "x" * 1000}
    stamp = entries(started(LOOP).stamp, *(entry(seq, "old", keep=large) for seq in range(1, 20)))
    folded = fold(stamp, LOOP)
    assert len(folded.trail or b"") <= FOLD_BYTES < len(folded.trail or b"") + 1100


def test_a_round_begun_by_another_writer_goes_on() -> None:
    stamp = entries(started(LOOP).stamp, *(entry(seq, "old") for seq in range(6, 16)))
    begun = stamp.having({"base": {"count": 5, "digest": "0" * 64}})
    assert fold(begun, LOOP).folded == 5 + PORTION


def test_the_digest_chains_over_the_texts_that_were_folded() -> None:
    stamp = entries(started(LOOP).stamp, *(entry(seq, "old") for seq in range(1, 40)))
    texts = [bytes(raw) for raw in stamp.raw_history()]
    folded = fold(stamp, LOOP)
    digest = ""
    for text in texts[: folded.folded]:
        digest = sha256(digest.encode() + text).hexdigest()
    assert folded.values["base"] == {"count": 7, "digest": digest}


def test_an_entry_that_can_still_be_undone_is_never_folded() -> None:
    stamp = entries(started(LOOP).stamp, entry(1, undo=True), *(entry(seq, "old") for seq in range(2, 60)))
    assert [live.seq for live in undo_stack(fold(stamp, LOOP))] == [1]


def test_the_last_pivot_is_never_folded() -> None:
    stamp = entries(started(LOOP).stamp, entry(1, "old"), entry(2, pivot=True), *(entry(seq) for seq in range(3, 60)))
    assert [kept.seq for kept in fold(stamp, LOOP).history if kept.pivot] == [2]


def test_a_short_history_is_left_alone() -> None:
    stamp = entries(started(LOOP).stamp, *(entry(seq, "old") for seq in range(1, 20)))
    assert fold(stamp, LOOP) is stamp
