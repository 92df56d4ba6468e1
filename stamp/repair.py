"""Repairs of held messages by hand: what a person decides becomes stamps and messages. Pure.

    operation   the run                                     the operator's entry
    ---------   -----------------------------------------   --------------------------------------
    amend       the same message, with another state        step `amend:<step>`, outcome `ok`
    undo        turns back, as if the step had failed       the step, outcome `failed`
    skip        goes on, as if the step had run             the step, outcome `skipped` (`undone`)
    drop        ends as `failed`                            the step, outcome `failed`

What follows is decided by `stamp.decision`, as for a handler. Every id is derived from the held message's id and the
operation's content: the same repair once more produces the same ids, and the next inbox drops it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import msgspec

from brokers.contract import Message, Publication
from stamp.branching import depth
from stamp.codec import (
    JSON,
    SIGNATURE,
    STAMP,
    Codec,
    Versions,
    check_header,
    check_readable,
    header_text,
    lifted,
    parse,
    served,
)
from stamp.decision import (
    ERROR_LIMIT,
    OPERATOR,
    Done,
    Failed,
    Forward,
    Hand,
    Outcome,
    Position,
    Undone,
    decide,
)
from stamp.errors import RepairRefused, UndeclaredEvent
from stamp.evolution import newest
from stamp.ids import repaired_message
from stamp.layout import end_key
from stamp.model import ENDED, FORMAT, Action, Entry, Stamp, timestamp
from stamp.outgoing import publications, trace_of
from stamp.parking import sendable
from stamp.placing import inside
from stamp.schema import Contract
from stamp.slim import handed_over
from stamp.window import NOTHING, as_seen
from stamp.workflow import Step, Workflow

AMEND = "amend:"
"""Before the name of a step: an entry that changed the state of a message for it, and ran nothing."""
NAME_LIMIT = 128

_canonical = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who repairs, why and when (epoch seconds), and the service in whose name the messages go.

    `codec` has that service's keys, which the messages of signed workflows need. Raises `RepairRefused` for a name
    that a stamp can't carry, or no reason.
    """

    by: str
    why: str
    service: str
    now: float
    codec: Codec = field(default_factory=Codec)

    def __post_init__(self) -> None:
        if not (0 < len(self.by) <= NAME_LIMIT and self.by.isprintable()):
            raise RepairRefused(f"{self.by!r} is no name for the history", fix="--by NAME, at most 128 characters")
        if not self.why.strip():
            raise RepairRefused("a repair needs a reason", fix="--reason TEXT: the history keeps it")

    @property
    def hand(self) -> Hand:
        """Name and reason as an entry carries them."""
        return Hand(self.by, self.why[:ERROR_LIMIT])


@dataclass(frozen=True, slots=True)
class Case:
    """A held message that can be repaired: as it was before it was held, its stamp, and the step it waits for."""

    message: Message
    stamp: Stamp
    step: str

    @property
    def action(self) -> Action:
        """The direction in which the step was to run."""
        return "undo" if self.message.type.startswith("undo:") else "do"

    def id(self, operation: str, content: object) -> str:
        """The id that this repair goes on from."""
        digest = sha256(_canonical(content)).hexdigest()
        return repaired_message(self.message.message_id, self.step, operation, digest, self.stamp.branch or "")


def opened(message: Message) -> Stamp:
    """The stamp of a held message, if a person may decide about it here.

    Raises one of `stamp.errors.Theirs` for what can't be read or is too new, `RepairRefused` for a run's end.
    """
    stamp = parse(header_text(message))
    check_readable(stamp)
    check_header(stamp)
    if stamp.phase in ENDED:
        raise RepairRefused(f"the run has ended ({stamp.phase})", fix="nothing is left to do")
    return stamp


