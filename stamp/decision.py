"""What a finished hop means for its run: the next stamp, the messages to send, how to settle the delivery.

Pure: no clock, no loop, no I/O. The whole life of a run is this table; `walk_back` is its right-hand side.

    phase      outcome            next
    ---------  -----------------  ------------------------------------------------------------
    forward    Done               forward with the event, or completed when nobody consumes it
    forward    Broken, tries left the same message again, after a pause
    forward    Broken, Failed     backward (a saga before its pivot), else held
    backward   Undone             backward to the next undo, or compensated when none is left
    backward   Broken, tries left the same message again, after a pause
    backward   Broken, Failed     held, with the undo still to do in the stamp

In a branch that will be joined, `failed` and "none is left" are reported to the join, which turns the other branches
(`stamp.joining`); the trunk goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, assert_never

import msgspec

from stamp.branching import Place, branch_of, depth, fork_of
from stamp.codec import Timer
from stamp.errors import OutputInvalid, UndeclaredEvent
from stamp.evolution import newest
from stamp.history import fold, past_pivot, to_settle, undo_stack, visit_of
from stamp.ids import next_message
from stamp.layout import end_key, undo_key
from stamp.model import FORMAT, Action, Entry, Stamp, encoded_size, epoch, timestamp
from stamp.style import Stateless
from stamp.workflow import Step, Workflow

KEEP_LIMIT = 1024
ERROR_LIMIT = 512
ERROR_LIMIT_TYPE = 128


Role = Literal["step", "base", "child", "report", "timer"]
"""What a delivery is to the step: its turn, or (for a join) the fork itself, a branch, word of a branch, the time."""

OPERATOR = "operator"
"""Stands for the service in entries that a person wrote."""


class Hand(msgspec.Struct, frozen=True):
    """Who stands in for a step's service, and why."""

    by: str
    why: str


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a delivery stands: the step and direction that it runs, and the message it consumed."""

    step: Step
    action: Action
    message_id: str
    attempt: int = 1
    ms: int = 0
    role: Role = "step"
    place: Place | None = None
    """For a join's arrivals: the fork and the child."""
    hand: Hand | None = None
    """Set when a person declares the outcome, not the step's service."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The handler returned: the event it emits (`None`: nothing follows), the state it left, what its undo needs.

    A list of events of one type opens a fork.
    """

    event: object | None
    state: dict[str, Any]
    keep: dict[str, Any] = msgspec.field(default_factory=dict)


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """The undo handler returned."""

    state: dict[str, Any]


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """No retry will help: a business failure, or an error that the step declares final."""

    type: str
    reason: str
    undo_me: bool = False
    entry: Literal["failed", "timeout"] = "failed"
    """The outcome that the history notes."""
    held: Literal["failed", "late"] = "failed"
    """The reason under which it is held where there is no way back."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """The handler raised: worth another try while the policy allows it. `after` asks for a certain pause."""

    type: str
    reason: str
    after: float | None = None
    entry: Literal["failed", "timeout"] = "failed"


Outcome = Done | Undone | Failed | Broken


Kind = Literal["event", "end", "undo", "word", "timer", "report"]
"""What a message is: a fact, a run's end, the command to undo, a branch's word to its join, the time, an account."""


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send on the workflow's exchange."""

    kind: Kind
    routing_key: str
    type: str
    message_id: str
    event: object | None = None
    """The payload; `None` is an empty object. Of a report: the list of payloads that its owner shall send on."""
    mandatory: bool = True
    stamp: Stamp | None = None
    """The stamp that it carries, where that is not the decision's own."""
    timer: Timer | None = None
    """Sent to come back later, to the queue that the routing key names, or (empty) to where its cause came from."""


class Forward(msgspec.Struct, frozen=True):
    """Settle: acknowledge once the messages are confirmed."""


class Again(msgspec.Struct, frozen=True):
    """Settle: send the same message once more after `delay` seconds, as try number `attempt`."""

    attempt: int
    delay: float
    reason: str


class Hold(msgspec.Struct, frozen=True):
    """Settle: park the message, whole, under `reason`."""

    reason: Literal["failed", "undo-failed", "late", "branches-missing"]
    detail: str


Settle = Forward | Again | Hold


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The stamp after the hop, the messages that carry it, and how to settle the delivery."""

    stamp: Stamp
    settle: Settle
    messages: tuple[Next, ...] = ()
    entry: msgspec.Raw | None = None
    """The hop's entry, where the history does not travel: for the notes of a service that nobody else keeps."""


def decide(workflow: Workflow, stamp: Stamp, at: Position, outcome: Outcome, now: float) -> Decision:
    """The one place that knows what follows a at. `now` is epoch seconds."""
    match outcome:
        case Done():
            return _forward(workflow, stamp, at, outcome, now)
        case Undone():
            settled = _settled(stamp, at, now).having({"state": outcome.state})
            return walk_back(workflow, settled, at)
        case Broken() if _policy(at).left(at.attempt):
            return Decision(stamp=stamp, settle=_again(at, outcome))
        case Broken() | Failed():
            return _turn(workflow, stamp, at, outcome, now)
        case _:
            assert_never(outcome)


