"""How a run begins: its first stamp, the message that starts it, and the timer of those who watch it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stamp.codec import Timer
from stamp.decision import Decision, Forward, Next
from stamp.errors import OutputInvalid, UndeclaredEvent
from stamp.ids import first_message, watch_message
from stamp.model import FORMAT, Stamp, epoch, timestamp
from stamp.style import Stateless
from stamp.workflow import Workflow


def begin(workflow: Workflow, event: object, *, run: str, state: Mapping[str, Any], now: float) -> Decision:
    """The first stamp of a run and the message that starts it. In stateless style the state stays behind."""
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
        "state": {} if isinstance(workflow.style, Stateless) else dict(state),
    }
    if workflow.style.owner is not None:
        values["owner"] = workflow.style.owner
    if workflow.deadline is not None:
        values["deadline"] = timestamp(now + workflow.deadline)
    name = workflow.start.__name__
    first = Next(kind="event", routing_key=name, type=name, message_id=first_message(run), event=event)
    return Decision(stamp=Stamp(values, b"[]"), settle=Forward(), messages=(first,))


def plain_state(workflow: Workflow, state: object) -> dict[str, Any]:
    """A value of the workflow's state type as plain values. Raises `OutputInvalid` when the schema refuses it."""
    plain: dict[str, Any] = {} if state is None else msgspec.to_builtins(state)
    if not workflow.contract.state.is_valid(plain):
        raise OutputInvalid(f"state of {workflow.label}: {workflow.contract.state.explain(plain)}", fix="pass state=")
    return plain


def watched(decision: Decision, queue: str) -> Decision:
    """A run's beginning with a timer that comes to `queue` at its deadline; runs without one need none."""
    deadline = decision.stamp.deadline
    if deadline is None:
        return decision
    timer = Next(
        kind="timer",
        routing_key=queue,
        type="timer:run",
        message_id=watch_message(decision.stamp.run),
        timer=Timer(due=int(epoch(deadline) * 1000)),
    )
    return msgspec.structs.replace(decision, messages=(*decision.messages, timer))
