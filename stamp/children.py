"""A step that runs another workflow: what it notes, how its child begins, ends, and is taken back. Pure.

    so far     comes                      next
    ---------  -------------------------  -----------------------------------------------------------------
    nothing    the step's turn            the child begins, the step waits
    nothing    the undo                   nothing to undo
    running    the child completed        the step is done, with what the child ended in
    running    the child was undone       the step has failed
    running    the undo                   noted: the child is taken back once it has completed
    completed  the undo                   the child is taken back, the undo waits
    undoing    the child is undone        the undo is done
    undoing    a person dropped the child the undo has failed, and is held
    any        the same once more         nothing

A child that completed may be turned back for as long as the step that runs it may be undone: its `completed` is the end
of what it does by itself. Its stamp says whose child it is, for people; nothing is ever routed by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from brokers.contract import Message
from stamp.beginning import begin, plain_state
from stamp.codec import Arrival, parse, read_payload
from stamp.decision import Decision, Position, error_of, walk_back
from stamp.errors import DefinitionError, PayloadInvalid
from stamp.ids import turn_message
from stamp.model import Entry, Stamp, epoch, timestamp
from stamp.slim import begun, handed_over
from stamp.step import Step
from stamp.workflow import Workflow

PARENT = "parent:"
"""Before the name of a step: the entry with which the step that runs a workflow takes a run of it back."""

Way = Literal["running", "completed", "failed", "undoing", "undone"]

Then = Literal["nothing", "done", "failed", "take back", "undone", "undo failed"]
"""What follows for the step."""


class Child:
    """What the handler of a step with `runs=` returns where the workflow that it runs has a state: start and state."""

    def __init__(self, event: object, *, state: object = None) -> None:
        self.event = event
        self.state = state

    def __repr__(self) -> str:
        return f"<Child {self.event!r}>"


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step notes of its child: all that it needs to go on."""

    way: Way
    run: str
    """The run of the step itself."""
    turn: Message
    """The message that gave the step its turn."""
    began: float
    state: dict[str, Any] = {}
    """The state that the handler left, and what it kept for the undo."""
    keep: dict[str, Any] = {}
    end: msgspec.Raw = msgspec.Raw(b"null")
    """The stamp in which the child completed."""
    undo: Message | None = None
    """The command to undo the step, while it waits."""
    held: str = ""
    """The id of the message that waits for a person, because the child failed."""
    replaced: bool = False
    """Whether the step was given another try, with another child."""


class End(NamedTuple):
    """A run has ended: its last stamp, and the message that says so, with the payload of the event that it ended in."""

    stamp: Stamp
    message: Message


OF_THE_UNDO: frozenset[Then] = frozenset({"take back", "undone", "undo failed"})
"""What follows for the command to undo that waits; everything else is for the message that gave the step its turn."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Row).decode
ROW = "row"


def page(run: str) -> str:
    """Where the step's row about a child is kept."""
    return f"child|{run}"


def written(row: Row) -> dict[str, bytes]:
    """A row as a store takes it."""
    return {ROW: _encode(row)}


def read(rows: Mapping[str, bytes]) -> Row | None:
    """The row that a store gives back; `None` when this service has no such child."""
    return _decode(rows[ROW]) if ROW in rows else None


def child_of(step: Step) -> Workflow:
    """The workflow that the step runs. Raises `DefinitionError`."""
    if isinstance(step.runs, Workflow):
        return step.runs
    raise DefinitionError(f"{step}: runs={step.runs!r}", fix="give it a Workflow")


def born(arrival: Arrival, step: Step, wish: object, *, run: str, now: float) -> Decision:
    """The beginning of the child that a handler asks for: its start event, or a `Child`.

    Raises `UndeclaredEvent` or `OutputInvalid` for what its workflow doesn't begin with.
    """
    child, parent = child_of(step), arrival.stamp
    asked = wish if isinstance(wish, Child) else Child(wish)
    first = begin(child, asked.event, run=run, state=plain_state(child, asked.state), now=now)
    until = [time for time in (first.stamp.deadline, parent.deadline) if time is not None]
    about = {"run": parent.run, "workflow": parent.workflow, "step": step.name}
    changes: dict[str, Any] = {"parent": about if parent.deadline is None else {**about, "deadline": parent.deadline}}
    if until:
        changes["deadline"] = min(until, key=epoch)
    return begun(child, msgspec.structs.replace(first, stamp=first.stamp.having(changes)))


