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
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal, assert_never

import msgspec

from stamp.errors import OutputInvalid, UndeclaredEvent
from stamp.evolution import newest
from stamp.ids import first_message, next_message
from stamp.layout import end_key, undo_key
from stamp.model import FORMAT, Action, Entry, Stamp, encoded_size, timestamp
from stamp.workflow import Step, Workflow

KEEP_LIMIT = 1024
ERROR_LIMIT = 512
FOLD_ENTRIES = 32
FOLD_BYTES = 12 * 1024
NEVER_FOLDED = 3

OPERATOR = "operator"
"""Stands for the service in entries that a person wrote."""
PASSED = frozenset({"ok", "skipped"})
"""The outcomes with which a step counts as done."""


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
    hand: Hand | None = None
    """Set when a person declares the outcome, not the step's service."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The handler returned: the event it emits (`None`: nothing follows), the state it left, what its undo needs."""

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


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """The handler raised: worth another try while the policy allows it. `after` asks for a certain pause."""

    type: str
    reason: str
    after: float | None = None


Outcome = Done | Undone | Failed | Broken


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send on the workflow's exchange."""

    routing_key: str
    type: str
    message_id: str
    event: object | None
    """The payload; `None` is an empty object."""
    mandatory: bool = True


class Forward(msgspec.Struct, frozen=True):
    """Settle: acknowledge once the messages are confirmed."""


class Again(msgspec.Struct, frozen=True):
    """Settle: send the same message once more after `delay` seconds, as try number `attempt`."""

    attempt: int
    delay: float
    reason: str


class Hold(msgspec.Struct, frozen=True):
    """Settle: park the message, whole, under `reason`."""

    reason: Literal["failed", "undo-failed"]
    detail: str


Settle = Forward | Again | Hold


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The stamp after the hop, the messages that carry it, and how to settle the delivery."""

    stamp: Stamp
    settle: Settle
    messages: tuple[Next, ...] = ()


def begin(workflow: Workflow, event: object, *, run: str, state: Mapping[str, Any], now: float) -> Decision:
    """The first stamp of a run and the message that starts it."""
    if type(event) is not workflow.start:
        raise UndeclaredEvent(
            f"{workflow.label} starts with {workflow.start.__name__}, not {type(event).__name__}",
            fix=f"pass a {workflow.start.__name__}",
        )
    values: dict[str, Any] = {
        "stamp": FORMAT,
        "workflow": workflow.name,
        "version": workflow.version,
        "run": run,
        "started": timestamp(now),
        "phase": "forward",
        "event": workflow.start.__name__,
        "seq": 0,
        "state": dict(state),
    }
    if workflow.deadline is not None:
        values["deadline"] = timestamp(now + workflow.deadline)
    name = workflow.start.__name__
    first = Next(routing_key=name, type=name, message_id=first_message(run), event=event)
    return Decision(stamp=Stamp(values, b"[]"), settle=Forward(), messages=(first,))


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


def undo_stack(stamp: Stamp) -> list[Entry]:
    """The entries still to be undone, first to undo last: never stored, always derived from the history."""
    stack: list[Entry] = []
    for entry in stamp.history:
        if entry.undoes is not None:
            stack = [earlier for earlier in stack if earlier.seq != entry.undoes]
        elif entry.pivot and entry.outcome in PASSED:
            stack = []
        elif entry.undo and entry.outcome in {"ok", "failed"}:
            stack.append(entry)
    return stack


def past_pivot(stamp: Stamp) -> bool:
    """Whether a step ran after which there is no way back."""
    return any(entry.pivot and entry.outcome in PASSED for entry in stamp.history)


def visit_of(stamp: Stamp, step: Step) -> int:
    """Which visit of the step this is, from 1. Steps outside loops don't cost a look at the history."""
    if step.max_visits == 1:
        return 1
    return 1 + max((entry.visit for entry in stamp.history if entry.step == step.name and not entry.undoes), default=0)


def kept_for(stamp: Stamp, step: Step) -> dict[str, Any]:
    """What the step kept for its undo when it ran."""
    return next((entry.keep or {} for entry in reversed(undo_stack(stamp)) if entry.step == step.name), {})


def _policy(at: Position) -> Any:
    return at.step.retry if at.action == "do" else at.step.undo_retry


def _again(at: Position, outcome: Broken) -> Again:
    pause = outcome.after if outcome.after is not None else _policy(at).delay(at.attempt, seed=at.message_id)
    return Again(at.attempt + 1, pause, f"{outcome.type}: {outcome.reason}")


def _entry(stamp: Stamp, at: Position, outcome: str, now: float, **more: Any) -> Entry:
    return Entry(
        seq=stamp.seq + 1,
        step=at.step.name,
        service=at.step.service if at.hand is None else OPERATOR,
        at=timestamp(now),
        outcome=outcome,
        branch=stamp.branch,
        ms=at.ms or None,
        attempt=at.attempt,
        visit=visit_of(stamp, at.step) if at.action == "do" else 1,
        by=at.hand.by if at.hand else None,
        why=at.hand.why if at.hand else None,
        **more,
    )


