"""What follows a finished hop, tested with plain values."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp.decision import Again, Broken, Done, Failed, Forward, Hold, Position, Undone, decide
from stamp.errors import OutputInvalid, UndeclaredEvent
from stamp.history import undo_stack
from stamp.ids import first_message, next_message
from tests.kernel.tables import NOW, ORDER, PLAIN, RUN, Charged, Packed, failed, finish, run_through, started, steps_of


def test_a_run_starts_with_its_identity_and_an_empty_history() -> None:
    decision = started()
    assert decision.stamp.values == {
        "stamp": "1.0",
        "workflow": "ORDER",
        "version": 1,
        "run": RUN,
        "started": "2025-11-23T12:13:20.250Z",
        "deadline": "2025-11-25T12:13:20.250Z",
        "phase": "forward",
        "event": "Ordered",
        "seq": 0,
        "state": {"order": "o-1", "amount": 7},
    }
    assert decision.stamp.history == ()
    assert decision.messages[0].message_id == first_message(RUN)


def test_starting_with_another_event_is_refused() -> None:
    from stamp.beginning import begin

    with pytest.raises(UndeclaredEvent, match="ORDER v1 starts with Ordered, not Packed"):
        begin(ORDER, Packed("o"), run=RUN, state={}, now=NOW)


def test_a_finished_step_goes_forward_with_its_event() -> None:
    decision = run_through("charge")
    assert (decision.stamp.event, decision.stamp.seq, decision.stamp.phase) == ("Charged", 1, "forward")
    assert decision.messages[0].routing_key == "Charged"
    assert decision.messages[0].message_id == next_message(first_message(RUN), "charge", "do")


def test_a_plain_entry_takes_at_most_110_bytes() -> None:
    decision = run_through("charge", "pack", "ship")
    sizes = [len(bytes(raw)) for raw in decision.stamp.raw_history()]
    assert max(sizes) <= 110 + len(',"undo":true')


def test_the_last_step_completes_the_run_and_says_so_once() -> None:
    decision = run_through("charge", "pack", "ship", "tell")
    assert decision.stamp.phase == "completed"
    assert [message.routing_key for message in decision.messages] == ["end.completed"]
    assert decision.messages[0].mandatory is False


def test_an_event_that_the_step_does_not_declare_is_refused() -> None:
    with pytest.raises(UndeclaredEvent, match="'charge' returned Packed, it declares Charged"):
        finish(started(), "charge", Done(event=Packed("o"), state={}))


def test_returning_nothing_where_an_event_is_declared_is_refused() -> None:
    with pytest.raises(UndeclaredEvent, match="returned None"):
        finish(started(), "charge", Done(event=None, state={}))


def test_a_failure_walks_back_through_the_undos_in_reverse_order_and_ends_compensated() -> None:
    turned = failed(run_through("charge", "pack"), "ship", "no courier")
    assert turned.messages[0].type == "undo:pack"
    assert turned.messages[0].routing_key == "undo.pack"
    first = finish(turned, "pack", Undone(state=turned.stamp.state))
    assert first.messages[0].type == "undo:charge"
    last = finish(first, "charge", Undone(state=first.stamp.state))
    assert last.stamp.phase == "compensated"
    assert last.messages[0].routing_key == "end.compensated"
    assert steps_of(last.stamp) == [
        ("charge", "ok"),
        ("pack", "ok"),
        ("ship", "failed"),
        ("pack", "undone"),
        ("charge", "undone"),
    ]


def test_the_stamp_says_why_it_turned_back() -> None:
    turned = failed(run_through("charge"), "pack", "x" * 600)
    error = turned.stamp.error
    assert error is not None
    assert (error["type"], error["step"], error["service"]) == ("Fail", "pack", "warehouse")
    assert error["message"] == "x" * 512


def test_while_going_backward_event_is_the_one_whose_step_is_being_undone() -> None:
    turned = failed(run_through("charge", "pack"), "ship")
    assert turned.stamp.event == "Charged"


def test_a_saga_that_fails_before_anything_was_done_ends_compensated_at_once() -> None:
    decision = failed(started(), "charge")
    assert decision.stamp.phase == "compensated"


def test_a_step_that_was_partly_done_can_ask_for_its_own_undo() -> None:
    decision = finish(run_through("charge"), "pack", Failed(type="Fail", reason="half", undo_me=True))
    assert decision.messages[0].type == "undo:pack"


def test_past_the_pivot_there_is_no_way_back() -> None:
    decision = failed(run_through("charge", "pack", "ship"), "tell", "bounced")
    assert decision.settle == Hold("failed", "Fail: bounced")
    assert decision.messages == ()


def test_a_workflow_without_any_undo_holds_what_failed() -> None:
    decision = finish(started(PLAIN), "charge", Failed(type="Fail", reason="no"), workflow=PLAIN)
    assert decision.settle == Hold("failed", "Fail: no")


def test_an_error_is_tried_again_while_the_policy_allows_it() -> None:
    decision = finish(started(), "charge", Broken(type="OSError", reason="gone"), attempt=2)
    assert isinstance(decision.settle, Again)
    assert decision.settle.attempt == 3
    assert decision.stamp is not None
    assert decision.messages == ()


def test_used_up_tries_turn_the_run_around() -> None:
    decision = finish(run_through("charge"), "pack", Broken(type="OSError", reason="gone"), attempt=5)
    assert decision.stamp.phase == "backward"


def test_asking_for_a_later_try_gets_the_pause_asked_for_within_the_policy() -> None:
    asked = Broken(type="RetryLater", reason="busy", after=42.0)
    decision = finish(started(), "charge", asked, attempt=1)
    assert isinstance(decision.settle, Again)
    assert decision.settle.delay == 42.0
    assert not isinstance(finish(started(), "charge", asked, attempt=3).settle, Again)


def test_an_undo_that_keeps_failing_is_held_with_the_undo_still_to_do() -> None:
    turned = failed(run_through("charge"), "pack")
    decision = finish(turned, "charge", Broken(type="OSError", reason="gone"), attempt=3)
    assert decision.settle == Hold("undo-failed", "OSError: gone")
    assert [entry.step for entry in undo_stack(decision.stamp)] == ["charge"]


def test_what_a_step_keeps_travels_in_its_entry() -> None:
    decision = finish(started(), "charge", Done(event=Charged("o"), state={}, keep={"receipt": "r-1"}))
    assert decision.stamp.history[-1].keep == {"receipt": "r-1"}


def test_keeping_more_than_a_kibibyte_is_refused() -> None:
    with pytest.raises(OutputInvalid, match="the limit is 1024"):
        finish(started(), "charge", Done(event=Charged("o"), state={}, keep={"blob": "x" * 1100}))


def test_the_same_hop_decided_twice_gives_the_same_stamp_and_ids() -> None:
    assert run_through("charge", "pack") == run_through("charge", "pack")


def test_unknown_members_of_the_stamp_survive_a_hop() -> None:
    decision = started()
    newer = decision.stamp.having({"ext": {"org.example": 1}, "later": {"a": None}})
    position = Position(step=ORDER.step("charge"), action="do", message_id=first_message(RUN))
    after = decide(ORDER, newer, position, Done(event=Charged("o"), state=newer.state), NOW)
    assert after.stamp.values["ext"] == {"org.example": 1}
    assert after.stamp.values["later"] == {"a": None}


def test_a_hop_writes_the_newer_of_its_own_and_the_incoming_format() -> None:
    decision = started()
    newer = decision.stamp.having({"stamp": "1.7"})
    position = Position(step=ORDER.step("charge"), action="do", message_id=first_message(RUN))
    assert decide(ORDER, newer, position, Done(event=Charged("o"), state={}), NOW).stamp.format == "1.7"


@given(st.lists(st.sampled_from(["do", "fail"]), max_size=4))
def test_every_run_ends_in_exactly_one_way_with_every_live_step_undone_once(fates: list[str]) -> None:
    decision, done = started(), []
    for step, fate in zip(("charge", "pack", "ship", "tell"), [*fates, "do", "do", "do", "do"], strict=False):
        if fate == "fail":
            decision = failed(decision, step)
            break
        decision = finish(decision, step)
        done.append(step)
    if isinstance(decision.settle, Hold):
        assert "ship" in done
        return
    while decision.stamp.phase == "backward":
        step = decision.messages[0].type.removeprefix("undo:")
        decision = finish(decision, step, Undone(state=decision.stamp.state))
    assert decision.stamp.phase in {"completed", "compensated"}
    undone = [entry.step for entry in decision.stamp.history if entry.outcome == "undone"]
    expected = [] if decision.stamp.phase == "completed" else [step for step in reversed(done) if step != "ship"]
    assert undone == expected
    assert isinstance(decision.settle, Forward)


def test_an_entry_that_a_newer_service_wrote_is_carried_on_byte_for_byte() -> None:
    decision = run_through("charge")
    raw = b'{"seq":1,"step":"charge","service":"payments","at":"2025-11-23T12:13:21Z","outcome":"ok","new":[1]}'
    stamp = decision.stamp.with_trail([msgspec.Raw(raw)], {})
    position = Position(step=ORDER.step("pack"), action="do", message_id=decision.messages[0].message_id)
    after = decide(ORDER, stamp, position, Done(event=Packed("o"), state={}), NOW)
    assert bytes(after.stamp.raw_history()[0]) == raw
