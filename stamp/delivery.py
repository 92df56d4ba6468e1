"""The road of a delivery, from the queue to its settlement, top to bottom.

    read -> begin -> inbox? -> join? -> handler -> decide -> encode -> outbox -> commit -> publish -> settle

Deliveries that wait together travel together: one transaction with a savepoint each, one commit, one burst of
publishes, one acknowledgement. A batch of one is the same road.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from brokers.contract import Delivery, Publication
from stamp import outgoing, parking
from stamp.codec import Arrival, Codec, is_timer, timer_of
from stamp.decision import (
    Again,
    Broken,
    Decision,
    Done,
    Failed,
    Forward,
    Hold,
    Outcome,
    Undone,
    decide,
    refusal,
)
from stamp.duration import seconds
from stamp.errors import (
    ActionRefused,
    OutputInvalid,
    PayloadInvalid,
    StampError,
    StampUnreadable,
    StoreUnavailable,
    Theirs,
)
from stamp.events import MessageHeld, Paused, Resumed
from stamp.failure import trimmed
from stamp.hop import Hop
from stamp.joining import meet
from stamp.model import Fail, RetryLater
from stamp.nostore import NoStore
from stamp.placing import placed
from stamp.ports import Clock, OutOfTime, Store, Transaction, sleep, within
from stamp.relay import Relay
from stamp.sending import Sender, Teller
from stamp.trip import Settler, Station, Trip, expires_of, facts_of, rewind, sure
from stamp.workflow import Step, Workflow

log = logging.getLogger("stamp")

BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)


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
        if again := [sure(trip.arrival).stamp.run for trip in trips if trip.fate == "duplicate"]:
            await self._revive(again)
        await settler.ack([trip.delivery for trip in trips])
        if self.tell.listening:
            self._report(trips)

    def _read(self, delivery: Delivery) -> Trip:
        trip = Trip(delivery)
        try:
            arrival = self.codec.decode(delivery.message, self.station.versions)
            where = placed(arrival, self.station.step)
        except Theirs as error:
            self._hold(trip, error.reason, str(error))
            return trip
        except Exception as error:  # A reader that stumbles is our bug; the message is kept and the consumer goes on.
            log.exception("%s: reading message %r failed", self.service, delivery.message.message_id)
            self._hold(trip, StampUnreadable.reason, f"{type(error).__name__}: {error}")
            return trip
        if where is None:
            trip.fate = "elsewhere"
            return trip
        trip.arrival, trip.position = msgspec.structs.replace(arrival, stamp=where[0]), where[1]
        trip.read = trip.arrival, trip.position
        self._wait(trip)
        return trip

    def _wait(self, trip: Trip) -> None:
        """A timer that is not yet due goes on waiting, rung by rung: no transaction is needed for that."""
        message = trip.delivery.message
        if is_timer(message) and (left := timer_of(sure(trip.arrival).payload).due / 1000 - self.clock.now()) > 0:
            trip.fate, trip.messages = "again", [outgoing.wait(message, trip.delivery.queue, left=left)]

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
            rewind(todo)
            raise
        except Exception as error:
            rewind(todo)
            if len(todo) > 1:
                for trip in todo:
                    await self._together([trip])
                return
            await self._commit_refused(todo[0], error)

    async def _transact(self, trips: Sequence[Trip]) -> None:
        async with self.store.begin() as tx:
            # Not `isinstance`: against a protocol that costs 9 µs, every time.
            if (foresee := getattr(tx, "foresee", None)) is not None:
                await foresee(self.station.queue, [trip.delivery.message.message_id for trip in trips])
            for trip in trips:
                await self._hop(tx, trip)

    async def _commit_refused(self, trip: Trip, error: BaseException) -> None:
        """The database refused the commit itself (a deferred constraint): the handler's fault, found late."""
        try:
            async with self.store.begin() as tx:
                await self._went_wrong(tx, trip, error)
        except StoreUnavailable:
            rewind([trip])
            raise
        except Exception as again:
            log.exception("%s: step %s can't be settled otherwise than by holding it", self.service, self.station.step)
            rewind([trip])
            self._hold(trip, "failed", f"{type(again).__name__}: {again}", again)

    async def _hop(self, tx: Transaction, trip: Trip) -> None:
        try:
            async with tx.savepoint():
                if not await self._first_seen(tx, trip):
                    trip.fate = "duplicate"
                    return
                if await self._meet(tx, trip):
                    await self._follow(tx, trip, self._refused(trip) or await self._handle(tx, trip))
        except StoreUnavailable:
            raise
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            await self._went_wrong(tx, trip, error)
        except Exception as error:  # whatever a handler raises is an outcome, not a crash
            await self._went_wrong(tx, trip, error)

    async def _first_seen(self, tx: Transaction, trip: Trip) -> bool:
        arrival = sure(trip.arrival)
        message_id = arrival.message.message_id
        return await tx.first_seen(self.station.queue, message_id, expires=expires_of(arrival.stamp))

    async def _meet(self, tx: Transaction, trip: Trip) -> bool:
        """Whether the handler has its turn: in a join, not before the branches that it waits for have come."""
        trip.arrival, trip.position = arrival, position = sure(trip.read)
        if position.place is None:
            return True
        join = f"{self.station.queue}|{arrival.stamp.run}|{position.place.fork}"
        meeting = meet(arrival, position, await tx.gather(join), self.clock.now())
        trip.rows = {join: meeting.rows}
        if meeting.fire is None:
            trip.decision = meeting.decision
            await self._carry_out(tx, trip)
            return False
        stamp, trip.position, joined = meeting.fire
        trip.arrival = msgspec.structs.replace(arrival, stamp=stamp, payload=joined)
        return True

    def _refused(self, trip: Trip) -> Outcome | None:
        return refusal(sure(trip.arrival).stamp, sure(trip.position), self.clock.now())

    async def _handle(self, tx: Transaction, trip: Trip) -> Outcome:
        arrival, position = sure(trip.arrival), sure(trip.position)
        handler = self.station.handlers[arrival.workflow.version, position.action]
        trace = arrival.message.headers.get("traceparent") or arrival.stamp.trace
        hop: Hop[Any] = Hop(arrival.workflow, arrival.stamp, position, local=tx, trace=trace)
        began = self.clock.now()
        if position.step.undo and not isinstance(self.store, NoStore):
            await self._once_a_visit(tx, hop, trip)
        if position.action == "undo":
            await handler(hop)
            outcome: Outcome = Undone(state=_state(hop, arrival.workflow))
        else:
            async with within(self.clock, None if position.step.joins else position.step.timeout):
                event = await handler(_typed(arrival, position.step), hop)
            outcome = Done(event=event, state=_state(hop, arrival.workflow), keep=hop.kept)
        trip.position = msgspec.structs.replace(position, ms=max(0, round((self.clock.now() - began) * 1000)))
        return outcome

    async def _once_a_visit(self, tx: Transaction, hop: Hop[Any], trip: Trip) -> None:
        """An action that can be undone leaves a mark, as does an undo that comes before it: a late copy is refused.

        The inbox tells messages apart; this tells that another message asks for the same visit of the step. A twin that
        another process handles right now shows here first: looked at again, the inbox knows it.
        """
        position = sure(trip.position)
        marks = f"{self.station.queue}|done"
        fresh = await tx.first_seen(marks, hop.action_key, expires=expires_of(hop.stamp))
        if fresh or position.action == "undo":
            return
        if not trip.doubted:
            trip.doubted = True
            raise StoreUnavailable("another message settles this visit of the step now: look again")
        raise ActionRefused(
            f"visit of step {position.step.name!r} in run {hop.run_id} is done or undone already",
            fix="another copy of the message was handled, or its undo came first: drop this one",
        )

    async def _follow(self, tx: Transaction, trip: Trip, outcome: Outcome, cause: BaseException | None = None) -> None:
        arrival = sure(trip.arrival)
        trip.decision = decide(arrival.workflow, arrival.stamp, sure(trip.position), outcome, self.clock.now())
        await self._carry_out(tx, trip, cause)

    async def _carry_out(self, tx: Transaction, trip: Trip, cause: BaseException | None = None) -> None:
        """When the run moves on, write the next messages into the outbox of the same transaction."""
        arrival, message, decision = sure(trip.arrival), trip.delivery.message, sure(trip.decision)
        match decision.settle:
            case Forward():
                trip.messages = self._publications(arrival, decision, trip.delivery.queue)
                await tx.emit(trip.messages, run=arrival.stamp.run)
                for join, rows in trip.rows.items():
                    await tx.put_arrivals(join, rows, expires=expires_of(arrival.stamp))
                trip.fate = "forward"
            case Again() as again:
                queue = trip.delivery.queue
                trip.messages = [outgoing.again(message, queue, attempt=again.attempt, delay=again.delay)]
                trip.fate = "again"
            case Hold() as hold:
                self._hold(trip, hold.reason, hold.detail, cause)

    def _publications(self, arrival: Arrival, decision: Decision, queue: str) -> list[Publication]:
        return outgoing.publications(
            decision,
            arrival.workflow,
            self.codec,
            service=self.service,
            now=self.clock.now(),
            trace=outgoing.trace_of(arrival.message),
            queue=queue,
        )

    async def _went_wrong(self, tx: Transaction, trip: Trip, error: BaseException) -> None:
        """The savepoint is rolled back; what follows is written in a savepoint of its own."""
        log.debug("step %s failed", self.station.step, exc_info=error)
        if isinstance(error, StampError) and error.disposition == "hold":
            self._hold(trip, error.reason, str(error), error)
            return
        outcome = _outcome_of(error, sure(trip.position).step)
        async with tx.savepoint():
            if await self._meet(tx, trip):
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
            for event in facts_of(self.service, self.station, trip, self.clock.now(), self.codec.soft_limit):
                self.tell(event)


def _cancelled() -> bool:
    """Whether somebody stops this task, or a handler let an inner cancellation out."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _typed(arrival: Arrival, step: Step) -> Any:
    if step.joins:
        return arrival.payload
    try:
        return msgspec.convert(arrival.payload, step.inputs[0])
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
            return Failed(type="Fail", reason=_encodable(error.reason), undo_me=error.undo_me)
        case RetryLater():
            return Broken(type="RetryLater", reason=_encodable(error.reason), after=_after(error))
        case OutOfTime():
            return Broken(type="Timeout", reason=str(error), entry="timeout")
        case _ if isinstance(error, step.no_retry):
            return Failed(type=kind, reason=_encodable(str(error)))
        case _:
            return Broken(type=kind, reason=_encodable(str(error)))


def _encodable(text: str) -> str:
    """The text with `?` for each lone surrogate: it goes into the stamp, and those have no UTF-8."""
    return str(text).encode(errors="replace").decode()


def _after(error: RetryLater) -> float | None:
    return None if error.after is None else seconds(error.after)