def _forward(workflow: Workflow, stamp: Stamp, at: Position, done: Done, now: float) -> Decision:
    step, name = at.step, _emitted(at.step, done.event)
    _check_keep(step, done.keep)
    choice = name if len(step.outputs) > 1 else None
    outcome, undo = ("ok", step.undo) if at.hand is None else ("skipped", False)
    entry = _entry(stamp, at, outcome, now, emits=choice, undo=undo, keep=done.keep or None, pivot=step.pivot)
    ended = name is None or workflow.terminal(name)
    changes = {
        "stamp": newest(FORMAT, stamp.format),
        "event": name or stamp.event,
        "state": done.state,
        "phase": "completed" if ended else "forward",
    }
    after = fold(stamp.appended(entry, changes), workflow)
    message = Next(
        routing_key=end_key("completed") if ended else str(name),
        type=after.event,
        message_id=next_message(at.message_id, step.name, "do", stamp.branch or ""),
        event=done.event,
        mandatory=not ended,
    )
    return Decision(stamp=after, settle=Forward(), messages=(message,))


def _emitted(step: Step, event: object | None) -> str | None:
    name = None if event is None else type(event).__name__
    if (name is None and step.outputs) or (name is not None and name not in step.outputs):
        raise UndeclaredEvent(
            f"step {step.name!r} returned {name}, it declares {' or '.join(step.outputs) or 'no event'}",
            fix=f"return one of the declared events, or add it to emits= ({step.where})",
        )
    return name


def _check_keep(step: Step, keep: dict[str, Any]) -> None:
    size = encoded_size(keep)
    if size > KEEP_LIMIT:
        raise OutputInvalid(
            f"step {step.name!r} keeps {size} bytes for its undo, the limit is {KEEP_LIMIT}",
            fix="keep a key and store the rest in your own tables",
        )


def _turn(workflow: Workflow, stamp: Stamp, at: Position, outcome: Failed | Broken, now: float) -> Decision:
    detail = f"{outcome.type}: {outcome.reason}"
    if at.action == "undo":
        return Decision(stamp=stamp, settle=Hold("undo-failed", detail))
    if not workflow.saga or past_pivot(stamp):
        return Decision(stamp=stamp, settle=Hold("failed", detail))
    partly = isinstance(outcome, Failed) and outcome.undo_me and at.step.undo
    entry = _entry(stamp, at, "failed", now, undo=partly)
    error = {
        "type": outcome.type[:ERROR_LIMIT],
        "message": outcome.reason[:ERROR_LIMIT],
        "step": at.step.name,
        "service": at.step.service,
        "at": timestamp(now),
    }
    turned = stamp.appended(entry, {"stamp": newest(FORMAT, stamp.format), "phase": "backward", "error": error})
    return walk_back(workflow, turned, at)


def _settled(stamp: Stamp, at: Position, now: float) -> Stamp:
    """The stamp with an entry that settles the undo which just ran."""
    settles = next((entry for entry in reversed(undo_stack(stamp)) if entry.step == at.step.name), None)
    entry = _entry(stamp, at, "undone", now, undoes=settles.seq if settles else None)
    return stamp.appended(entry, {"stamp": newest(FORMAT, stamp.format)})


def walk_back(workflow: Workflow, stamp: Stamp, at: Position) -> Decision:
    """The next undo in reverse order, or the end when none is left."""
    action: Action = at.action
    message_id = next_message(at.message_id, at.step.name, action, stamp.branch or "")
    stack = undo_stack(stamp)
    if not stack:
        ended = stamp.having({"phase": "compensated"})
        notice = Next(
            routing_key=end_key("compensated"), type=ended.event, message_id=message_id, event=None, mandatory=False
        )
        return Decision(stamp=ended, settle=Forward(), messages=(notice,))
    step = workflow.step(stack[-1].step)
    back = stamp.having({"event": step.event, "phase": "backward"})
    undo = Next(routing_key=undo_key(step.name), type=f"undo:{step.name}", message_id=message_id, event=None)
    return Decision(stamp=back, settle=Forward(), messages=(undo,))


def fold(stamp: Stamp, workflow: Workflow) -> Stamp:
    """Fold settled history into `base` once it is long: a count and a digest stay, so size and cost stay bounded.

    What a later hop may still need is never folded: live undos, the last pivot, the last visit of a step in a
    loop, and the last three entries.
    """
    trail = stamp.trail
    if trail is None or (stamp.seq - stamp.folded <= FOLD_ENTRIES and len(trail) <= FOLD_BYTES):
        return stamp
    raw = stamp.raw_history()
    keep_from = _first_needed(stamp, workflow)
    if keep_from == 0:
        return stamp
    base = stamp.values.get("base") or {}
    digest = str(base.get("digest", ""))
    for text in raw[:keep_from]:
        digest = sha256(digest.encode() + bytes(text)).hexdigest()
    folded = {**base, "count": stamp.folded + keep_from, "digest": digest}
    return stamp.with_trail(raw[keep_from:], {"base": folded})


def _first_needed(stamp: Stamp, workflow: Workflow) -> int:
    live = {entry.seq for entry in undo_stack(stamp)}
    history: Sequence[Entry] = stamp.history
    last_pivot = max([entry.seq for entry in history if entry.pivot], default=-1)
    looping = {step.name for step in workflow.steps if step.max_visits > 1}
    last_visit = {entry.step: entry.seq for entry in history if entry.step in looping}
    for place, entry in enumerate(history[:-NEVER_FOLDED]):
        if entry.seq in live or entry.seq == last_pivot or last_visit.get(entry.step) == entry.seq:
            return place
    return max(len(history) - NEVER_FOLDED, 0)


def plain(value: object) -> Any:
    """A typed value as plain data, the form in which state and payloads are compared and validated."""
    return msgspec.to_builtins(value)
