"""The road of a delivery, from the queue to its settlement, top to bottom.

    read -> begin -> inbox? -> handler -> decide -> encode -> outbox -> commit -> publish -> settle

Deliveries that wait together travel together: one transaction with a savepoint each, one commit, one burst of
publishes, one acknowledgement. A batch of one is the same road.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from brokers.contract import Delivery, Publication
from stamp import outgoing, parking
from stamp.codec import Arrival, Codec
from stamp.decision import Again, Broken, Decision, Done, Failed, Forward, Hold, Outcome, Position, Undone, decide
from stamp.duration import seconds
from stamp.errors import OutputInvalid, PayloadInvalid, StampError, StampUnreadable, StoreUnavailable, Theirs
from stamp.events import (
    DuplicateDropped,
    HopFinished,
    MessageHeld,
    Paused,
    Resumed,
    RetryScheduled,
    RunEnded,
    StampLarge,
)
from stamp.failure import trimmed
from stamp.hop import Hop
from stamp.model import ENDED, Action, Fail, RetryLater, epoch
from stamp.nostore import NoStore
from stamp.ports import Clock, Foresight, Store, Transaction, sleep
from stamp.relay import Relay
from stamp.sending import Sender, Teller
from stamp.workflow import Step, Workflow

log = logging.getLogger("stamp")

Handler = Callable[..., Awaitable[Any]]
GRACE = 86400.0
"""Seconds past a run's deadline for which the inbox still knows its messages: late duplicates are still found."""

BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)


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


