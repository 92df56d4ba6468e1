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
from stamp.children import as_it_came
from stamp.codec import Arrival, Codec, is_timer, timer_of
from stamp.controller import Keeper
from stamp.decision import (
    Again,
    Decision,
    Done,
    Forward,
    Hold,
    Outcome,
    Undone,
    decide,
    refusal,
)
from stamp.errors import (
    ActionRefused,
    StampError,
    StampUnreadable,
    StoreUnavailable,
    Theirs,
)
from stamp.events import MessageHeld, Paused, Resumed
from stamp.failure import trimmed
from stamp.hop import Hop
from stamp.ids import inbox_key
from stamp.joining import meet
from stamp.nostore import NoStore
from stamp.notes import note, recalled
from stamp.outcomes import outcome_of, state_after, typed
from stamp.placing import placed
from stamp.ports import Clock, Store, Transaction, sleep, within
from stamp.relay import Relay
from stamp.sending import Sender, Teller
from stamp.slim import handed_over
from stamp.style import Stateless
from stamp.trip import Settler, Station, Trip, expires_of, facts_of, rewind, sure

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
    keeper: Keeper | None = None
    """Of a service that owns runs: what it does itself goes into the ledger in the same transaction."""

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
            found = self._open(trip)
        except Theirs as error:
            self._hold(trip, error.reason, str(error))
            return trip
        except Exception as error:  # A reader that stumbles is our bug; the message is kept and the consumer goes on.
            log.exception("%s: reading message %r failed", self.service, delivery.message.message_id)
            self._hold(trip, StampUnreadable.reason, f"{type(error).__name__}: {error}")
            return trip
        if found:
            self._wait(trip)
        else:
            trip.fate = "elsewhere"
        return trip

    def _open(self, trip: Trip) -> bool:
        """Read the message into the trip; False when it is another queue's. Raises one of `stamp.errors.Theirs`."""
        arrival = self.codec.decode(trip.delivery.message, self.station.versions)
        where = placed(arrival, self.station.step)
        if where is None:
            return False
        trip.arrival, trip.position = msgspec.structs.replace(arrival, stamp=where[0]), where[1]
        trip.read = trip.arrival, trip.position
        return True

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
                await foresee(self.station.queue, [_key_of(sure(trip.arrival)) for trip in trips])
            if self.keeper is not None and self.keeper.keeps(self.station.versions):
                await self.keeper.lock(tx, [sure(trip.arrival).stamp.run for trip in trips])
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
                if not await self._first_seen(tx, trip) and not await self._let_go(tx, trip):
                    trip.fate = "duplicate"
                    return
                if await self._meet(tx, trip):
                    outcome = self._refused(trip) or await self._handle(tx, trip)
                    if outcome is not None:
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
        arrival = sure(trip.arrival)
        return await tx.first_seen(self.station.queue, _key_of(arrival), expires=expires_of(arrival.stamp))

    async def _let_go(self, tx: Transaction, trip: Trip) -> bool:  # noqa: ARG002
        """Whether a message that the inbox knows was held after that, and has its turn again."""
        return False

    async def _meet(self, tx: Transaction, trip: Trip) -> bool:
        """Whether the handler has its turn: in a join, not before the branches that it waits for have come."""
        trip.arrival, trip.position = arrival, position = sure(trip.read)
        if position.place is None:
            return True
        join = f"{self.station.queue}|{arrival.stamp.run}|{position.place.fork}"
        meeting = meet(arrival, position, await tx.gather(join), self.clock.now())
        trip.rows = {join: meeting.rows}
        if meeting.fire is None:
            trip.decision = handed_over(arrival.workflow, arrival.stamp, position, meeting.decision)
            await self._carry_out(tx, trip)
            return False
        stamp, trip.position, joined = meeting.fire
        trip.arrival = msgspec.structs.replace(arrival, stamp=stamp, payload=joined)
        return True

    def _refused(self, trip: Trip) -> Outcome | None:
        return refusal(sure(trip.arrival).stamp, sure(trip.position), self.clock.now())

    async def _recall(self, tx: Transaction, trip: Trip) -> bool:
        """In stateless style an undo gets back what its step kept. False: it has not run here, and now never will."""
        arrival, position = sure(trip.arrival), sure(trip.position)
        if position.action == "do" or not isinstance(arrival.workflow.style, Stateless):
            return True
        known = await recalled(tx, arrival.stamp, position.step)
        if known is None:
            key = inbox_key(arrival.stamp.run, Hop[Any](arrival.workflow, arrival.stamp, position).action_key)
            await tx.first_seen(f"{self.station.queue}|done", key, expires=expires_of(arrival.stamp))
            return False
        trip.arrival = msgspec.structs.replace(arrival, stamp=known)
        return True

    def _hop_of(self, tx: Transaction, trip: Trip) -> Hop[Any]:
        arrival = sure(trip.arrival)
        trace = arrival.message.headers.get("traceparent") or arrival.stamp.trace
        return Hop(arrival.workflow, arrival.stamp, sure(trip.position), local=tx, trace=trace)

    async def _handle(self, tx: Transaction, trip: Trip) -> Outcome | None:
        """What the handler comes to; `None` where nothing follows yet."""
        if not await self._recall(tx, trip):
            return Undone(state={})
        arrival, position, hop = sure(trip.arrival), sure(trip.position), self._hop_of(tx, trip)
        handler = self.station.handlers[arrival.workflow.version, position.action]
        began = self.clock.now()
        if position.step.undo and not isinstance(self.store, NoStore):
            await self._once_a_visit(tx, hop, trip)
        if position.action == "undo":
            await handler(hop)
            outcome: Outcome = Undone(state=state_after(hop, arrival.workflow))
        else:
            async with within(self.clock, None if position.step.joins else position.step.timeout):
                event = await handler(typed(arrival, position.step), hop)
            outcome = Done(event=event, state=state_after(hop, arrival.workflow), keep=hop.kept)
        trip.position = msgspec.structs.replace(position, ms=max(0, round((self.clock.now() - began) * 1000)))
        return outcome

    async def _once_a_visit(self, tx: Transaction, hop: Hop[Any], trip: Trip) -> None:
        """An action that can be undone leaves a mark, as does an undo that comes before it: a late copy is refused.

        The inbox tells messages apart; this tells that another message asks for the same visit of the step. A twin that
        another process handles right now shows here first: looked at again, the inbox knows it.
        """
        position = sure(trip.position)
        marks = f"{self.station.queue}|done"
        key = inbox_key(hop.run_id, hop.action_key)
        fresh = await tx.first_seen(marks, key, expires=expires_of(hop.stamp))
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
        workflow, stamp, position = arrival.workflow, arrival.stamp, sure(trip.position)
        decision = as_it_came(decide(workflow, stamp, position, outcome, self.clock.now()), trip.body)
        trip.decision = handed_over(workflow, stamp, position, decision)
        await self._carry_out(tx, trip, cause)

    async def _carry_out(self, tx: Transaction, trip: Trip, cause: BaseException | None = None) -> None:
        """When the run moves on, write the next messages into the outbox of the same transaction."""
        arrival, message, decision = sure(trip.arrival), trip.delivery.message, sure(trip.decision)
        match decision.settle:
            case Forward():
                trip.messages = await self._kept(tx, trip, self._publications(arrival, decision, trip.delivery.queue))
                await tx.emit(trip.messages, run=arrival.stamp.run)
                if decision.entry is not None and isinstance(arrival.workflow.style, Stateless):
                    await note(tx, decision.stamp, decision.entry)
                for join, rows in trip.rows.items():
                    await tx.put_arrivals(join, rows, expires=expires_of(arrival.stamp))
                trip.fate = "forward"
            case Again() as again:
                queue = trip.delivery.queue
                trip.messages = [outgoing.again(message, queue, attempt=again.attempt, delay=again.delay)]
                trip.fate = "again"
            case Hold() as hold:
                self._hold(trip, hold.reason, hold.detail, cause)

    async def _kept(self, tx: Transaction, trip: Trip, publications: list[Publication]) -> list[Publication]:
        """Of a service that owns the run: its reports to itself are written down, and what follows from them sent."""
        if self.keeper is None:
            return publications
        kept = await self.keeper.settle(tx, publications)
        trip.ended = kept.ended
        return kept.publications

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
        outcome = outcome_of(error, sure(trip.position).step)
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


def _key_of(arrival: Arrival) -> str:
    return inbox_key(arrival.stamp.run, arrival.message.message_id)


def _cancelled() -> bool:
    """Whether somebody stops this task, or a handler let an inner cancellation out."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
