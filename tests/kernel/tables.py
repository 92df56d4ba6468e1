"""Small workflows that the kernel's tests share."""

from __future__ import annotations

import msgspec

from stamp.beginning import begin
from stamp.decision import Decision, Done, Failed, Outcome, Position, decide
from stamp.model import Stamp
from stamp.workflow import Step, Workflow

NOW = 1_763_900_000.25
RUN = "019a0000-0000-7000-8000-000000000001"


class Ordered(msgspec.Struct):
    order: str


class Charged(msgspec.Struct):
    order: str
    amount: int = 0


class Packed(msgspec.Struct):
    order: str


class Shipped(msgspec.Struct):
    order: str


class Order(msgspec.Struct):
    order: str
    amount: int = 0


ORDER = Workflow(
    "ORDER",
    version=1,
    state=Order,
    start=Ordered,
    deadline="48h",
    steps=[
        Step("charge", service="payments", on=Ordered, emits=Charged, undo=True, retry="3x 1s..60s"),
        Step("pack", service="warehouse", on=Charged, emits=Packed, undo=True),
        Step("ship", service="shipping", on=Packed, emits=Shipped, pivot=True),
        Step("tell", service="mail", on=Shipped),
    ],
)

PLAIN = Workflow("PLAIN", version=1, start=Ordered, steps=[Step("charge", service="payments", on=Ordered)])

EVENTS = {"charge": Charged("o-1"), "pack": Packed("o-1"), "ship": Shipped("o-1"), "tell": None}


def started(workflow: Workflow = ORDER) -> Decision:
    return begin(workflow, Ordered("o-1"), run=RUN, state={"order": "o-1", "amount": 7}, now=NOW)


def finish(
    decision: Decision, step: str, outcome: Outcome | None = None, *, workflow: Workflow = ORDER, attempt: int = 1
) -> Decision:
    """The decision after one more hop: `step` consumed what the decision before it sent."""
    line = workflow.step(step)
    stamp = decision.stamp
    action = "undo" if stamp.phase == "backward" else "do"
    position = Position(step=line, action=action, message_id=decision.messages[0].message_id, attempt=attempt, ms=3)
    return decide(
        workflow, stamp, position, outcome or Done(event=EVENTS[step], state=stamp.state), NOW + stamp.seq + 1
    )


def run_through(*steps: str) -> Decision:
    decision = started()
    for step in steps:
        decision = finish(decision, step)
    return decision


def failed(decision: Decision, step: str, reason: str = "no") -> Decision:
    return finish(decision, step, Failed(type="Fail", reason=reason))


def steps_of(stamp: Stamp) -> list[tuple[str, str]]:
    return [(entry.step, entry.outcome) for entry in stamp.history]
