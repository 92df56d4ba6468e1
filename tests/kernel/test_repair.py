"""What a person decides about a held message becomes a valid stamp, and messages whose ids repeat."""

from __future__ import annotations

from typing import Any

import pytest

from brokers.contract import Message, Publication
from stamp.codec import SIGNATURE, STAMP, Codec, parse
from stamp.decision import Decision, Undone, past_pivot, undo_stack, visit_of
from stamp.errors import RepairRefused, SignatureInvalid, TooNew, UnknownWorkflow
from stamp.model import Stamp
from stamp.outgoing import publications
from stamp.repair import Case, Operator, amended, check_trust, dropped, opened, pinned, skipped, turned
from stamp.schema import stamp_checker
from stamp.seal import HmacKey, KeyRing
from stamp.workflow import Step, Workflow
from tests.kernel.tables import NOW, ORDER, PLAIN, Charged, Ordered, failed, finish, run_through, started, steps_of

ADA = Operator(by="ada", why="the scanner was down", service="warehouse", now=NOW + 100)
LATER = Operator(by="bob", why="again", service="warehouse", now=NOW + 200)


def held(decision: Decision, step: str, workflow: Workflow = ORDER, codec: Codec | None = None) -> Case:
    """The message that a decision sent, as if `step` had held it."""
    (sent,) = publications(decision, workflow, codec or Codec(), service="upstream", now=NOW, trace={})
    return Case(sent.message, opened(sent.message), step)


def sent_stamp(message: Message) -> Stamp:
    stamp = parse(str(message.headers[STAMP]).encode())
    assert stamp_checker().is_valid(stamp.to_dict()), stamp_checker().explain(stamp.to_dict())
    return stamp


def amend(case: Case, **state: Any) -> Message:
    return amended(case, ORDER.contract, {**case.stamp.state, **state}, ADA, signed=False)


def only(found: list[Publication]) -> Publication:
    (one,) = found
    return one


def test_an_amended_message_says_in_its_history_who_changed_it_why_and_when() -> None:
    stamp = sent_stamp(amend(held(run_through("charge"), "pack"), amount=9))
    entry = stamp.history[-1]
    assert (entry.step, entry.service, entry.outcome) == ("amend:pack", "operator", "ok")
    assert (entry.by, entry.why, entry.at) == ("ada", "the scanner was down", "2025-11-23T12:15:00.250Z")
    assert (stamp.seq, entry.seq, stamp.state["amount"]) == (2, 2, 9)


def test_the_step_takes_an_amended_message_as_it_would_have_taken_the_old_one() -> None:
    case = held(run_through("charge"), "pack")
    message = amend(case, amount=9)
    arrival = Codec().decode(message, {1: ORDER})
    assert (arrival.stamp.state["amount"], message.body, message.type) == (9, case.message.body, "Charged")
    assert message.message_id != case.message.message_id


def test_the_same_amendment_has_the_same_id_whoever_makes_it_and_another_has_another() -> None:
    case = held(run_through("charge"), "pack")
    again = amended(case, ORDER.contract, {"amount": 9, "order": "o-1"}, LATER, signed=False)
    assert amend(case, amount=9).message_id == again.message_id
    assert amend(case, amount=8).message_id != again.message_id


def test_an_amendment_is_no_visit_and_changes_nothing_of_what_would_be_undone() -> None:
    loop = Workflow(
        "LOOP", version=1, start=Ordered, steps=[Step("a", service="s", on=Ordered, emits=Charged, max_visits=3)]
    )
    case = held(started(loop), "a", loop)
    stamp = sent_stamp(amended(case, loop.contract, {"x": 1}, ADA, signed=False))
    assert visit_of(stamp, loop.step("a")) == visit_of(case.stamp, loop.step("a")) == 1
    saga = held(run_through("charge", "pack"), "ship")
    assert undo_stack(sent_stamp(amend(saga, amount=1))) == undo_stack(saga.stamp)


def test_members_that_this_version_does_not_know_survive_an_amendment() -> None:
    decision = run_through("charge")
    newer = Decision(
        stamp=decision.stamp.having({"later": {"a": [1]}}), settle=decision.settle, messages=decision.messages
    )
    assert sent_stamp(amend(held(newer, "pack"), amount=3)).values["later"] == {"a": [1]}


