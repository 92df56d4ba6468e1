"""From what a handler takes and gives to what is decided about: event typed, state checked, errors named."""

from __future__ import annotations

from typing import Any

import msgspec

from stamp.codec import Arrival
from stamp.decision import Broken, Failed, Outcome
from stamp.duration import seconds
from stamp.errors import OutputInvalid, PayloadInvalid
from stamp.hop import Hop
from stamp.model import Fail, RetryLater
from stamp.ports import OutOfTime
from stamp.workflow import Step, Workflow


def typed(arrival: Arrival, step: Step) -> Any:
    """What the handler gets: the payload as its event, or what a join has collected. Raises `PayloadInvalid`."""
    if step.joins:
        return arrival.payload
    try:
        return msgspec.convert(arrival.payload, step.inputs[0])
    except msgspec.ValidationError as error:
        raise PayloadInvalid(f"{step.event} of {arrival.workflow.label}: {error}") from None


def state_after(hop: Hop[Any], workflow: Workflow) -> dict[str, Any]:
    """The state that the handler left. Raises `OutputInvalid` when the schema refuses it."""
    state = hop.state_after()
    if state is not hop.stamp.state and not workflow.contract.state.is_valid(state):
        raise OutputInvalid(
            f"state of {workflow.label}: {workflow.contract.state.explain(state)}", fix="mend it in the handler"
        )
    return state


def outcome_of(error: BaseException, step: Step) -> Outcome:
    """What an exception of a handler means: a business failure, or worth another try."""
    kind = type(error).__name__
    match error:
        case Fail():
            return Failed(type="Fail", reason=_encodable(error.reason), undo_me=error.undo_me)
        case RetryLater():
            return Broken(type="RetryLater", reason=_encodable(error.reason), after=_after(error))
        case OutOfTime():
            return Broken(type="Timeout", reason=str(error), entry="timeout")
        case _ if isinstance(error, step.no_retry):
            return Failed(type=kind, reason=_encodable(str(error)))
        case _:
            return Broken(type=kind, reason=_encodable(str(error)))


def _encodable(text: str) -> str:
    """The text with `?` for each lone surrogate: it goes into the stamp, and those have no UTF-8."""
    return str(text).encode(errors="replace").decode()


def _after(error: RetryLater) -> float | None:
    return None if error.after is None else seconds(error.after)
