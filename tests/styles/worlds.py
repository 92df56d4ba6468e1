"""Random runs in the styles whose messages carry no history: the owner of the run, or each service's notes, as a party.

Everything comes in any order and more than once, reports to the owner too, and the clocks of services disagree.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import msgspec

from brokers.contract import Message
from stamp.beginning import begin
from stamp.codec import Arrival, check_header, parse
from stamp.decision import (
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
from stamp.hop import Hop
from stamp.ledger import Record, apply, dump, load
from stamp.model import Stamp
from stamp.notes import note, recalled
from stamp.placing import placed
from stamp.sighting import Sighting
from stamp.slim import begun, handed_over
from stamp.steering import steer
from stamp.style import Stateless, Style
from stamp.window import as_seen
from stamp.workflow import Workflow
from tests.kernel.sagas import RUN, Builder, Key, Ran, State, World

OWNER = "(owner)"
T = TypeVar("T")


@dataclass
class Wide(Builder):
    """Draws choices of ways too, one of them perhaps over a pivot; `counted=False` leaves out what runs twice."""

    counted: bool = True

    def block(self, on: type, depth: int, *, first: bool, room: int) -> type:
        kind = self.random.random()
        if room >= 3 and kind < 0.2:
            return self.ways(on, depth)
        if self.counted:
            return super().block(on, depth, first=first, room=room)
        if room >= 4 and depth < 2 and kind < 0.5:
            return self.fork(on, depth, room)
        out = self.event()
        pivot = depth == 0 and not self.pivot and self.random.random() < 0.15
        self.step(on, out, pivot=pivot)
        self.pivot = self.pivot or pivot
        return out

    def ways(self, on: type, depth: int) -> type:
        one, other, out = self.event(), self.event(), self.event()
        self.step(on, (one, other))
        pivot = depth == 0 and not self.pivot and self.random.random() < 0.3
        self.step(one, out, pivot=pivot)
        self.step(other, out)
        return out


@dataclass
class Parting(Wide):
    """Draws a workflow that parts for good at its end: two branches that never meet."""

    def workflow(self) -> Workflow:
        start = self.event()
        on = self.segment(start, 0, budget=3)
        shared = self.event()
        self.step(on, shared, branches="independent")
        for _ in range(2):
            self.segment(shared, 1, budget=4)
        return Workflow("W", version=1, state=State, start=start, steps=self.steps, deadline="48h", hop_guard=1000)


def run_through(coroutine: Coroutine[Any, Any, T]) -> T:
    """The value of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waits")


@dataclass
class Pages:
    """The part of a transaction that notes need."""

    pages: dict[str, dict[str, bytes]] = field(default_factory=dict)

    async def gather(self, join: str) -> Mapping[str, bytes]:
        return dict(self.pages.get(join, {}))

    async def put_arrivals(self, join: str, arrivals: Mapping[str, bytes], *, expires: float | None) -> None:
        self.pages.setdefault(join, {}).update(arrivals)