@dataclass(slots=True)
class Trip:
    """One delivery on its way. `fate` is empty while a handler may still run."""

    delivery: Delivery
    fate: Literal["", "forward", "again", "held", "duplicate", "elsewhere"] = ""
    arrival: Arrival | None = None
    decision: Decision | None = None
    position: Position | None = None
    messages: list[Publication] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Road:
    """Carries deliveries of one station. Shared by the service's workers and by the middleware."""

    service: str
    station: Station
    store: Store | NoStore
    codec: Codec
    sender: Sender
    relay: Relay
    clock: Clock
    tell: Teller

    async def travel(self, deliveries: Sequence[Delivery], settler: Settler) -> None:
        """Carry deliveries that wait together to their end; settle each exactly once, here and nowhere else."""
        trips = [self._read(delivery) for delivery in deliveries]
        if any(not trip.fate for trip in trips):
            await self._work(trips)
        await self.sender.send([message for trip in trips for message in trip.messages])
        if again := [_sure(trip.arrival).stamp.run for trip in trips if trip.fate == "duplicate"]:
            await self._revive(again)
        await settler.ack([trip.delivery for trip in trips])
        if self.tell.listening:
            self._report(trips)

    def _read(self, delivery: Delivery) -> Trip:
        trip = Trip(delivery)
        try:
            trip.arrival = self.codec.decode(delivery.message, self.station.versions)
        except Theirs as error:
            self._hold(trip, error.reason, str(error))
            return trip
        except Exception as error:  # A reader that stumbles is our bug; the message is kept and the consumer goes on.
            log.exception("%s: reading message %r failed", self.service, delivery.message.message_id)
            self._hold(trip, StampUnreadable.reason, f"{type(error).__name__}: {error}")
            return trip
        trip.position = self._position(trip.arrival)
        if trip.position is None:
            trip.fate = "elsewhere"
        return trip

    def _position(self, arrival: Arrival) -> Position | None:
        """The step and direction this queue runs for the message; `None` when it belongs to another queue.

        Two versions of a workflow may route one event to different steps, and queues are bound for both.
        """
        step = arrival.workflow.step(self.station.step)
        action: Action = "undo" if arrival.payload is None else "do"
        named = arrival.message.type.removeprefix("undo:") if action == "undo" else step.name
        if named != step.name or (action == "do" and arrival.stamp.event != step.event):
            return None
        return Position(step=step, action=action, message_id=arrival.message.message_id, attempt=arrival.attempt)

    async def _revive(self, runs: Sequence[str]) -> None:
        """A duplicate runs nothing; what a dead process never got confirmed goes out now, not when its lease ends."""
        try:
            await self.store.revive(runs)
            await self.relay.once()
        except StoreUnavailable as error:
            log.warning("%s: rows of %d runs wait for their lease to end: %s", self.service, len(runs), error)

    async def _work(self, trips: Sequence[Trip]) -> None:
        """Run the handlers in local transactions, waiting for a store that is out of reach."""
        paused = 0
        while True:
            try:
                await self._together(trips)
            except StoreUnavailable as error:
                if not paused:
                    self.tell(Paused(service=self.service, what="store", detail=str(error), at=self.clock.now()))
                    log.warning("%s: consuming waits: %s", self.service, error)
                await sleep(self.clock, BACKOFF[min(paused, len(BACKOFF) - 1)])
                paused += 1
                continue
            if paused:
                self.tell(Resumed(service=self.service, what="store", at=self.clock.now()))
            return

    async def _together(self, trips: Sequence[Trip]) -> None:
        todo = [trip for trip in trips if not trip.fate]
        try:
            await self._transact(todo)
        except StoreUnavailable:
            _rewind(todo)
            raise
        except Exception as error:
            _rewind(todo)
            if len(todo) > 1:
                for trip in todo:
                    await self._together([trip])
                return
            await self._commit_refused(todo[0], error)

    async def _transact(self, trips: Sequence[Trip]) -> None:
        async with self.store.begin() as tx:
            if isinstance(tx, Foresight):
                await tx.foresee(self.station.queue, [trip.delivery.message.message_id for trip in trips])
            for trip in trips:
                await self._hop(tx, trip)

    async def _commit_refused(self, trip: Trip, error: BaseException) -> None:
        """The database refused the commit itself (a deferred constraint): the handler's fault, found late."""
        try:
            async with self.store.begin() as tx:
                await self._went_wrong(tx, trip, error)
        except StoreUnavailable:
            _rewind([trip])
            raise
        except Exception as again:
            log.exception("%s: step %s can't be settled otherwise than by holding it", self.service, self.station.step)
            _rewind([trip])
            self._hold(trip, "failed", f"{type(again).__name__}: {again}", again)

    async def _hop(self, tx: Transaction, trip: Trip) -> None:
        try:
            async with tx.savepoint():
                if not await self._first_seen(tx, trip):
                    trip.fate = "duplicate"
                    return
                outcome = await self._handle(tx, trip)
                await self._follow(tx, trip, outcome)
        except StoreUnavailable:
            raise
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            await self._went_wrong(tx, trip, error)
        except Exception as error:  # whatever a handler raises is an outcome, not a crash
            await self._went_wrong(tx, trip, error)

    async def _first_seen(self, tx: Transaction, trip: Trip) -> bool:
        arrival = _sure(trip.arrival)
        deadline = arrival.stamp.deadline
        expires = None if deadline is None else epoch(deadline) + GRACE
        return await tx.first_seen(self.station.queue, arrival.message.message_id, expires=expires)

    async def _handle(self, tx: Transaction, trip: Trip) -> Outcome:
        arrival, position = _sure(trip.arrival), _sure(trip.position)
        handler = self.station.handlers[arrival.workflow.version, position.action]
        trace = arrival.message.headers.get("traceparent") or arrival.stamp.trace
        hop: Hop[Any] = Hop(arrival.workflow, arrival.stamp, position, local=tx, trace=trace)
        began = self.clock.now()
        if position.action == "undo":
            await handler(hop)
            outcome: Outcome = Undone(state=_state(hop, arrival.workflow))
        else:
            event = await handler(_typed(arrival, position.step), hop)
            outcome = Done(event=event, state=_state(hop, arrival.workflow), keep=hop.kept)
        trip.position = msgspec.structs.replace(position, ms=max(0, round((self.clock.now() - began) * 1000)))
        return outcome

    async def _follow(self, tx: Transaction, trip: Trip, outcome: Outcome, cause: BaseException | None = None) -> None:
        """Decide, and when the run moves on write the next messages into the outbox of the same transaction."""
        arrival, now = _sure(trip.arrival), self.clock.now()
        trip.decision = decide(arrival.workflow, arrival.stamp, _sure(trip.position), outcome, now)
        match trip.decision.settle:
            case Forward():
                trip.messages = outgoing.publications(
                    trip.decision,
                    arrival.workflow,
                    self.codec,
                    service=self.service,
                    now=now,
                    trace=outgoing.trace_of(arrival.message),
                )
                await tx.emit(trip.messages, run=arrival.stamp.run)
                trip.fate = "forward"
            case Again() as again:
                message = arrival.message
                trip.messages = [outgoing.again(message, trip.delivery.queue, attempt=again.attempt, delay=again.delay)]
                trip.fate = "again"
            case Hold() as hold:
                self._hold(trip, hold.reason, hold.detail, cause)

    async def _went_wrong(self, tx: Transaction, trip: Trip, error: BaseException) -> None:
        """The savepoint is rolled back; what follows is written in a savepoint of its own."""
        log.debug("step %s failed", self.station.step, exc_info=error)
        if isinstance(error, StampError) and error.disposition == "hold":
            self._hold(trip, error.reason, str(error), error)
            return
        outcome = _outcome_of(error, _sure(trip.position).step)
        async with tx.savepoint():
            await self._follow(tx, trip, outcome, error)
            if trip.fate == "forward" and not await self._first_seen(tx, trip):
                trip.fate, trip.messages = "duplicate", []

    def _hold(self, trip: Trip, reason: str, detail: str, cause: BaseException | None = None) -> None:
        message = trip.delivery.message
        trace = trimmed(cause) if cause else ""
        origin = {parking.QUEUE: self.station.queue}
        now = self.clock.now()
        trip.fate = "held"
        trip.messages = [
            parking.park(
                message, service=self.service, reason=reason, detail=detail, now=now, origin=origin, trace=trace
            )
        ]
        self.tell(
            MessageHeld(
                service=self.service,
                queue=self.station.queue,
                message_id=message.message_id,
                reason=reason,
                detail=detail,
                at=now,
            )
        )

    def _report(self, trips: Sequence[Trip]) -> None:
        for trip in trips:
            for event in _facts(self.service, self.station, trip, self.clock.now(), self.codec.soft_limit):
                self.tell(event)