def _policy(at: Position) -> Any:
    return at.step.retry if at.action == "do" else at.step.undo_retry


def _again(at: Position, outcome: Broken) -> Again:
    pause = outcome.after if outcome.after is not None else _policy(at).delay(at.attempt, seed=at.message_id)
    return Again(at.attempt + 1, pause, f"{outcome.type}: {outcome.reason}")


def refusal(stamp: Stamp, at: Position, now: float) -> Failed | None:
    """Why a step may not run any more: the run's deadline has passed, or the step was visited too often."""
    if at.action == "undo":
        return None
    if stamp.deadline is not None and now > epoch(stamp.deadline):
        return Failed(type="Late", reason=f"the run's deadline was {stamp.deadline}", entry="timeout", held="late")
    if at.step.max_visits > 1 and visit_of(stamp, at.step) > at.step.max_visits:
        return Failed(type="TooManyVisits", reason=f"step {at.step.name!r} allows max_visits={at.step.max_visits}")
    return None


def entry_of(stamp: Stamp, at: Position, outcome: str, now: float, **more: Any) -> Entry:
    """The history entry of a hop that ends now."""
    values: dict[str, Any] = {
        "seq": stamp.seq + 1,
        "step": at.step.name,
        "service": at.step.service if at.hand is None else OPERATOR,
        "at": timestamp(now),
        "outcome": outcome,
        "branch": stamp.branch,
        "ms": at.ms or None,
        "attempt": at.attempt,
        "visit": visit_of(stamp, at.step) if at.action == "do" else 1,
        "by": at.hand.by if at.hand else None,
        "why": at.hand.why if at.hand else None,
    }
    return Entry(**(values | more))


def _forward(workflow: Workflow, stamp: Stamp, at: Position, done: Done, now: float) -> Decision:
    step, name = at.step, _emitted(workflow, at.step, done.event)
    _check_keep(step, done.keep)
    choice = name if len(step.outputs) > 1 else None
    outcome, undo = ("ok", step.undo) if at.hand is None else ("skipped", False)
    entry = entry_of(stamp, at, outcome, now, emits=choice, undo=undo, keep=done.keep or None, pivot=step.pivot)
    ended = name is None or workflow.terminal(name)
    changes = {
        "stamp": newest(FORMAT, stamp.format),
        "event": name or stamp.event,
        "state": done.state,
        "phase": "completed" if ended else "forward",
    }
    after = fold(stamp.appended(entry, changes), workflow)
    if isinstance(done.event, list):
        return Decision(stamp=after, settle=Forward(), messages=_items(after, at, entry.visit, done.event))
    message = Next(
        kind="end" if ended else "event",
        routing_key=end_key("completed") if ended else str(name),
        type=after.event,
        message_id=next_message(at.message_id, step.name, "do", stamp.branch or ""),
        event=done.event,
        mandatory=not ended,
    )
    return Decision(stamp=after, settle=Forward(), messages=(message,))


def _items(after: Stamp, at: Position, visit: int, events: Sequence[object]) -> tuple[Next, ...]:
    """One branch for each event of a list. Here the publisher writes the path: nobody else knows how many there are."""
    fork = fork_of(after.branch, at.step.name, visit)
    return tuple(
        Next(
            kind="event",
            routing_key=after.event,
            type=after.event,
            message_id=next_message(at.message_id, at.step.name, "do", after.branch or "", n),
            event=event,
            stamp=after.having({"branch": branch_of(fork, n, len(events))}),
        )
        for n, event in enumerate(events)
    )


def _emitted(workflow: Workflow, step: Step, event: object | None) -> str | None:
    usual, several = type(event).__name__, isinstance(event, list)
    if usual in step.outputs and not several and not workflow.table.dynamic(usual):
        return usual
    kinds = {type(item) for item in event} if isinstance(event, list) else {type(event)} - {type(None)}
    name = next(iter(kinds)).__name__ if len(kinds) == 1 else None
    if (name is None and (several or step.outputs)) or (name is not None and name not in step.outputs):
        returned = " and ".join(sorted(kind.__name__ for kind in kinds)) or ("an empty list" if several else "None")
        raise UndeclaredEvent(
            f"step {step.name!r} returned {returned}, it declares {' or '.join(step.outputs) or 'no event'}",
            fix=f"return one of the declared events, or add it to emits= ({step.where})",
        )
    if name is not None and several != workflow.table.dynamic(name):
        raise UndeclaredEvent(
            f"step {step.name!r} returned {'a list of' if several else 'one'} {name}",
            fix=f"a list belongs to a step on=Each({name}); where there may be no item, emit another event for that",
        )
    return name


