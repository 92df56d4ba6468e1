"""The road of a step that runs another workflow: it begins a child, lets its own message go, and waits for the end.

    the turn   -> handler -> row, the child's first messages -> commit -> publish -> settle    nothing follows yet
    an end     -> row? -> the trip of the message that waits -> decide -> outbox -> commit -> publish -> settle
    the undo   -> row? -> the child is turned back -> commit -> publish -> settle              nothing follows yet

The row stands for the message that waits. When the end comes it is read and carried on as if the handler had
returned just then, by the road that all hops take. `stamp.children` says what follows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from brokers.contract import Delivery, Message, Publication
from stamp import outgoing, parking
from stamp.children import (
    OF_THE_UNDO,
    End,
    Row,
    Then,
    after_end,
    after_undo,
    born,
    child_of,
    failure,
    handed_up,
    page,
    read,
    taken_back,
    written,
)
from stamp.decision import Decision, Done, Failed, Outcome, Undone
from stamp.delivery import Road
from stamp.errors import ActionRefused, StampError, StampInvalid, StoreUnavailable, Theirs
from stamp.events import MessageHeld, RunStarted
from stamp.hop import Hop
from stamp.ids import child_run
from stamp.model import ENDED, epoch
from stamp.outcomes import state_after, typed
from stamp.ports import Transaction, sleep
from stamp.sending import BACKOFF
from stamp.trip import Settler, Trip, ends_of, expires_of, sure
from stamp.workflow import Workflow

log = logging.getLogger("stamp")


async def row_of(tx: Transaction, run: str) -> Row | None:
    """The row about a child, and nobody else's until the transaction ends; `None` for a run that is not one."""
    return read(await tx.gather(page(run)))


class ParentRoad(Road):
    """Carries deliveries of a step that runs another workflow, in at least one of its versions."""

    __slots__ = ()

    async def _let_go(self, tx: Transaction, trip: Trip) -> bool:
        """A message that waited for its child was held when that failed; a person has let it go on."""
        if sure(trip.position).step.runs is None or not await self._recall(tx, trip):
            return False
        _, row = await self._latest(tx, self._hop_of(tx, trip))
        return row is not None and row.held == trip.delivery.message.message_id

    async def _handle(self, tx: Transaction, trip: Trip) -> Outcome | None:
        position = sure(trip.position)
        if position.step.runs is None:
            return await super()._handle(tx, trip)
        if not await self._recall(tx, trip):
            return Undone(state={})
        hop = self._hop_of(tx, trip)
        run, row = await self._latest(tx, hop)
        if row is None and position.step.undo:
            await self._once_a_visit(tx, hop, trip)
        if position.action == "do":
            await self._give_birth(tx, trip, hop, run, row)
            return None
        if row is None:
            return Undone(state=hop.stamp.state)
        row, then = after_undo(row, outgoing.resent(trip.delivery.message))
        outcome = await self.follow_up(tx, trip, row, then)
        await self.put(tx, trip, run, row)
        return outcome

    async def _latest(self, tx: Transaction, hop: Hop[Any]) -> tuple[str, Row | None]:
        """The last child of this visit and its row; with no row yet, the one that would be next."""
        for n in count(1):
            run = child_run(epoch(hop.stamp.started), hop.action_key, n)
            row = await row_of(tx, run)
            if row is None or not row.replaced:
                return run, row
        raise AssertionError("count() has no end")

    async def _give_birth(self, tx: Transaction, trip: Trip, hop: Hop[Any], run: str, before: Row | None) -> None:
        arrival, step = sure(trip.arrival), sure(trip.position).step
        message = trip.delivery.message
        if before is not None:
            if not before.held:
                raise ActionRefused(
                    f"visit of step {step.name!r} in run {hop.run_id} has started run {run} already",
                    fix="another copy of the message was handled: drop this one",
                )
            await self.put(tx, trip, run, msgspec.structs.replace(before, replaced=True))
            run, _ = await self._latest(tx, hop)
        wish = await self.station.handlers[arrival.workflow.version, "do"](typed(arrival, step), hop)
        now = self.clock.now()
        row = Row(
            way="running",
            run=hop.run_id,
            turn=outgoing.resent(message),
            began=now,
            state=state_after(hop, arrival.workflow),
            keep=hop.kept,
        )
        await self.put(tx, trip, run, row)
        await self._send(tx, trip, child_of(step), born(arrival, step, wish, run=run, now=now))
        child = child_of(step)
        trip.started = (RunStarted(service=self.service, workflow=child.name, version=child.version, run=run, at=now),)

    async def put(self, tx: Transaction, trip: Trip, run: str, row: Row) -> None:
        """Note the row about a child."""
        await tx.put_arrivals(page(run), written(row), expires=expires_of(sure(trip.arrival).stamp))

    async def _send(self, tx: Transaction, trip: Trip, child: Workflow, decision: Decision) -> None:
        """Send what was decided for a child. It is kept with the step's own run: a redelivery of that revives it."""
        arrival = sure(trip.arrival)
        publications = outgoing.publications(
            decision,
            child,
            self.codec,
            service=self.service,
            now=self.clock.now(),
            trace=outgoing.trace_of(arrival.message),
        )
        trip.messages = await self._kept(tx, trip, publications)
        await tx.emit(trip.messages, run=arrival.stamp.run)
        trip.fate = "forward"

    async def follow_up(
        self, tx: Transaction, trip: Trip, row: Row, then: Then, end: End | None = None
    ) -> Outcome | None:
        """What the step comes to; `None` where it goes on waiting."""
        arrival, step = sure(trip.arrival), sure(trip.position).step
        match then:
            case "nothing":
                trip.fate = "forward"
                return None
            case "take back":
                await self._send(tx, trip, child_of(step), taken_back(row, step, arrival.stamp, now=self.clock.now()))
                return None
            case "done":
                ms = max(0, round((self.clock.now() - row.began) * 1000))
                trip.position = msgspec.structs.replace(sure(trip.position), ms=ms)
                event, trip.body = handed_up(arrival.workflow, step, sure(end))
                return Done(event=event, state=row.state, keep=row.keep)
            case "undone":
                return Undone(state=arrival.stamp.state)
            case "failed" | "undo failed":
                return Failed(type="Child", reason=failure(child_of(step), end))

    def opened(self, message: Message) -> Trip:
        """The trip of a message that waits. Raises one of `stamp.errors.Theirs` when it can't be read any more."""
        trip = Trip(Delivery(message=message, queue=self.station.queue, exchange="", routing_key="", tag=0))
        if not self._open(trip):
            raise StampInvalid(f"{message.type[:80]!r} is not for step {self.station.step!r}")
        return trip

    async def carry_on(self, tx: Transaction, trip: Trip, row: Row, then: Then, end: End) -> None:
        """Carry a trip on that has waited for this end."""
        await self._recall(tx, trip)
        outcome = await self.follow_up(tx, trip, row, then, end)
        if outcome is not None:
            await self._follow(tx, trip, outcome)
        if trip.fate == "held":
            row = msgspec.structs.replace(row, held=trip.delivery.message.message_id)
        await self.put(tx, trip, end.stamp.run, row)

    @property
    def owns(self) -> bool:
        """Whether the service owns the runs of the step: it then keeps others off their ledger, as every hop does."""
        return self.keeper is not None and self.keeper.keeps(self.station.versions)

    async def revive(self, runs: Sequence[str]) -> None:
        """An end that comes again: what a dead process never got confirmed goes out now."""
        await self._revive(runs)

    def report(self, trips: Sequence[Trip]) -> None:
        """Tell observers about trips that were carried on."""
        if self.tell.listening:
            self._report(trips)