def _cancelled() -> bool:
    """Whether somebody stops this task, or a handler let an inner cancellation out."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _rewind(trips: Sequence[Trip]) -> None:
    for trip in trips:
        trip.fate, trip.decision, trip.messages = "", None, []


def _typed(arrival: Arrival, step: Step) -> Any:
    try:
        return msgspec.convert(arrival.payload, step.on)
    except msgspec.ValidationError as error:
        raise PayloadInvalid(f"{step.event} of {arrival.workflow.label}: {error}") from None


def _state(hop: Hop[Any], workflow: Workflow) -> dict[str, Any]:
    state = hop.state_after()
    if state is not hop.stamp.state and not workflow.contract.state.is_valid(state):
        raise OutputInvalid(
            f"state of {workflow.label}: {workflow.contract.state.explain(state)}", fix="mend it in the handler"
        )
    return state


def _outcome_of(error: BaseException, step: Step) -> Outcome:
    kind = type(error).__name__
    match error:
        case Fail():
            return Failed(type="Fail", reason=error.reason, undo_me=error.undo_me)
        case RetryLater():
            return Broken(type="RetryLater", reason=error.reason, after=_after(error))
        case _ if isinstance(error, step.no_retry):
            return Failed(type=kind, reason=str(error))
        case _:
            return Broken(type=kind, reason=str(error))


def _after(error: RetryLater) -> float | None:
    return None if error.after is None else seconds(error.after)


def _sure(value: Any) -> Any:
    """A trip's field that the road has filled before it gets here."""
    if value is None:
        raise RuntimeError("the road of a delivery was walked out of order")
    return value


def _facts(service: str, station: Station, trip: Trip, now: float, soft_limit: int) -> list[Any]:
    if trip.fate == "duplicate":
        message_id = trip.delivery.message.message_id
        return [DuplicateDropped(service=service, consumer=station.queue, message_id=message_id, at=now)]
    if trip.decision is None or trip.arrival is None or trip.position is None:
        return []
    stamp, position = trip.decision.stamp, trip.position
    about: dict[str, Any] = {"service": service, "workflow": stamp.workflow, "run": stamp.run, "at": now}
    match trip.decision.settle:
        case Again() as again:
            return [
                RetryScheduled(
                    **about, step=position.step.name, attempt=again.attempt, delay=again.delay, reason=again.reason
                )
            ]
        case Forward():
            return [*_moved(about, trip, soft_limit)]
        case _:
            return []


def _moved(about: dict[str, Any], trip: Trip, soft_limit: int) -> list[Any]:
    decision, position = _sure(trip.decision), _sure(trip.position)
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
    if stamp.phase in ENDED:
        facts.append(RunEnded(**about, outcome=stamp.phase))
    return facts