def _check_keep(step: Step, keep: dict[str, Any]) -> None:
    size = encoded_size(keep) if keep else 0
    if size > KEEP_LIMIT:
        raise OutputInvalid(
            f"step {step.name!r} keeps {size} bytes for its undo, the limit is {KEEP_LIMIT}",
            fix="keep a key and store the rest in your own tables",
        )


def _turn(workflow: Workflow, stamp: Stamp, at: Position, outcome: Failed | Broken, now: float) -> Decision:
    detail = f"{outcome.type}: {outcome.reason}"
    if at.action == "undo":
        return Decision(stamp=stamp, settle=Hold("undo-failed", detail))
    if not can_turn(workflow, stamp):
        return Decision(stamp=stamp, settle=Hold(outcome.held if isinstance(outcome, Failed) else "failed", detail))
    partly = isinstance(outcome, Failed) and outcome.undo_me and at.step.undo
    entry = entry_of(stamp, at, outcome.entry, now, undo=partly)
    error = error_of(at.step, outcome.type, outcome.reason, now)
    turned = stamp.appended(entry, {"stamp": newest(FORMAT, stamp.format), "phase": "backward", "error": error})
    # Where nobody keeps a history a branch knows its own way back best: its word then says that it is back.
    join = None if isinstance(workflow.style, Stateless) else join_of(workflow, turned, at)
    return walk_back(workflow, turned, at) if join is None else _reported(turned, at, join)


def can_turn(workflow: Workflow, stamp: Stamp) -> bool:
    """Whether there is a way back: something can be undone, and no pivot has passed."""
    return workflow.saga and not past_pivot(stamp)


def error_of(step: Step, kind: str, message: str, now: float) -> dict[str, Any]:
    """The stamp's member `error`: why the run turned back, and where."""
    return {
        "type": kind[:ERROR_LIMIT_TYPE],
        "message": message[:ERROR_LIMIT],
        "step": step.name,
        "service": step.service,
        "at": timestamp(now),
    }


def _settled(stamp: Stamp, at: Position, now: float) -> Stamp:
    """The stamp with an entry that settles the undo which just ran, in the branch of what it undoes."""
    settles = to_settle(stamp, at.step)
    settling = {"undoes": settles.seq, "branch": settles.branch} if settles else {}
    entry = entry_of(stamp, at, "undone", now, **settling)
    return stamp.appended(entry, {"stamp": newest(FORMAT, stamp.format)})


def walk_back(workflow: Workflow, stamp: Stamp, at: Position) -> Decision:
    """The next undo in reverse order; when none is left the end, or in a branch the word to its join."""
    step = next_undo(workflow, stamp, at)
    if step is None:
        join = join_of(workflow, stamp, at)
        return _compensated(stamp, at) if join is None else _reported(stamp, at, join)
    back = stamp.having({"event": step.event, "phase": "backward"})
    return Decision(stamp=back, settle=Forward(), messages=(undo_of(step, _next_id(stamp, at)),))


def next_undo(workflow: Workflow, stamp: Stamp, at: Position) -> Step | None:
    """The step to undo next: by the history, or where nobody keeps one, by the table."""
    if isinstance(workflow.style, Stateless):
        return at.step if _partly_done(stamp, at) else workflow.table.undone_before(at.step, stamp.branch)
    stack = undo_stack(stamp)
    return workflow.step(stack[-1].step) if stack else None


def _partly_done(stamp: Stamp, at: Position) -> bool:
    """Whether the hop that just failed asks for its own undo."""
    newest = stamp.history[-1:]
    return at.action == "do" and any(
        entry.step == at.step.name and entry.outcome == "failed" and entry.undo for entry in newest
    )


def _compensated(stamp: Stamp, at: Position) -> Decision:
    ended = stamp.having({"phase": "compensated"})
    return Decision(stamp=ended, settle=Forward(), messages=(compensated_notice(ended, _next_id(stamp, at)),))


def compensated_notice(ended: Stamp, message_id: str) -> Next:
    """Tells that nothing of a run is left to undo."""
    return Next(
        kind="end", routing_key=end_key("compensated"), type=ended.event, message_id=message_id, mandatory=False
    )


def _reported(stamp: Stamp, at: Position, join: Step) -> Decision:
    """A branch that failed, or has nothing left to undo, says so where its arrival is waited for."""
    word = msgspec.structs.replace(undo_of(join, _next_id(stamp, at)), kind="word")
    return Decision(stamp=stamp, settle=Forward(), messages=(word,))


def undo_of(step: Step, message_id: str) -> Next:
    """The command to undo a step."""
    return Next(kind="undo", routing_key=undo_key(step.name), type=f"undo:{step.name}", message_id=message_id)


def _next_id(stamp: Stamp, at: Position) -> str:
    return next_message(at.message_id, at.step.name, at.action, stamp.branch or "")


def join_of(workflow: Workflow, stamp: Stamp, at: Position) -> Step | None:
    """The join that waits for this branch; `None` on the trunk and in independent branches."""
    forks = depth(stamp.branch)
    return workflow.table.join_around(at.step, forks) if forks else None
