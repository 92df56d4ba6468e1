"""What a bench saw: the messages in the journal and the runs they add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from brokers.contract import Message, Recorded
from stamp.held import Held
from stamp.layout import HELD, end_key
from stamp.ledger import Record, Status, apply
from stamp.model import Entry, Stamp
from stamp.sighting import Kind, Sighting, sight


@dataclass(frozen=True)
class Published:
    """One message as the journal recorded it."""

    message: Message
    exchange: str
    routing_key: str

    @classmethod
    def of(cls, record: Recorded) -> Published:
        """From a record of the journal."""
        return cls(record.message, record.exchange, record.routing_key)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.type} of run {self.run or 'unknown'}>"

    @cached_property
    def sighting(self) -> Sighting | None:
        """What it says about its run; `None` when it carries no readable stamp."""
        return sight(self.message, self.exchange, self.routing_key)

    @property
    def type(self) -> str:
        """The event's name, or `undo:<step>`."""
        return self.message.type

    @property
    def kind(self) -> Kind:
        """`progress`, or a copy of an earlier message: `retry`, `held`, `released`."""
        if self.sighting is not None:
            return self.sighting.kind
        return "held" if self.exchange == HELD else "progress"

    @property
    def stamp(self) -> Stamp | None:
        """The stamp it carries, if it can be read."""
        return None if self.sighting is None else self.sighting.stamp

    @property
    def run(self) -> str | None:
        """The id of its run."""
        return self.message.correlation_id if self.stamp is None else self.stamp.run

    @property
    def payload(self) -> Any:
        """The body as plain values; `None` when it is not JSON."""
        try:
            return msgspec.json.decode(self.message.body)
        except msgspec.DecodeError:
            return None


class Publications(tuple[Published, ...]):
    """Messages in the order in which the broker took them."""

    __slots__ = ()

    @property
    def types(self) -> list[str]:
        """The event names, in order."""
        return [message.type for message in self]

    def of_type(self, name: str) -> Publications:
        """Those of one event (or `undo:<step>`), retries and held copies included."""
        return Publications(message for message in self if message.type == name)

    def of_run(self, run_id: str) -> Publications:
        """Those of one run."""
        return Publications(message for message in self if message.run == run_id)

    def of_kind(self, kind: Kind) -> Publications:
        """`progress` for first sendings alone; or `retry`, `held`, `released`."""
        return Publications(message for message in self if message.kind == kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Where a run stands at the moment it was asked for. Does not change when the bench moves on."""

    record: Record
    status: Status
    """`running`, `retrying`, `overdue`, `compensating`, `completed`, `compensated`, `failed` or `held`."""
    events: list[str]
    """What happened, in order: the names of the events, `undo:<step>` for a way back; each once."""
    held: Held | None
    """The held message of this run with its `reason` and `detail`."""

    @property
    def id(self) -> str:
        """The run id."""
        return self.record.run

    @property
    def stamp(self) -> Stamp:
        """The furthest stamp seen."""
        return self.record.stamp

    @property
    def state(self) -> dict[str, Any]:
        """The workflow's data in it, as plain values."""
        return self.stamp.state

    @property
    def history(self) -> tuple[Entry, ...]:
        """The finished hops, oldest first."""
        return self.stamp.history

    @property
    def error(self) -> dict[str, Any] | None:
        """Why it went backward: `type`, `message`, `step`, `service`, `at`."""
        return self.stamp.error

    def __repr__(self) -> str:
        done = ", ".join(f"{entry.step} {entry.outcome}" for entry in self.history) or "no hop yet"
        why = f"; {self.error['type']}: {self.error['message']}" if self.error else ""
        held = f"; held as {self.held.reason}: {self.held.detail}" if self.held else ""
        return f"<Run {self.stamp.workflow} {self.id} {self.status}: {done}{why}{held}>"


@dataclass(slots=True)
class Tape:
    """The journal as read so far, in memory: asking for a run must not read everything again."""

    messages: list[Published] = field(default_factory=list)
    offset: int = 0
    _runs: dict[str, list[Published]] = field(default_factory=dict)

    def add(self, records: Iterable[Recorded]) -> None:
        """Take in what came after the last call."""
        for record in records:
            message = Published.of(record)
            self.messages.append(message)
            self._runs.setdefault(message.run or "", []).append(message)
            self.offset = record.offset + 1

    def of_run(self, run_id: str) -> list[Published]:
        """The messages of one run; empty when the journal has seen none."""
        return self._runs.get(run_id, [])


def run_of(messages: Iterable[Published], held: Iterable[Held], *, now: float) -> Run | None:
    """The run that these messages add up to; `None` when none of them carries a readable stamp."""
    record: Record | None = None
    for message in messages:
        if message.sighting is not None:
            record = apply(record, message.sighting)
    if record is None:
        return None
    mine = next((message for message in held if message.message.correlation_id == record.run), None)
    return Run(record=record, status=record.status(now), events=_facts(messages), held=mine)


def _facts(messages: Iterable[Published]) -> list[str]:
    """Each new fact once. The notice that ends a run is a fact of its own only when it carries a new event."""
    facts: list[str] = []
    seen: set[str] = set()
    for message in messages:
        if message.kind == "progress" and message.message.message_id not in seen:
            seen.add(message.message.message_id)
            if not message.routing_key.startswith(end_key("")) or _news(message, facts):
                facts.append(message.type)
    return facts


def _news(message: Published, facts: list[str]) -> bool:
    return message.routing_key == end_key("completed") and message.type not in facts[-1:]