@pytest.mark.parametrize(("state", "words"), [({"amount": "much"}, "amount"), ({}, "like this already")])
def test_a_state_that_the_contract_refuses_or_that_is_no_other_is_refused(state: dict[str, Any], words: str) -> None:
    with pytest.raises(RepairRefused, match=words):
        amend(held(run_through("charge"), "pack"), **state)


def test_a_run_turned_around_by_hand_walks_back_like_after_a_failure() -> None:
    case = held(run_through("charge"), "pack")
    undo = only(turned(case, ORDER, ADA))
    stamp = sent_stamp(undo.message)
    assert (undo.exchange, undo.routing_key, undo.message.type) == ("ORDER", "undo.charge", "undo:charge")
    assert steps_of(stamp) == [("charge", "ok"), ("pack", "failed")]
    assert (stamp.phase, stamp.history[-1].by, stamp.history[-1].service) == ("backward", "ada", "operator")
    assert stamp.error is not None
    assert (stamp.error["type"], stamp.error["message"]) == ("Operator", "the scanner was down")
    assert Codec().decode(undo.message, {1: ORDER}).payload is None


def test_a_step_that_was_partly_done_is_undone_first() -> None:
    case = held(run_through("charge"), "pack")
    assert only(turned(case, ORDER, ADA, partly=True)).routing_key == "undo.pack"


def test_a_repair_does_not_take_the_id_that_the_step_itself_would_send_with() -> None:
    decision = run_through("charge")
    own = failed(decision, "pack").messages[0].message_id
    by_hand = [only(turned(held(decision, "pack"), ORDER, who)).message.message_id for who in (ADA, LATER)]
    assert by_hand[0] == by_hand[1] != own


def test_there_is_no_way_back_past_a_pivot_or_without_any_undo() -> None:
    with pytest.raises(RepairRefused, match="no way back"):
        turned(held(run_through("charge", "pack", "ship"), "tell"), ORDER, ADA)
    with pytest.raises(RepairRefused, match="no way back"):
        turned(held(started(PLAIN), "charge", PLAIN), PLAIN, ADA)


def test_a_run_that_goes_backward_already_is_not_turned_again() -> None:
    with pytest.raises(RepairRefused, match="backward already"):
        turned(held(failed(run_through("charge"), "pack"), "charge"), ORDER, ADA)


def test_a_skipped_step_is_declared_done_and_the_run_goes_on_with_its_event() -> None:
    case = held(run_through("charge"), "pack")
    going = only(skipped(case, ORDER, ADA, payload={"order": "o-1"}))
    stamp = sent_stamp(going.message)
    assert (going.routing_key, going.message.body) == ("Packed", b'{"order":"o-1"}')
    assert steps_of(stamp) == [("charge", "ok"), ("pack", "skipped")]
    assert (stamp.history[-1].by, stamp.history[-1].service, stamp.event) == ("ada", "operator", "Packed")


def test_what_was_done_by_hand_is_not_undone_later_and_what_came_before_is() -> None:
    case = held(run_through("charge"), "pack")
    stamp = sent_stamp(only(skipped(case, ORDER, ADA, payload={"order": "o-1"})).message)
    assert [entry.step for entry in undo_stack(stamp)] == ["charge"]


def test_after_a_skipped_pivot_there_is_no_way_back() -> None:
    case = held(run_through("charge", "pack"), "ship")
    stamp = sent_stamp(only(skipped(case, ORDER, ADA, payload={"order": "o-1"})).message)
    assert (past_pivot(stamp), undo_stack(stamp)) == (True, [])


def test_a_skipped_last_step_completes_the_run() -> None:
    case = held(run_through("charge", "pack", "ship"), "tell")
    end = only(skipped(case, ORDER, ADA))
    assert (end.routing_key, sent_stamp(end.message).phase) == ("end.completed", "completed")


@pytest.mark.parametrize(
    ("event", "payload"),
    [(None, None), (None, {"wrong": 1}), ("Shipped", {"order": "o-1"}), ("Nothing", {})],
    ids=["no payload", "wrong payload", "another step's event", "unknown event"],
)
def test_a_step_is_only_skipped_with_an_event_that_it_could_have_emitted(event: str | None, payload: Any) -> None:
    with pytest.raises(RepairRefused):
        skipped(held(run_through("charge"), "pack"), ORDER, ADA, event=event, payload=payload)


def test_an_undo_done_by_hand_is_settled_and_the_next_one_follows() -> None:
    case = held(failed(run_through("charge", "pack"), "ship"), "pack")
    undo = only(skipped(case, ORDER, ADA))
    entry = sent_stamp(undo.message).history[-1]
    assert (undo.routing_key, entry.outcome, entry.undoes, entry.by) == ("undo.charge", "undone", 2, "ada")


