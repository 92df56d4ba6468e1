"""A join: what has arrived of its fork, and what follows when one more message comes. Pure.

    so far    comes                    next
    --------  -----------------------  ---------------------------------------------------------------
    open      the fork itself          note it, start the timer
    open      a branch                 note it; the last one lets the step run, with all histories united
    open      word of a failed branch  turned: every branch that has arrived walks back, the others as they come
    open      its time is up           by policy: turned, or the step runs with those that came, or nothing
    turned    a branch walked back     note it; the last one lets the run walk back before the fork
    fired     a late branch            it walks back alone
    any       the same once more       nothing

One row an arrival, kept by the store in the step's own transaction: `base`, a number for each child, and `join` for how
far the join itself is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from stamp.branching import Place, branch_of
from stamp.codec import Arrival, Timer, parse
from stamp.decision import (
    Decision,
    Forward,
    Hold,
    Next,
    Position,
    can_turn,
    entry_of,
    error_of,
    next_undo,
    walk_back,
)
from stamp.errors import DefinitionError, Equivocation
from stamp.ids import join_message, next_message
from stamp.merging import merge_stamps, policies_of
from stamp.model import Stamp
from stamp.slim import report, without_history
from stamp.style import Stateless
from stamp.workflow import Workflow

BASE = "base"
JOIN = "join"
TIMEOUT = "Timeout"

Way = Literal["base", "came", "walking", "back", "turned", "fired", "closed"]

_encode = msgspec.json.Encoder().encode


class Row(msgspec.Struct, omit_defaults=True):
    """One arrival, or how far the join is."""

    way: Way
    stamp: msgspec.Raw = msgspec.Raw(b"null")
    body: msgspec.Raw = msgspec.Raw(b"null")
    message: str = ""
    children: int = 0
    error: dict[str, Any] | None = None


_row = msgspec.json.Decoder(Row).decode


class Joined:
    """What a join's handler gets in place of an event: the events that its branches ended in.

    `joined[Charged]` is the one event of that type, `None` when no branch ended in it; `joined.each(Item)` are all
    of that type in the order of the branches. `missing` are the numbers of branches that did not come in time.
    """

    def __init__(self, events: Mapping[int, object], children: int) -> None:
        self._events = events
        self.missing = tuple(child for child in range(children) if child not in events)

    def __getitem__(self, kind: type[Any]) -> Any:
        found = self.each(kind)
        if len(found) > 1:
            raise DefinitionError(
                f"{len(found)} branches ended in {kind.__name__}", fix=f"use each({kind.__name__}) for all of them"
            )
        return found[0] if found else None

    def each(self, kind: type[Any]) -> list[Any]:
        """The events of a type, by the number of their branch."""
        return [event for _, event in sorted(self._events.items()) if type(event) is kind]

    def __len__(self) -> int:
        return len(self._events)

    def __repr__(self) -> str:
        return f"<Joined {[event for _, event in sorted(self._events.items())]}>"


class Fire(NamedTuple):
    """The join's step has its turn: with this stamp, at this position, for these events."""

    stamp: Stamp
    position: Position
    joined: Joined


@dataclass(slots=True, kw_only=True)
class Meeting:
    """What one arrival comes to: rows to write, and either a decision or the step's turn."""

    rows: dict[str, bytes] = field(default_factory=dict)
    decision: Decision
    fire: Fire | None = None


def meet(arrival: Arrival, at: Position, rows: Mapping[str, bytes], now: float) -> Meeting:
    """What follows when a message of a fork comes to its join. `rows` are those of this join so far.

    Raises `MergeConflict` or `Equivocation`; the message is then held and nothing of it is noted.
    """
    return _Join(arrival, at, rows, now).meet()