@dataclass
class StyledWorld(World):
    """The world of one run whose messages carry no history."""

    row: bytes | None = None
    """The owner's record as it is stored."""
    heard: set[str] = field(default_factory=set)
    sightings: list[Sighting] = field(default_factory=list)
    tx: Any = field(default_factory=Pages)
    marks: dict[str, str] = field(default_factory=dict)
    """Which step or undo settled a visit of a step: by its action key."""
    refused: list[str] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    """Which branch ended how."""
    knows: dict[str, frozenset[Key]] = field(default_factory=dict)
    """By message: the hops that led to it. By join: those of all that arrived."""
    now_known: frozenset[Key] = frozenset()

    @property
    def stateless(self) -> bool:
        return isinstance(self.flow.style, Stateless)

    @property
    def record(self) -> Record:
        assert self.row is not None
        return load(self.row)

    def start(self) -> None:
        state = msgspec.to_builtins(State())
        self.send(begun(self.flow, begin(self.flow, self.flow.start(), run=RUN, state=state, now=self.now)))

    def deliver(self, name: str, arrival: Arrival) -> None:
        known = self.knows.get(arrival.message.message_id, frozenset())
        if name == OWNER:
            self.hear(arrival)
            return
        found = placed(arrival, name)
        if found is not None and found[1].place is not None:
            known |= self.knows.get(f"{name}|{found[1].place.fork}", frozenset())
        self.now_known = known
        super().deliver(name, arrival)

    def hear(self, arrival: Arrival) -> None:
        """The owner gets a report, or hears of a held message; sometimes twice."""
        message = arrival.message
        kind = message.headers["kind"]
        if kind == "progress" and message.message_id in self.heard and self.random.random() < 0.5:
            return
        self.heard.add(message.message_id)
        seen = Sighting(
            stamp=arrival.stamp,
            kind=kind,
            at=float(message.timestamp or 0),
            attempt=1,
            message_id=message.message_id,
            routing_key=str(message.headers["key"]),
        )
        self.sightings.append(seen)
        before = None if self.row is None else self.record
        after = apply(before, seen)
        assert not after.equivocal
        after, messages = steer(self.flow, before, after, seen, arrival.payload)
        self.row = dump(after)
        self.now_known = self.knows.get(message.message_id, frozenset())
        self.send(Decision(stamp=after.stamp, settle=Forward(), messages=messages))
        if self.random.random() < self.clumsy / 3:
            self.pending.append((OWNER, arrival))

    def hop(self, name: str, arrival: Arrival, at: Position, came: Arrival, rows: dict[str, dict[str, bytes]]) -> None:
        if self.random.random() < self.clumsy / 40:
            self.now += 49 * 3600
        before, missing = arrival.stamp, False
        if self.stateless and at.action == "undo":
            found = run_through(recalled(self.tx, before, at.step))
            before, missing = (before, True) if found is None else (found, False)
        outcome = Undone(state={}) if missing else refusal(before, at, self.now) or self.outcome(before, at)
        if self.twice(before, at, outcome):
            self.refused.append(at.step.name)
            return
        decision = handed_over(self.flow, before, at, decide(self.flow, before, at, outcome, self.now))
        if isinstance(decision.settle, Forward):
            if not missing:
                self.note(before, at, outcome)
            if decision.entry is not None and self.stateless:
                run_through(note(self.tx, decision.stamp, decision.entry))
            self.leave_out(came, name, arrival.payload)
        self.close(name, came, decision, rows)

    def twice(self, before: Stamp, at: Position, outcome: Outcome) -> bool:
        """Whether the visit was done or undone by another message."""
        if not at.step.undo or not isinstance(outcome, Done | Undone):
            return False
        key = Hop[Any](self.flow, before, at).action_key
        known = self.marks.setdefault(key, at.action)
        return known != at.action and at.action == "do"

    def outcome(self, stamp: Stamp, at: Position) -> Outcome:
        chance = self.random.random()
        if chance < self.clumsy / 6:
            return Broken(type="OSError", reason="gone")
        if at.action == "undo":
            return Undone(state=stamp.state)
        if chance < self.clumsy / 3:
            return Failed(type="Fail", reason="no", undo_me=self.random.random() < 0.3)
        return Done(
            event=self.emitted(self.way(stamp, at)), state=self.state_after(stamp, at), keep={"of": at.step.name}
        )

    def state_after(self, stamp: Stamp, at: Position) -> dict[str, Any]:
        if self.stateless:
            return stamp.state
        steps = [*stamp.state["steps"], f"{at.step.name} {stamp.branch}"]
        return {**stamp.state, "hops": stamp.state["hops"] + 1, "steps": steps}

    def way(self, stamp: Stamp, at: Position) -> type:
        kinds = at.step.emits
        looping = at.step.max_visits > 1 and visit_of(stamp, at.step) >= at.step.max_visits
        return kinds[0] if len(kinds) == 1 or looping or self.random.random() < 0.5 else kinds[1]

    def note(self, before: Stamp, at: Position, outcome: Outcome) -> None:
        key = (before.branch or "", before.seq + 1)
        if isinstance(outcome, Done) or (
            isinstance(outcome, Failed) and outcome.undo_me and at.step.undo and self.turns(before)
        ):
            self.ran.append(Ran(key, at.step.name, at.step.undo, self.now_known))
            self.now_known |= {key}
        if isinstance(outcome, Undone):
            settled = undo_stack(before)[-1]
            assert settled.step == at.step.name
            assert (settled.keep or {"of": at.step.name}) == {"of": at.step.name}
            self.undone.append((settled.branch or "", settled.seq))

    def turns(self, stamp: Stamp) -> bool:
        return not stamp.past.get("pivot") and self.flow.saga

    def settle(self, name: str, arrival: Arrival, decision: Decision, rows: dict[str, dict[str, bytes]]) -> None:
        """What a join decides without its step's turn goes the same way as a hop."""
        found = placed(arrival, name)
        assert found is not None
        self.close(name, arrival, handed_over(self.flow, arrival.stamp, found[1], decision), rows)

    def close(self, name: str, arrival: Arrival, decision: Decision, rows: dict[str, dict[str, bytes]]) -> None:
        super().settle(name, arrival, decision, rows)
        if isinstance(decision.settle, Forward):
            known = self.knows.get(arrival.message.message_id, frozenset())
            self.knows |= {join: self.knows.get(join, frozenset()) | known for join in rows}
        if isinstance(decision.settle, Hold) and not self.stateless:
            message = _sent(arrival.message, kind="held", key="one", at=int(self.now))
            self.pending.append((OWNER, msgspec.structs.replace(arrival, message=message, payload=[])))

    def send(self, decision: Decision) -> None:
        for message in decision.messages:
            stamp = message.stamp or decision.stamp
            text = stamp.to_json()
            check_header(stamp)
            if message.routing_key.startswith("end."):
                self.ends.append(message.routing_key)
                self.ended.append((stamp.branch or "", message.routing_key))
                self.last = stamp
                continue
            seen = as_seen(parse(text), self.flow)
            at = int(self.now) + self.random.randint(-3, 3)
            sent = _sent(_message(message), kind="progress", key=message.routing_key, at=at)
            self.knows.setdefault(message.message_id, self.now_known)
            if message.kind == "report":
                self.pending.append((OWNER, Arrival(seen, self.flow, sent, message.event or [])))
                continue
            arrival = Arrival(seen, self.flow, sent, _payload(message))
            self.pending += [(step.name, arrival) for step in self.flow.steps if self.bound(step, message)]


def _sent(message: Message, *, kind: str, key: str, at: int) -> Message:
    return Message(
        body=b"", message_id=message.message_id, type=message.type, headers={"kind": kind, "key": key}, timestamp=at
    )


def _message(message: Next) -> Message:
    return Message(body=b"", message_id=message.message_id, type=message.type, headers={})


def _payload(message: Next) -> Any:
    given = message.timer if message.timer is not None else message.event
    return None if given is None else msgspec.to_builtins(given)


def played(style: Style, seed: int, clumsy: float, draw: type[Wide] = Wide) -> StyledWorld:
    """A random workflow in this style, played to its end."""
    random = Random(seed)
    flow = draw(random, counted=not isinstance(style, Stateless)).workflow().styled(style)
    world = StyledWorld(flow, random, clumsy)
    world.start()
    world.play()
    return world


__all__ = ["Parting", "StyledWorld", "Wide", "played"]
