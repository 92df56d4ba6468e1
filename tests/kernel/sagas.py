"""Random workflows and a world that plays them by the pure kernel alone: no broker, no store, no clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Annotated, Any

import msgspec

from brokers.contract import Message
from stamp.beginning import begin
from stamp.branching import branch_of, within
from stamp.codec import HARD_LIMIT, TIMER, Arrival, Timer, check_header, parse
from stamp.decision import (
    Again,
    Broken,
    Decision,
    Done,
    Failed,
    Forward,
    Hold,
    Next,
    Outcome,
    Position,
    Undone,
    decide,
    refusal,
)
from stamp.history import undo_stack, visit_of
from stamp.joining import Joined, meet
from stamp.merging import merge
from stamp.model import Stamp
from stamp.placing import placed
from stamp.workflow import All, Each, Step, Workflow

NOW = 1_763_900_000.25
RUN = "019a0000-0000-7000-8000-000000000001"
EVENTS = [msgspec.defstruct(f"E{number}", []) for number in range(40)]
LONGEST = 8

Key = tuple[str, int]
"""Branch and seq of an entry."""


class State(msgspec.Struct, kw_only=True):
    hops: Annotated[int, merge("sum")] = 0
    steps: Annotated[list[str], merge("union")] = []


@dataclass
class Builder:
    """Draws a workflow of at most eight steps: plain steps, choices that lead back, forks of both kinds, a pivot."""

    random: Random
    steps: list[Step] = field(default_factory=list)
    events: int = 0
    left: int = LONGEST
    pivot: bool = False

    def event(self) -> type:
        self.events += 1
        return EVENTS[self.events - 1]

    def step(self, on: Any, emits: Any, **more: Any) -> Step:
        self.left -= 1
        undoable = not self.pivot and not more.get("pivot") and self.random.random() < 0.75
        step = Step(
            f"s{len(self.steps)}",
            service="one",
            on=on,
            emits=emits,
            undo=undoable or None,
            reason="" if undoable else "nothing to undo",
            retry="2x 1s",
            **more,
        )
        self.steps.append(step)
        return step

    def segment(self, on: type, depth: int, *, budget: int) -> type | None:
        """A chain of blocks from an event on; the event it ends with."""
        goal = self.left - budget
        first = True
        while first or (self.left > goal and self.random.random() < 0.7):
            on = self.block(on, depth, first=first, room=self.left - goal)
            first = False
        return on

    def block(self, on: type, depth: int, *, first: bool, room: int) -> type:
        kind = self.random.random()
        if room >= 4 and depth < 2 and kind < 0.35:
            return self.fork(on, depth, room)
        if room >= 3 and depth < 2 and kind < 0.5:
            return self.each(on, depth, room)
        if kind < 0.6 and not (first and depth):
            out = self.event()
            self.step(on, (out, on), max_visits=3)
            return out
        out = self.event()
        pivot = depth == 0 and not self.pivot and self.random.random() < 0.15
        self.step(on, out, pivot=pivot)
        self.pivot = self.pivot or pivot
        return out

    def fork(self, on: type, depth: int, room: int) -> type:
        shared = self.event()
        self.step(on, shared)
        count = 2 if room < 5 else self.random.choice([2, 2, 3])
        spare = room - 2 - count
        ends = []
        for number in range(count):
            share = 1 + (self.random.randint(0, spare) if number < count - 1 else spare)
            before = self.left
            ends.append(self.segment(shared, depth + 1, budget=share))
            spare -= before - self.left - 1
        return self.join(ends)

    def each(self, on: type, depth: int, room: int) -> type:
        item, picked = self.event(), self.event()
        self.step(on, item)
        self.step(Each(item), picked)
        spare = room - 3
        return self.join([self.segment(picked, depth + 1, budget=spare) if spare > 0 and depth < 1 else picked])

    def join(self, ends: list[Any]) -> type:
        out = self.event()
        missing = self.random.choice(["wait", "fail", "proceed"])
        self.step(All(*ends), out, timeout="1h", missing=missing)
        return out

    def workflow(self) -> Workflow:
        start = self.event()
        self.segment(start, 0, budget=LONGEST)
        return Workflow("W", version=1, state=State, start=start, steps=self.steps, deadline="48h", hop_guard=1000)


@dataclass(frozen=True)
class Ran:
    """A step that finished: its entry, and the entries that it knew of."""

    key: Key
    step: str
    undo: bool
    causes: frozenset[Key]


@dataclass
class World:
    """Every queue, inbox and join row of one run, and what happened in it."""

    flow: Workflow
    random: Random
    clumsy: float = 0.0
    """How often a step fails, an undo fails, a message comes twice, time passes."""
    now: float = NOW
    pending: list[tuple[str, Arrival]] = field(default_factory=list)
    inbox: set[tuple[str, str]] = field(default_factory=set)
    rows: dict[str, dict[str, bytes]] = field(default_factory=dict)
    ran: list[Ran] = field(default_factory=list)
    undone: list[Key] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    holds: list[tuple[str, Arrival, Hold]] = field(default_factory=list)
    last: Stamp | None = None
    left_out: list[str] = field(default_factory=list)
    """Branches that a join went on without."""

    def start(self) -> None:
        event = self.flow.start()
        self.send(begin(self.flow, event, run=RUN, state=msgspec.to_builtins(State()), now=self.now))

    def play(self) -> None:
        """Until nothing moves, delivering in any order; held messages are then released and succeed, unless late."""
        for _ in range(3):
            while self.pending:
                self.deliver(*self.pending.pop(self.random.randrange(len(self.pending))))
            self.clumsy = 0.0
            self.pending = [(step, arrival) for step, arrival, hold in self.holds if hold.reason != "late"]
            self.holds = [held for held in self.holds if held[2].reason == "late"]

    def deliver(self, name: str, arrival: Arrival) -> None:
        if self.random.random() < self.clumsy / 4:
            self.pending.append((name, arrival))
        found = placed(arrival, name)
        if found is None or (name, arrival.message.message_id) in self.inbox:
            return
        stamp, at = found
        arrival = msgspec.structs.replace(arrival, stamp=stamp)
        if at.place is None:
            self.hop(name, arrival, at, arrival, {})
            return
        join = f"{name}|{at.place.fork}"
        meeting = meet(arrival, at, self.rows.get(join, {}), self.now)
        if meeting.fire is None:
            self.settle(name, arrival, meeting.decision, {join: meeting.rows})
            return
        merged = msgspec.structs.replace(arrival, stamp=meeting.fire.stamp, payload=meeting.fire.joined)
        self.hop(name, merged, meeting.fire.position, arrival, {join: meeting.rows})

    def hop(self, name: str, arrival: Arrival, at: Position, came: Arrival, rows: dict[str, dict[str, bytes]]) -> None:
        if self.random.random() < self.clumsy / 40:
            self.now += 49 * 3600
        before = arrival.stamp
        outcome = refusal(before, at, self.now) or self.outcome(before, at)
        decision = decide(self.flow, before, at, outcome, self.now)
        if isinstance(decision.settle, Forward):
            self.note(before, at, outcome)
            self.leave_out(came, name, arrival.payload)
        self.settle(name, came, decision, rows)

    def leave_out(self, came: Arrival, name: str, joined: object) -> None:
        found = placed(came, name)
        if isinstance(joined, Joined) and found is not None and found[1].place is not None:
            children = len(joined) + len(joined.missing)
            self.left_out += [branch_of(found[1].place.fork, child, children) for child in joined.missing]

    def outcome(self, stamp: Stamp, at: Position) -> Outcome:
        chance = self.random.random()
        if chance < self.clumsy / 6:
            return Broken(type="OSError", reason="gone")
        if at.action == "undo":
            return Undone(state=stamp.state)
        if chance < self.clumsy / 3:
            return Failed(type="Fail", reason="no")
        back = len(at.step.emits) > 1 and visit_of(stamp, at.step) < at.step.max_visits and self.random.random() < 0.5
        state = {"hops": stamp.state["hops"] + 1, "steps": [*stamp.state["steps"], f"{at.step.name} {stamp.branch}"]}
        return Done(event=self.emitted(at.step.emits[1 if back else 0]), state=state)

    def emitted(self, kind: type) -> object:
        if self.flow.table.dynamic(kind.__name__):
            return [kind() for _ in range(self.random.randint(1, 3))]
        return kind()

    def note(self, before: Stamp, at: Position, outcome: Outcome) -> None:
        known = frozenset((entry.branch or "", entry.seq) for entry in before.history)
        if isinstance(outcome, Done):
            self.ran.append(Ran((before.branch or "", before.seq + 1), at.step.name, at.step.undo, known))
        if isinstance(outcome, Undone):
            settled = undo_stack(before)[-1]
            assert settled.step == at.step.name
            self.undone.append((settled.branch or "", settled.seq))

    def settle(self, name: str, arrival: Arrival, decision: Decision, rows: dict[str, dict[str, bytes]]) -> None:
        match decision.settle:
            case Forward():
                self.inbox.add((name, arrival.message.message_id))
                for join, changed in rows.items():
                    self.rows.setdefault(join, {}).update(changed)
                self.send(decision)
            case Again() as again:
                self.pending.append((name, msgspec.structs.replace(arrival, attempt=again.attempt)))
            case Hold() as hold:
                fresh = msgspec.structs.replace(arrival, attempt=1)
                self.holds.append((name, fresh, hold))

    def send(self, decision: Decision) -> None:
        for message in decision.messages:
            stamp = message.stamp or decision.stamp
            text = stamp.to_json()
            assert len(text) <= HARD_LIMIT
            check_header(stamp)
            if message.routing_key.startswith("end."):
                self.ends.append(message.routing_key)
                self.last = stamp
                continue
            arrival = Arrival(parse(text), self.flow, _message(message), _payload(message))
            self.pending += [(step.name, arrival) for step in self.flow.steps if self.bound(step, message)]

    def bound(self, step: Step, message: Next) -> bool:
        if message.timer is not None:
            return message.type == f"{TIMER}{step.name}"
        key = message.routing_key
        return key in {*step.events, f"undo.{step.name}", *self.flow.table.closed_by(step)}

    def late(self, key: Key) -> bool:
        """Whether the entry belongs to a branch that a join went on without: it walks back alone, whenever it comes."""
        return any(within(key[0], branch) for branch in self.left_out)

    @property
    def undone_once(self) -> bool:
        return all(count == 1 for count in Counter(self.undone).values())


def _message(message: Next) -> Message:
    return Message(body=b"", message_id=message.message_id, type=message.type, headers={})


def _payload(message: Next) -> Any:
    if message.timer is not None:
        return msgspec.to_builtins(message.timer)
    return None if message.event is None else msgspec.to_builtins(message.event)


__all__ = ["NOW", "Builder", "Key", "Ran", "Timer", "World"]
