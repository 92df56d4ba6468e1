"""What a delivery is to the step whose queue got it: its turn, its undo, a branch for its join, or nothing at all.

The place in a fork follows from the table, not from the publisher: one published event reaches the queues of all
steps that consume it. Pure.
"""

from __future__ import annotations

from stamp.branching import START, Place, branch_of, depth, fork_after, fork_of, place_of
from stamp.codec import Arrival, timer_of
from stamp.decision import Position, Role
from stamp.errors import StampInvalid
from stamp.model import Action, Stamp
from stamp.step import Step
from stamp.workflow import Workflow

Placed = tuple[Stamp, Position]


def placed(arrival: Arrival, name: str) -> Placed | None:
    """The stamp as step `name` sees it, with its branch, and what to do; `None` when it belongs to another queue.

    Two versions of a workflow may route one event to different steps, and queues are bound for both.
    Raises `StampInvalid` when the branch does not fit the table.
    """
    step = arrival.workflow.step(name)
    kind, colon, named = arrival.message.type.partition(":")
    if colon and named != step.name:
        return None
    found = (
        _event(arrival, step) if not colon else _timer(arrival, step) if kind == "timer" else _backward(arrival, step)
    )
    if found is not None:
        _check_depth(arrival.workflow, *found)
    return found


def _check_depth(workflow: Workflow, stamp: Stamp, at: Position) -> None:
    """A branch is as deep as the forks around the step; what undoes a branch later comes from further out."""
    forks = len(workflow.table.contexts[at.step.name])
    is_deep = depth(at.place.parent if at.place else stamp.branch)
    if is_deep != forks and not (at.action == "undo" and is_deep < forks):
        raise StampInvalid(
            f"branch {stamp.branch or 'absent'}: step {at.step.name!r} lies in {forks} forks", fix="see the wire format"
        )


def inside(workflow: Workflow, stamp: Stamp, step: Step) -> Stamp:
    """The stamp as the step sees it that consumes the stamp's event: with the branch that a shared event opens for it.

    A stamp that has its branch already (a repaired message) is left as it is.
    """
    steps = workflow.table.consumers.get(stamp.event, ())
    if len(steps) < 2 or depth(stamp.branch) == len(workflow.table.contexts[step.name]):  # noqa: PLR2004
        return stamp
    return stamp.having({"branch": branch_of(_fork(workflow, stamp), steps.index(step), len(steps))})


def _event(arrival: Arrival, step: Step) -> Placed | None:
    workflow, stamp = arrival.workflow, arrival.stamp
    if stamp.event in step.events:
        if step.joins:
            return _at(arrival, step, role="child", place=_innermost(stamp))
        return inside(workflow, stamp, step), _position(arrival, step)
    if step.joins and stamp.event in workflow.table.closed_by(step):
        return _at(arrival, step, role="base", place=_opened(workflow, stamp))
    return None


def _backward(arrival: Arrival, step: Step) -> Placed:
    stamp = arrival.stamp
    if step.joins and depth(stamp.branch) > len(arrival.workflow.table.contexts[step.name]):
        return _at(arrival, step, role="report", place=_innermost(stamp))
    return stamp, _position(arrival, step, "undo")


def _timer(arrival: Arrival, step: Step) -> Placed:
    fork = timer_of(arrival.payload).fork
    return _at(arrival, step, role="timer", place=Place(arrival.stamp.branch, fork, -1, 0))


def _at(arrival: Arrival, step: Step, *, role: Role, place: Place) -> Placed:
    position = Position(
        step=step,
        action="do",
        message_id=arrival.message.message_id,
        attempt=arrival.attempt,
        role=role,
        place=place,
    )
    return arrival.stamp, position


def _position(arrival: Arrival, step: Step, action: Action = "do") -> Position:
    return Position(step=step, action=action, message_id=arrival.message.message_id, attempt=arrival.attempt)


def _opened(workflow: Workflow, stamp: Stamp) -> Place:
    """The fork that this very message opens."""
    if workflow.table.dynamic(stamp.event):
        return _innermost(stamp)
    return Place(stamp.branch, _fork(workflow, stamp), -1, len(workflow.table.consumers[stamp.event]))


def _fork(workflow: Workflow, stamp: Stamp) -> str:
    """The fork at the last step that ran; entries that repairs wrote name no step."""
    if "last" in stamp.past:
        return fork_after(stamp.branch, str(stamp.past["last"]))
    known = workflow.table.steps
    last = next((entry for entry in reversed(stamp.history) if entry.step in known), None)
    return fork_of(stamp.branch, START, 1) if last is None else fork_of(stamp.branch, last.step, last.visit)


def _innermost(stamp: Stamp) -> Place:
    if stamp.branch is None:
        raise StampInvalid(f"{stamp.event} joins branches, and the stamp has no `branch`", fix="see the wire format")
    place = place_of(stamp.branch)
    if place.child >= place.children:
        raise StampInvalid(f"branch {stamp.branch!r} names child {place.child} of {place.children}")
    return place