class _Join:
    """One arrival at work. Rows that it changes are noted in `changed`."""

    def __init__(self, arrival: Arrival, at: Position, rows: Mapping[str, bytes], now: float) -> None:
        assert at.place is not None
        self.place: Place = at.place
        self.workflow: Workflow = arrival.workflow
        self.arrival = arrival
        self.at = at
        self.now = now
        self.rows = {name: _row(row) for name, row in rows.items()}
        self.changed: set[str] = set()
        self.messages: list[Next] = []
        self.end: Stamp | None = None
        self.fire: Fire | None = None

    def meet(self) -> Meeting:
        steps: dict[str, Callable[[], Hold | None]] = {
            "base": self._base,
            "child": self._child,
            "report": self._report,
            "timer": self._timer,
        }
        hold = steps[self.at.role]()
        if hold is None:
            self._onward()
        rows = {name: _encode(self.rows[name]) for name in sorted(self.changed)}
        stamp = self.end or self.arrival.stamp
        decision = Decision(stamp=stamp, settle=hold or Forward(), messages=tuple(self.messages))
        return Meeting(rows=rows, decision=decision, fire=self.fire)

    @property
    def way(self) -> str:
        """How far the join is."""
        return self.rows[JOIN].way if JOIN in self.rows else "open"

    def _put(self, name: str, row: Row) -> None:
        self.rows[name] = row
        self.changed.add(name)

    def _base(self) -> None:
        if BASE in self.rows:
            return
        stamp = self._at_the_fork()
        self._put(BASE, Row("base", msgspec.Raw(stamp.to_json()), children=self.place.children))
        step = self.at.step
        if step.timeout is not None and step.missing != "wait":
            due = int((self.now + step.timeout) * 1000)
            self.messages.append(
                Next(
                    kind="timer",
                    routing_key="",
                    type=f"timer:{step.name}",
                    message_id=next_message(self._id, step.name, "timer", self.place.parent or ""),
                    stamp=stamp,
                    timer=Timer(due=due, fork=self.place.fork),
                )
            )

    def _at_the_fork(self) -> Stamp:
        """The stamp before it was split: where the publisher wrote a child's path, the path around the fork."""
        stamp = self.arrival.stamp
        return stamp.having(
            {"branch": self.place.parent} if self.place.parent else {}, without=_unless(self.place.parent)
        )

    def _child(self) -> None:
        name = str(self.place.child)
        text = self.arrival.stamp.to_json()
        known = self.rows.get(name)
        if known is not None:
            self._again(known, text)
            return
        row = Row("came", msgspec.Raw(text), msgspec.Raw(_encode(self.arrival.payload)), self.at.message_id)
        self._put(name, row)
        if self.way != "open":
            self._turn(name)

    def _again(self, known: Row, text: bytes) -> None:
        if known.way == "came" and msgspec.json.decode(known.stamp) != msgspec.json.decode(text):
            raise Equivocation(
                f"child {self.place.child} of the fork {self.place.fork} came twice, with different stamps",
                fix="find out which of two services sent it; one of them ran what the other did not",
            )

    def _report(self) -> None:
        name, stamp = str(self.place.child), self.arrival.stamp
        if name in self.rows and self.rows[name].way == "back":
            return
        self._put(name, Row("came", msgspec.Raw(stamp.to_json()), message=self.at.message_id))
        if self.way == "open":
            self._turn_all(stamp.error or {})
        else:
            self._turn(name)

    def _timer(self) -> Hold | None:
        step = self.at.step
        if self.way != "open" or BASE not in self.rows:
            return None
        base = self._stamp(BASE)
        missing = [str(child) for child in range(self.children) if str(child) not in self.rows]
        if step.missing == "proceed":
            self._fire()
            return None
        why = f"branch {', '.join(missing)} of {self.children} did not come in time"
        if not can_turn(self.workflow, base):
            return Hold("branches-missing", why)
        self._turn_all(error_of(step, TIMEOUT, why, self.now))
        return None

    @property
    def children(self) -> int:
        """How many branches the fork has; 0 while that is not known."""
        return self.rows[BASE].children if BASE in self.rows else 0

    @property
    def _id(self) -> str:
        return join_message(self.arrival.stamp.run, self.place.fork)

    def _stamp(self, name: str) -> Stamp:
        return parse(bytes(self.rows[name].stamp))

    def _came(self, *ways: Way) -> list[str]:
        return [name for name in map(str, range(self.children)) if name in self.rows and self.rows[name].way in ways]

    def _turn_all(self, error: dict[str, Any]) -> None:
        self._put(JOIN, Row("turned", error=error))
        for name in sorted(self.rows, key=lambda name: (len(name), name)):
            if self.rows[name].way == "came":
                self._turn(name)

    def _turn(self, name: str) -> None:
        """Let a branch that has arrived walk back; one with nothing to undo is back at once."""
        row, stamp = self.rows[name], self._stamp(name)
        came_back = stamp.phase == "backward" and isinstance(self.workflow.style, Stateless)
        if stamp.phase != "backward":
            stamp = stamp.having({"phase": "backward", "error": self.rows[JOIN].error or self._late()})
        at = Position(step=self.at.step, action="undo", message_id=row.message)
        walking = not came_back and next_undo(self.workflow, stamp, at) is not None
        self._put(name, Row("walking" if walking else "back", msgspec.Raw(stamp.to_json()), message=row.message))
        if self.way == "fired" and self.workflow.style.owner is not None:
            self.messages.append(report(without_history(stamp), None, at))
        if walking:
            decision = walk_back(self.workflow, stamp, at)
            self.messages += [msgspec.structs.replace(one, stamp=decision.stamp) for one in decision.messages]

    def _late(self) -> dict[str, Any]:
        return error_of(self.at.step, "Late", "the join went on without this branch", self.now)

    def _onward(self) -> None:
        if not self.children:
            return
        if self.way == "open" and len(self._came("came")) == self.children:
            self._fire()
        elif self.way == "turned" and len(self._came("back")) == self.children:
            self._walk_on()

    def _fire(self) -> None:
        came = self._came("came")
        stamp = self._telling_who_is_missing(self._united(came, backward=False), came)
        stamp = stamp.having({"event": self.at.step.event})
        position = Position(step=self.at.step, action="do", message_id=self._id, attempt=self.at.attempt)
        events = {int(name): self._event(name) for name in came}
        self._put(JOIN, Row("fired"))
        self.fire = Fire(stamp, position, Joined(events, self.children))

    def _telling_who_is_missing(self, stamp: Stamp, came: list[str]) -> Stamp:
        """The owner of a run has to know which branches went on alone: they walk back by themselves."""
        missing = [number for number in range(self.children) if str(number) not in came]
        if not missing or self.workflow.style.owner is None:
            return stamp
        left = [branch_of(self.place.fork, number, self.children) for number in missing]
        return stamp.having({"past": {**stamp.past, "without": sorted([*stamp.past.get("without", ()), *left])}})

    def _event(self, name: str) -> object:
        event = self._stamp(name).event
        kind = next(kind for kind in self.at.step.inputs if kind.__name__ == event)
        return msgspec.json.decode(self.rows[name].body, type=kind)

    def _walk_on(self) -> None:
        """All branches are back: the run walks on before the fork."""
        error = self.rows[JOIN].error or {}
        united = self._united(self._came("back"), backward=True)
        at = Position(step=self.at.step, action="undo", message_id=self._id)
        entry = entry_of(united, at, "timeout" if error.get("type") == TIMEOUT else "skipped", self.now)
        stamp = united.appended(entry, {"phase": "backward", "error": error})
        self._put(JOIN, Row("closed", error=error))
        decision = walk_back(self.workflow, stamp, at)
        self.end = decision.stamp
        self.messages += [msgspec.structs.replace(one, stamp=decision.stamp) for one in decision.messages]

    def _united(self, names: list[str], *, backward: bool) -> Stamp:
        policies = policies_of(self.workflow.contract.document)
        return merge_stamps(self._stamp(BASE), [self._stamp(name) for name in names], policies, backward=backward)


def _unless(parent: str | None) -> tuple[str, ...]:
    return ("branch",) if parent is None else ()