def after_end(row: Row, end: Stamp) -> tuple[Row, Then]:
    """The row, and what follows for the step, when its child has ended."""
    match row.way, end.phase:
        case _ if row.replaced:
            then: Then = "nothing"
        case "running", "completed":
            row = msgspec.structs.replace(row, way="completed", end=msgspec.Raw(end.to_json()))
            return taken_back_now(row) if row.undo else (row, "done")
        case "running", _:
            row, then = msgspec.structs.replace(row, way="failed"), "failed"
        case "failed", "compensated" | "failed" if row.held:
            then = "failed"  # whether it was parked before is not known: twice is better than never
        case "undoing", "compensated":
            row, then = msgspec.structs.replace(row, way="undone", held=""), "undone"
        case "undoing", "failed":
            then = "undo failed"
        case _:
            then = "nothing"
    return (msgspec.structs.replace(row, way="undone"), "undone") if row.undo and then == "failed" else (row, then)


def after_undo(row: Row, command: Message) -> tuple[Row, Then]:
    """The row, and what follows for the step, when it shall be undone."""
    match row.way:
        case "running":
            return msgspec.structs.replace(row, undo=command), "nothing"
        case "completed":
            return taken_back_now(msgspec.structs.replace(row, undo=command))
        case "undoing":
            return row, "undo failed" if row.held else "nothing"
        case _:
            return row, "undone"


def taken_back_now(row: Row) -> tuple[Row, Then]:
    """A child that has completed is turned back."""
    return msgspec.structs.replace(row, way="undoing"), "take back"


def taken_back(row: Row, step: Step, parent: Stamp, *, now: float) -> Decision:
    """A child that has completed goes backward, in its own style: by its history, its owner, or its table."""
    child, end = child_of(step), parse(bytes(row.end))
    end = end if end.trail is not None else Stamp(end.values, b"[]")
    at = Position(step=step, action="undo", message_id=turn_message(end.run))
    error = parent.error or {}
    reason = f"{error.get('type', 'Undo')}: {error.get('message', f'{parent.workflow} goes back')}"
    entry = Entry(
        seq=end.seq + 1, step=f"{PARENT}{step.name}", service=step.service, at=timestamp(now), outcome="failed"
    )
    turned = end.appended(entry, {"phase": "backward", "error": error_of(step, "Parent", reason, now)})
    return handed_over(child, end, at, walk_back(child, turned, at))


def handed_up(workflow: Workflow, step: Step, end: End) -> tuple[object | None, bytes | None]:
    """What the step emits when its child has completed: the event that it ended in, and that as it came.

    Raises `PayloadInvalid` when it is none of the step's, or breaks its schema.
    """
    if not step.emits:
        return None, None
    kind = next((kind for kind in step.emits if kind.__name__ == end.stamp.event), None)
    if kind is None:
        raise PayloadInvalid(f"run {end.stamp.run} ended in {end.stamp.event[:80]}, not in {' or '.join(step.outputs)}")
    payload, checker = read_payload(end.message), workflow.contract.event(kind.__name__)
    if not checker.is_valid(payload):
        raise PayloadInvalid(f"{kind.__name__} of {workflow.label}: {checker.explain(payload)}")
    return msgspec.convert(payload, kind), end.message.body


def failure(child: Workflow, end: End | None) -> str:
    """Why a child failed, in its own words."""
    error = (end.stamp.error if end else None) or {}
    return str(error.get("message") or f"a run of {child.label} was given up")


def as_it_came(decision: Decision, body: bytes | None) -> Decision:
    """The decision with the event that it sends as the bytes in which it came from the child."""
    if body is None:
        return decision
    sent = [one if one.event is None else msgspec.structs.replace(one, event=body) for one in decision.messages]
    return msgspec.structs.replace(decision, messages=tuple(sent))