def pinned(stamp: Stamp, versions: Versions, step: str) -> tuple[Stamp, Workflow]:
    """The stamp as `step` sees it, with its branch, and the definition that serves it, lifted to its version.

    Raises `UnknownWorkflow`, `TooNew`; `RepairRefused` for a join, which is not one message's turn.
    """
    workflow = served(stamp, versions)
    stamp = lifted(stamp, workflow, versions[max(versions)].upcasters)
    line = workflow.step(step)
    if line.joins and (stamp.phase == "forward" or depth(stamp.branch) > len(workflow.table.contexts[step])):
        raise RepairRefused(
            f"step {step!r} joins branches, and this is one of their messages",
            fix="amend or release it: the join goes on when all have come",
        )
    return inside(workflow, stamp, line), workflow


def amended(case: Case, contract: Contract, state: Mapping[str, Any], operator: Operator, *, signed: bool) -> Message:
    """The message with another state: a new message with a new id, so that an inbox which knows the old takes it.

    Raises `RepairRefused` when the contract refuses the state, or when nothing changes.
    """
    stamp = case.stamp
    if state == stamp.state:
        raise RepairRefused("the state is like this already", fix="stamp held show")
    if not contract.state.is_valid(state):
        raise RepairRefused(
            f"state of {contract.workflow} v{contract.version}: {contract.state.explain(state)}",
            fix="the state must be valid for the version that the run is pinned to",
        )
    if _is_stateless(stamp):
        raise RepairRefused("the workflow is stateless: no state travels", fix="mend the service's own rows instead")
    entry = _entry(case, f"{AMEND}{case.step}", "ok", operator)
    changes = {"stamp": newest(FORMAT, stamp.format), "state": dict(state)}
    after = _open(stamp).appended(entry, changes)
    return _rewritten(case, after, case.id("amend", state), operator, signed=signed)


def turned(case: Case, workflow: Workflow, operator: Operator, *, partly: bool = False) -> list[Publication]:
    """The run turned around by hand, as if the step had failed for good; `partly`: its own undo runs as well.

    Raises `RepairRefused` where there is no way back.
    """
    if case.action == "undo":
        raise RepairRefused("the run goes backward already", fix="release it to try the undo again, or skip it")
    step = workflow.step(case.step)
    if partly and not step.undo:
        raise RepairRefused(f"step {step.name!r} has no undo", fix="leave out --partly")
    outcome = Failed(type="Operator", reason=operator.hand.why, undo_me=partly)
    return _decided(case, workflow, operator, outcome, case.id("undo", partly))


def skipped(
    case: Case, workflow: Workflow, operator: Operator, *, event: str | None = None, payload: object = None
) -> list[Publication]:
    """The run as it goes on when the step (or the undo) was done by hand.

    `event` and its payload are what the step would have emitted; a step with one event needs no name for it.
    Raises `RepairRefused` when the event is missing, not the step's, or breaks its schema.
    """
    if case.action == "undo":
        if event is not None or payload is not None:
            raise RepairRefused("an undo emits no event", fix="leave out --event and --payload")
        return _decided(case, workflow, operator, Undone(state=case.stamp.state), case.id("skip", None))
    value = _event(workflow, workflow.step(case.step), event, payload)
    name = None if value is None else type(value).__name__
    outcome = Done(event=value, state=case.stamp.state)
    return _decided(case, workflow, operator, outcome, case.id("skip", [name, payload]))


def dropped(case: Case, exchange: str, operator: Operator, *, signed: bool) -> Publication:
    """The run's end by hand: phase `failed`, told by the terminal notice on the workflow's exchange."""
    error = {
        "type": "Operator",
        "message": operator.hand.why,
        "step": case.step,
        "service": OPERATOR,
        "at": timestamp(operator.now),
    }
    changes = {"stamp": newest(FORMAT, case.stamp.format), "phase": "failed", "error": error}
    stamp = _open(case.stamp).appended(_entry(case, case.step, "failed", operator), changes)
    notice = replace(case, message=replace(case.message, type=stamp.event, body=b"{}", content_type=JSON))
    message = _rewritten(notice, stamp, case.id("drop", None), operator, signed=signed)
    return Publication(exchange, end_key("failed"), message, mandatory=False)


