"""One delivery on its way through a service: what is known of it so far, and what observers are told of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from brokers.contract import Delivery, Publication
from stamp.codec import Arrival
from stamp.decision import Again, Decision, Forward, Position
from stamp.events import DuplicateDropped, HopFinished, RetryScheduled, RunEnded, RunStarted, StampLarge
from stamp.layout import ends_queue
from stamp.ledger import Record
from stamp.model import ENDED, Action, Stamp, epoch
from stamp.workflow import Workflow

Handler = Callable[..., Awaitable[Any]]
GRACE = 86400.0
"""Seconds past a run's deadline for which the inbox still knows its messages: late duplicates are still found."""


class Settler(Protocol):
    """The part of a consumer that the road needs."""

    async def ack(self, deliveries: Sequence[Delivery]) -> None: ...


@dataclass(frozen=True, slots=True)
class Station:
    """One step's queue at one service: the versions and handlers that serve it."""

    queue: str
    step: str
    versions: Mapping[int, Workflow]
    handlers: Mapping[tuple[int, Action], Handler]

    @property
    def children(self) -> tuple[Workflow, ...]:
        """The workflows that the step runs, in any of its versions."""
        found = (workflow.step(self.step).runs for workflow in self.versions.values())
        return tuple(dict.fromkeys(child for child in found if isinstance(child, Workflow)))


def ends_of(station: Station) -> str:
    """The queue in which a station hears of the ends of what its step runs."""
    workflow = next(iter(station.versions.values()))
    return ends_queue(workflow.name, workflow.step(station.step))


@dataclass(slots=True)
class Trip:
    """One delivery on its way. `fate` is empty while a handler may still run."""

    delivery: Delivery
    fate: Literal["", "forward", "again", "held", "duplicate", "elsewhere"] = ""
    read: tuple[Arrival, Position] | None = None
    """As it came; a join goes on from `arrival` and `position`, which stand for all its branches."""
    arrival: Arrival | None = None
    decision: Decision | None = None
    position: Position | None = None
    messages: list[Publication] = field(default_factory=list)
    rows: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """What a join notes when this trip goes forward."""
    ended: Sequence[Record] = ()
    """Runs that this service owns, and that have ended by it."""
    started: Sequence[RunStarted] = ()
    """The run that the step began and waits for."""
    body: bytes | None = None
    """What it emits, where that came from the end of such a run."""
    doubted: bool = False
    """Another message seemed to settle the same visit: looked at once more before it is refused."""


def expires_of(stamp: Stamp) -> float | None:
    """When what a store notes of a run may be forgotten; `None` for runs without a deadline.

    A step that runs another may take it back for as long as its own run goes on.
    """
    until = stamp.deadline if stamp.parent is None else stamp.parent.get("deadline")
    return None if until is None else epoch(until) + GRACE


def rewind(trips: Sequence[Trip]) -> None:
    """Before the handlers ran."""
    for trip in trips:
        trip.fate, trip.decision, trip.messages, trip.ended, trip.started = "", None, [], (), ()


def sure(value: Any) -> Any:
    """A trip's field that the road has filled before it gets here."""
    if value is None:
        raise RuntimeError("the road of a delivery was walked out of order")
    return value


def facts_of(service: str, station: Station, trip: Trip, now: float, soft_limit: int) -> list[Any]:
    """What observers get to know about a trip that has ended."""
    if trip.fate == "duplicate":
        message_id = trip.delivery.message.message_id
        return [DuplicateDropped(service=service, consumer=station.queue, message_id=message_id, at=now)]
    if trip.decision is None or trip.arrival is None or trip.position is None:
        return [*trip.started]
    stamp, position = trip.decision.stamp, trip.position
    about: dict[str, Any] = {"service": service, "workflow": stamp.workflow, "run": stamp.run, "at": now}
    match trip.decision.settle:
        case Again() as again:
            return [
                RetryScheduled(
                    **about, step=position.step.name, attempt=again.attempt, delay=again.delay, reason=again.reason
                )
            ]
        case Forward() if position.place is not None:
            return _ends(about, trip)  # an arrival that a join only notes is no hop
        case Forward():
            return [*_moved(about, trip, soft_limit)]
        case _:
            return []


def _moved(about: dict[str, Any], trip: Trip, soft_limit: int) -> list[Any]:
    decision, position = sure(trip.decision), sure(trip.position)
    stamp = decision.stamp
    outcome = "undone" if position.action == "undo" else "failed" if stamp.phase != "forward" and stamp.error else "ok"
    facts: list[Any] = [
        HopFinished(
            **about,
            step=position.step.name,
            seq=stamp.seq,
            outcome=outcome,
            attempt=position.attempt,
            ms=position.ms,
        )
    ]
    size = max((len(message.message.headers.get("stamp", "")) for message in trip.messages), default=0)
    if size > soft_limit:
        facts.append(StampLarge(**about, size=size))
    return [*facts, *_ends(about, trip)]


def _ends(about: dict[str, Any], trip: Trip) -> list[Any]:
    """The end of the run, told by who brings it about: the last service, or the owner of the run."""
    if sure(trip.arrival).workflow.style.owner is None:
        return ended(about["service"], sure(trip.decision).stamp, about["at"])
    return [fact for record in trip.ended for fact in ended(about["service"], record.stamp, about["at"])]


def ended(service: str, stamp: Stamp, at: float) -> list[RunEnded]:
    """The fact that a run has ended, if it has."""
    if stamp.phase not in ENDED:
        return []
    about = {"service": service, "workflow": stamp.workflow, "run": stamp.run}
    return [RunEnded(**about, at=at, outcome=stamp.phase, branch=stamp.branch or "")]