def test_the_last_undo_done_by_hand_ends_the_run_as_compensated() -> None:
    case = held(failed(run_through("charge"), "pack"), "charge")
    assert only(skipped(case, ORDER, ADA)).routing_key == "end.compensated"
    with pytest.raises(RepairRefused, match="emits no event"):
        skipped(case, ORDER, ADA, payload={})


def test_an_amended_undo_is_still_that_undo_and_finds_what_was_kept() -> None:
    back = failed(run_through("charge"), "pack")
    case = held(back, "charge")
    stamp = sent_stamp(amend(case, amount=1))
    ended = finish(
        Decision(stamp=stamp, settle=back.settle, messages=back.messages), "charge", Undone(state=stamp.state)
    )
    assert ended.stamp.phase == "compensated"


def test_a_dropped_run_ends_as_failed_once_with_the_reason() -> None:
    case = held(run_through("charge"), "pack")
    end = dropped(case, "ORDER", ADA, signed=False)
    stamp = sent_stamp(end.message)
    assert (end.routing_key, end.mandatory, end.message.body, stamp.phase) == ("end.failed", False, b"{}", "failed")
    assert (stamp.history[-1].by, stamp.error and stamp.error["message"]) == ("ada", "the scanner was down")
    assert end.message.message_id == dropped(case, "ORDER", LATER, signed=False).message.message_id


def test_nothing_is_left_to_decide_about_a_run_that_ended() -> None:
    end = dropped(held(run_through("charge"), "pack"), "ORDER", ADA, signed=False)
    with pytest.raises(RepairRefused, match="has ended"):
        opened(end.message)


def test_what_is_too_new_or_of_no_known_workflow_is_left_alone() -> None:
    case = held(run_through("charge"), "pack")
    newer = case.stamp.having({"stamp": "2.0"})
    with pytest.raises(TooNew):
        opened(Message(body=b"{}", message_id="m", headers={STAMP: newer.to_json().decode()}))
    with pytest.raises(UnknownWorkflow):
        pinned(case.stamp, {1: PLAIN}, case.step)


@pytest.mark.parametrize(("by", "why"), [("", "x"), ("a\x1b[0m", "x"), ("a" * 129, "x"), ("ada", " ")])
def test_an_operator_has_a_name_that_a_stamp_can_carry_and_a_reason(by: str, why: str) -> None:
    with pytest.raises(RepairRefused):
        Operator(by=by, why=why, service="s", now=NOW)


def test_a_long_reason_is_cut_to_what_an_entry_may_hold() -> None:
    wordy = Operator(by="ada", why="x" * 2000, service="warehouse", now=NOW)
    case = held(run_through("charge"), "pack")
    stamp = sent_stamp(amended(case, ORDER.contract, {"order": "o-2"}, wordy, signed=False))
    assert len(stamp.history[-1].why or "") == 512


SEALED = Workflow(
    "SEALED",
    version=1,
    start=Ordered,
    signed=True,
    steps=[Step("charge", service="payments", on=Ordered, emits=Charged)],
)
CODEC = Codec(keys=KeyRing([HmacKey("k", b"s" * 32)], signing="k"))
KEEPER = Operator(by="ada", why="why", service="payments", now=NOW, codec=CODEC)


def test_repaired_messages_of_signed_workflows_are_signed_by_the_service() -> None:
    case = held(started(SEALED), "charge", SEALED, CODEC)
    check_trust(case, CODEC, signed=True)
    message = amended(case, SEALED.contract, {"a": 1}, KEEPER, signed=True)
    assert CODEC.decode(message, {1: SEALED}).stamp.state == {"a": 1}
    assert message.headers[SIGNATURE] != case.message.headers[SIGNATURE]


def test_a_repair_does_not_put_our_name_under_what_nobody_trusts() -> None:
    case = held(started(SEALED), "charge", SEALED, CODEC)
    forged = Case(
        Message(body=b'{"order":"mine"}', message_id=case.message.message_id, headers=case.message.headers),
        case.stamp,
        "charge",
    )
    with pytest.raises(SignatureInvalid):
        check_trust(forged, CODEC, signed=True)
    with pytest.raises(RepairRefused, match="no keys here"):
        check_trust(case, Codec(), signed=True)