def check_trust(case: Case, codec: Codec, *, signed: bool) -> None:
    """A repair is sent in our name: what was signed must have been right before. Raises `SignatureInvalid`."""
    if not signed:
        return
    if codec.keys is None:
        raise RepairRefused("the workflow is signed, and there are no keys here", fix="--app with Service(keys=)")
    message = case.message
    codec.keys.verify(
        message.headers.get(SIGNATURE),
        app_id=message.app_id,
        message_id=message.message_id,
        type_=message.type,
        stamp=header_text(message),
        body=message.body,
    )


def _entry(case: Case, step: str, outcome: str, operator: Operator) -> Entry:
    return Entry(
        seq=case.stamp.seq + 1,
        step=step,
        service=OPERATOR,
        at=timestamp(operator.now),
        outcome=outcome,
        branch=case.stamp.branch,
        message=case.message.message_id,
        by=operator.hand.by,
        why=operator.hand.why,
    )


def _decided(
    case: Case, workflow: Workflow, operator: Operator, outcome: Outcome, message_id: str
) -> list[Publication]:
    at = Position(step=workflow.step(case.step), action=case.action, message_id=message_id, hand=operator.hand)
    stamp = as_seen(case.stamp, workflow)
    try:
        decision = handed_over(workflow, stamp, at, decide(workflow, stamp, at, outcome, operator.now))
    except UndeclaredEvent as error:
        raise RepairRefused(error.what, fix="--event NAME --payload JSON") from None
    if not isinstance(decision.settle, Forward):
        raise RepairRefused(
            "there is no way back: nothing can be undone, or a pivot has passed",
            fix="mend the cause and release it, skip the step, or drop the run",
        )
    return publications(
        decision,
        workflow,
        operator.codec,
        service=operator.service,
        now=operator.now,
        trace=trace_of(case.message),
    )


def _open(stamp: Stamp) -> Stamp:
    """The stamp with room for the operator's entry: where an owner keeps the history it travels with that one alone."""
    return stamp if stamp.owner is None else Stamp(stamp.values, NOTHING)


def _is_stateless(stamp: Stamp) -> bool:
    return stamp.owner is None and stamp.trail is None


def _event(workflow: Workflow, step: Step, name: str | None, payload: object) -> object | None:
    """The event that a skipped step would have emitted; `None` for a step that emits none."""
    if not step.emits and name is None and payload is None:
        return None
    kind = next((kind for kind in step.emits if name in {None, kind.__name__}), None)
    if kind is None or (name is None and len(step.emits) > 1):
        raise RepairRefused(
            f"step {step.name!r} emits {' or '.join(step.outputs) or 'no event'}", fix="--event NAME --payload JSON"
        )
    checker = workflow.contract.event(kind.__name__)
    if not checker.is_valid(payload):
        raise RepairRefused(f"{kind.__name__}: {checker.explain(payload)}", fix="--payload JSON")
    value: object = msgspec.convert(payload, kind)
    return value


def _rewritten(case: Case, stamp: Stamp, message_id: str, operator: Operator, *, signed: bool) -> Message:
    """The held message with another stamp and id, sent by the operator's service."""
    header = operator.codec.encode(stamp)
    old = sendable(case.message)
    headers: dict[str, str | int] = {name: value for name, value in old.headers.items() if name != SIGNATURE}
    headers[STAMP] = header
    if signed:
        signature = operator.codec.sign(message_id=message_id, type_=old.type, stamp=header.encode(), body=old.body)
        headers |= {SIGNATURE: signature} if signature else {}
    return replace(old, message_id=message_id, headers=headers, app_id=operator.service, timestamp=int(operator.now))
