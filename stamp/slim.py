"""What travels when the message does not own the history: slim stamps, and reports to whoever does. Pure.

    style             events and ends                  the finished hop
    ----------------  -------------------------------  ---------------------------------------------
    stamp             the service sends them           in the stamp's history
    front controller  the service sends them           in a report to the owner
    orchestrator      in the report; the owner sends   in a report to the owner
    stateless         the service sends them           in the service's own notes

A slim stamp has no history. A command to undo carries the one entry that it undoes, a report the one entry that it
reports, so a step sees of the history what it needs, and nothing more: `stamp.decision` decides for all styles alike.
What else a step must know of the past is counted in the member `past`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stamp.decision import Decision, Forward, Next, Position
from stamp.history import PASSED
from stamp.ids import next_message
from stamp.layout import end_key, report_key
from stamp.model import Entry, Stamp
from stamp.style import FrontController, Orchestrator, Stamped, Stateless
from stamp.workflow import Workflow

START = "start"
"""Stands for the step in the report that a run has begun."""


def begun(workflow: Workflow, decision: Decision) -> Decision:
    """The beginning of a run, in the workflow's style."""
    stamp = without_history(decision.stamp)
    match workflow.style:
        case Stamped():
            return decision
        case Stateless():
            return msgspec.structs.replace(decision, stamp=stamp)
        case style:
            first, *others = decision.messages
            handed = [first.event] if isinstance(style, Orchestrator) else None
            report = Next(
                kind="report",
                routing_key=report_key(START),
                type=f"report:{START}",
                message_id=next_message(first.message_id, START, "report"),
                event=handed,
            )
            kept = [*others] if handed else [first, *others]
            return msgspec.structs.replace(decision, stamp=stamp, messages=(*kept, report))


def handed_over(workflow: Workflow, before: Stamp, at: Position, decision: Decision) -> Decision:
    """What a hop has decided, in the workflow's style. `before` is the stamp that the hop began with."""
    style = workflow.style
    if isinstance(style, Stamped) or not isinstance(decision.settle, Forward):
        return decision
    new = decision.stamp.raw_history()[len(before.raw_history()) :]
    entry = new[-1] if new else None
    stamp = _going_on(decision.stamp, entry, workflow)
    sent = tuple(_slim(message, entry, workflow) for message in decision.messages if _by_the_service(message, style))
    if entry is not None and not isinstance(style, Stateless):
        report = _report(decision, stamp, entry, at, owner_sends=isinstance(style, Orchestrator))
        return Decision(stamp=stamp, settle=decision.settle, messages=(*sent, report), entry=entry)
    return Decision(stamp=stamp, settle=decision.settle, messages=sent, entry=entry)


def _by_the_service(message: Next, style: FrontController | Orchestrator | Stateless) -> bool:
    """Whether a message goes out from the service itself; an owner commands every undo and tells that it is done."""
    match style:
        case Stateless():
            return True
        case FrontController():
            return message.kind in {"event", "word", "timer", "report"} or _completes(message)
        case Orchestrator():
            return message.kind in {"word", "timer", "report"}


def _report(decision: Decision, stamp: Stamp, entry: msgspec.Raw, at: Position, *, owner_sends: bool) -> Next:
    """The account of a finished hop to the owner: its entry and, where the owner sends them, the events."""
    events = [message.event for message in decision.messages if message.kind == "event" or _completes(message)]
    return report(stamp, entry, at, events=events if owner_sends else None)


def report(stamp: Stamp, entry: msgspec.Raw | None, at: Position, *, events: Sequence[object] | None = None) -> Next:
    """The account that a slim stamp and an entry give of a hop at `at`."""
    return Next(
        kind="report",
        routing_key=report_key(at.step.name),
        type=f"report:{at.step.name}",
        message_id=next_message(at.message_id, at.step.name, f"report-{at.action}", stamp.branch or ""),
        event=list(events) if events is not None else None,
        stamp=stamp.with_trail([] if entry is None else [entry], {}),
    )


def _completes(message: Next) -> bool:
    return message.routing_key == end_key("completed")


def _slim(message: Next, entry: msgspec.Raw | None, workflow: Workflow) -> Next:
    if message.stamp is None or message.kind == "report":
        return message
    return msgspec.structs.replace(message, stamp=_going_on(message.stamp, entry, workflow))


def without_history(stamp: Stamp) -> Stamp:
    """The stamp as a slim one."""
    return Stamp(stamp.values, None)


def _going_on(stamp: Stamp, entry: msgspec.Raw | None, workflow: Workflow) -> Stamp:
    """The slim stamp behind a hop: its entry is counted in `past`. Nobody but an owner says that a run is undone."""
    values = dict(stamp.values)
    if values["phase"] == "compensated" and workflow.style.owner is not None:
        values["phase"] = "backward"
    if isinstance(workflow.style, Stateless):
        values["state"] = {}
    if entry is not None and (past := _past(stamp, msgspec.json.decode(entry, type=Entry), workflow)):
        values["past"] = past
    return Stamp(values, None)


def _past(stamp: Stamp, entry: Entry, workflow: Workflow) -> dict[str, Any]:
    past = dict(stamp.past)
    step = workflow.table.steps.get(entry.step)
    if step is None or entry.outcome not in PASSED or entry.undoes is not None:
        return past
    past["last"] = f"{entry.step}:{entry.visit}"
    if entry.pivot:
        past["pivot"] = True
    if step.max_visits > 1:
        past["visits"] = {**past.get("visits", {}), entry.step: entry.visit}
    return past