@dataclass(slots=True, kw_only=True)
class Ends:
    """Works off the queue in which a station hears of ends: of its children, and of others that it knows nothing of."""

    road: ParentRoad

    @property
    def queue(self) -> str:
        return ends_of(self.road.station)

    async def travel(self, deliveries: Sequence[Delivery], settler: Settler) -> None:
        """Settle each delivery once; an end that can't be read or carried on is held."""
        messages: list[Publication] = []
        heard: list[End] = []
        children = dict(enumerate(self.road.station.children))
        for message in (delivery.message for delivery in deliveries):
            try:
                stamp = self.road.codec.notice(message, children)
            except Theirs as error:
                messages.append(self._held(message, error.reason, str(error)))
                continue
            if stamp.phase in ENDED and stamp.branch is None:
                heard.append(End(stamp, message))
        messages += await self._work(heard)
        await self.road.sender.send(messages)
        await settler.ack(deliveries)

    async def _work(self, heard: Sequence[End]) -> list[Publication]:
        """What these ends come to, waiting for a store that is out of reach."""
        tries = 0
        while heard:
            try:
                return await self._transact(heard)
            except StoreUnavailable as error:
                if not tries:
                    log.warning("%s: consuming waits: %s", self.queue, error)
                await sleep(self.road.clock, BACKOFF[min(tries, len(BACKOFF) - 1)])
                tries += 1
            except Exception as error:  # our bug, or the database refuses: the end is kept, the consumer goes on
                if len(heard) > 1:
                    return [one for end in heard for one in await self._work([end])]
                log.exception("%s: the end of run %s", self.queue, heard[0].stamp.run)
                return [self._held(heard[0].message, "failed", f"{type(error).__name__}: {error}")]
        return []

    async def _transact(self, heard: Sequence[End]) -> list[Publication]:
        trips: list[Trip] = []
        held: list[Publication] = []
        known: list[str] = []
        runs = await self._owned(heard) if self.road.owns else ()
        async with self.road.store.begin() as tx:
            if runs:
                await sure(self.road.keeper).lock(tx, runs)
            for end in heard:
                try:
                    async with tx.savepoint():
                        trips += await self._settled(tx, end, known)
                except StoreUnavailable:
                    raise
                except StampError as error:
                    held.append(self._held(end.message, error.reason, str(error)))
        self.road.report(trips)
        if known:
            await self.road.revive(known)
        return [*held, *(message for trip in trips for message in trip.messages)]

    async def _owned(self, heard: Sequence[End]) -> list[str]:
        """The runs that these ends take on: their ledger is locked before anything else."""
        async with self.road.store.begin() as tx:
            rows = [await row_of(tx, end.stamp.run) for end in heard]
        return [row.run for row in rows if row is not None]

    async def _settled(self, tx: Transaction, end: End, known: list[str]) -> Sequence[Trip]:
        """The trip that this end takes on; the run of one that was taken on before goes to `known`."""
        row = await row_of(tx, end.stamp.run)
        if row is None:
            return ()
        row, then = after_end(row, end.stamp)
        if then == "nothing":
            known.append(row.run)
            return ()
        trip = self.road.opened(sure(row.undo) if then in OF_THE_UNDO else row.turn)
        await self.road.carry_on(tx, trip, row, then, end)
        return (trip,)

    def _held(self, message: Message, reason: str, detail: str) -> Publication:
        road, now = self.road, self.road.clock.now()
        road.tell(
            MessageHeld(
                service=road.service,
                queue=self.queue,
                message_id=message.message_id,
                reason=reason,
                detail=detail,
                at=now,
            )
        )
        return parking.park(
            message, service=road.service, reason=reason, detail=detail, now=now, origin={parking.QUEUE: self.queue}
        )
