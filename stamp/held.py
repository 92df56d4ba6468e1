"""Held messages: what waits for a deploy or a person, whole, and how it goes on.

Looking takes the queue's messages unsettled and gives them back in order. That touches no live consumer, because
nobody consumes a held queue, and its delivery limit is out of reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType

from brokers.contract import Broker, Consumer, Delivery, Message, Publication
from brokers.errors import BrokerError
from stamp import parking, repair, shards
from stamp.codec import STAMP, parse
from stamp.errors import Theirs, TooNew, UnknownWorkflow
from stamp.layout import HELD_PREFETCH, held_queue, ledger_queue
from stamp.model import Entry
from stamp.participant import Participant
from stamp.reporting import read_report
from stamp.trip import Station

PATIENCE = 3.0
"""Seconds without a further message after which a look takes what it has."""

BURST = 100
"""How many held messages travel in one burst of publishes."""

BROKER_REASONS = {"delivery_limit": "delivery-limit", "rejected": "rejected", "expired": "expired"}


HANDLER_REASONS = frozenset({"failed", "undo-failed"})
"""The reasons whose detail begins with the type of the handler's exception."""


@dataclass(frozen=True, slots=True)
class Held:
    """One held message and why it is held."""

    delivery: Delivery

    @property
    def message(self) -> Message:
        return self.delivery.message

    @property
    def reason(self) -> str:
        """The reason code; messages that the broker itself parked have the broker's."""
        note = self.message.headers.get(parking.REASON)
        death = str(self.message.headers.get("x-first-death-reason", "unknown"))
        return str(note) if note else BROKER_REASONS.get(death, death)

    @property
    def detail(self) -> str:
        return str(self.message.headers.get(parking.DETAIL, ""))

    @property
    def error(self) -> str:
        """The type of the handler's exception; empty when none was the reason."""
        kind, colon, _ = self.detail.partition(": ")
        return kind if colon and kind.isidentifier() and self.reason in HANDLER_REASONS else ""

    @property
    def trace(self) -> str:
        """Where in the code that exception came from, a line each; empty when it is not known."""
        return str(self.message.headers.get(parking.TRACE, ""))

    @property
    def queue(self) -> str:
        """The work queue it came from; empty when it never reached one (unroutable)."""
        value = self.message.headers.get(parking.QUEUE) or self.message.headers.get("x-first-death-queue", "")
        return str(value)

    @property
    def at(self) -> int:
        """Epoch milliseconds; 0 when the broker parked it."""
        value = self.message.headers.get(parking.AT, 0)
        return value if isinstance(value, int) else 0

    def original(self) -> Message:
        """The message as it was before it was held."""
        return parking.unpark(self.message)


@asynccontextmanager
async def looking(broker: Broker, service: str) -> AsyncIterator[tuple[Consumer, list[Held]]]:
    """All messages that are held for a service now, unsettled; what the block does not acknowledge goes back."""
    queue = held_queue(service)
    waiting = min(await broker.depth(queue), HELD_PREFETCH)
    consumer = await broker.consume(queue, prefetch=HELD_PREFETCH)
    try:
        yield consumer, await _seen(consumer, waiting)
    finally:
        await consumer.close()


async def _seen(consumer: Consumer, waiting: int) -> list[Held]:
    """At most `waiting` messages; fewer when somebody else looks at the same time and has some in hand."""
    found: list[Held] = []
    with suppress(TimeoutError):
        while len(found) < waiting:
            async with asyncio.timeout(PATIENCE):
                found.extend(Held(delivery) for delivery in await consumer.receive(waiting - len(found)))
    return found


async def listed(broker: Broker, service: str) -> list[Held]:
    """What is held for a service, oldest first; the queue is left as it was."""
    async with looking(broker, service) as (_, found):
        return found


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of one held message: what is sent in its place, confirmed, before it is taken out.

    With a note the journal is told that it went, and why. Nothing to send: it is only taken out.
    """

    held: Held
    publications: Sequence[Publication] = ()
    note: str | None = None


Plan = Callable[[Sequence[Held]], Iterable[Move]]
"""From everything that is held to what shall become of some of it."""

Pace = Callable[[], Awaitable[None]]


async def carry_out(
    broker: Broker, service: str, plan: Plan, *, now: float, pace: Pace | None = None
) -> list[tuple[Move, BrokerError | None]]:
    """Carry out a plan, oldest first; each move with the error that kept the message in the held queue, if any.

    Sent and confirmed first, taken out then: a process that dies in between leaves the message held, and what was
    sent has the same ids when it is sent again. `pace` is awaited before each message; without it they go in bursts.
    Raises the `BrokerError` when the broker goes away; what had gone by then is out.
    """
    done: list[tuple[Move, BrokerError | None]] = []
    async with looking(broker, service) as (consumer, found):
        for burst in _bursts(list(plan(found)), 1 if pace else BURST):
            if pace is not None:
                await pace()
            outcomes = await _sent(broker, service, burst, now)
            gone = [move for move, error in outcomes if error is None]
            await consumer.ack([move.held.delivery for move in gone])
            done += outcomes
            if lost := next((error for _, error in outcomes if error is not None and error.transient), None):
                raise lost
    return done


def _bursts(moves: Iterable[Move], size: int) -> Iterator[list[Move]]:
    """Cut so that no message id is twice in a burst: a broker can't tell the confirms of two such apart."""
    burst: list[Move] = []
    ids: set[str] = set()
    for move in moves:
        own = {move.held.message.message_id, *(one.message.message_id for one in move.publications)}
        if burst and (len(burst) >= size or ids & own):
            yield burst
            burst, ids = [], set()
        burst.append(move)
        ids |= own
    if burst:
        yield burst


async def _sent(
    broker: Broker, service: str, burst: Sequence[Move], now: float
) -> list[tuple[Move, BrokerError | None]]:
    """Send what takes the place of these messages, then the notices of those that went."""
    publications = [one for move in burst for one in move.publications]
    errors = iter(await broker.publish_all(publications))
    outcomes = [(move, _worst([next(errors) for _ in move.publications])) for move in burst]
    notices = [
        parking.released(move.held.message, service=service, now=now, note=move.note)
        for move, error in outcomes
        if error is None and move.note is not None
    ]
    await broker.publish_all(notices)
    return outcomes


def _worst(errors: Sequence[BrokerError | None]) -> BrokerError | None:
    found = [error for error in errors if error is not None]
    return next((error for error in found if error.transient), found[0] if found else None)


def superseded(found: Iterable[Held]) -> frozenset[str]:
    """The ids of held messages that an amended one among these stands for: releasing both would do the work twice."""
    return frozenset(
        entry.message
        for held in found
        for entry in _amendments(held)
        if entry.message is not None and entry.message != held.message.message_id
    )


def _amendments(held: Held) -> list[Entry]:
    text = held.message.headers.get(STAMP)
    if not isinstance(text, str) or repair.AMEND not in text:
        return []
    try:
        return [entry for entry in parse(text.encode()).history if entry.step.startswith(repair.AMEND)]
    except (Theirs, ValueError):
        return []


async def release(
    broker: Broker,
    service: str,
    wanted: Callable[[Held], bool],
    target: Callable[[Held], tuple[str, str] | None],
    *,
    now: float,
    note: str = "",
) -> list[Held]:
    """Send wanted messages on their way again and take them out of the held queue; those that went are returned.

    `target` gives exchange and routing key, resolved from what the caller knows, never from the message alone;
    `None` leaves the message held, as does a message that an amended one stands for. `note` is kept in the journal.
    Raises the `BrokerError` that kept a message in the queue.
    """

    def plan(found: Sequence[Held]) -> Iterator[Move]:
        old = superseded(found)
        for held in found:
            goal = target(held) if wanted(held) and held.message.message_id not in old else None
            if goal is not None:
                yield Move(held, [onward(held, goal)], note)

    outcomes = await carry_out(broker, service, plan, now=now)
    for _, error in outcomes:
        if error is not None:
            raise error
    return [move.held for move, _ in outcomes]


def onward(held: Held, goal: tuple[str, str]) -> Publication:
    """The original, on its way to where it belongs: same bytes, same id."""
    return Publication(*goal, parking.sendable(held.original()))


def again(held: Held, message: Message, *, service: str) -> Publication:
    """Another message held in this one's place, under the same note."""
    headers = held.message.headers
    origin = {
        name: value
        for name in (parking.QUEUE, parking.EXCHANGE, parking.KEY)
        if isinstance(value := headers.get(name), str)
    }
    if parking.QUEUE not in origin and held.queue:
        origin[parking.QUEUE] = held.queue
    return parking.park(
        message,
        service=service,
        reason=held.reason,
        detail=held.detail,
        now=held.at / 1000,
        origin=origin,
        trace=held.trace,
    )


def own_queue(queues: Collection[str]) -> Callable[[Held], tuple[str, str] | None]:
    """Targets among these work queues of the service, through the default exchange."""

    def target(held: Held) -> tuple[str, str] | None:
        return ("", held.queue) if held.queue in queues else None

    return target


def own_station(
    stations: Sequence[Station], beside: Mapping[str, tuple[str, str]] = MappingProxyType({})
) -> Callable[[Held], tuple[str, str] | None]:
    """Targets among these stations and the queues beside them; a sharded one is entered where its run is now."""

    def target(held: Held) -> tuple[str, str] | None:
        station = None if held.queue in beside else shards.station_of(stations, held.queue)
        return beside.get(held.queue) if station is None else shards.entrance(station)

    return target


async def readmit(broker: Broker, me: Participant, *, now: float) -> list[Held]:
    """Release what was held because nobody knew it yet and this version now does."""
    if not await broker.depth(held_queue(me.name)):
        return []
    ledgers = {ledger_queue(me.name, name): versions for name, versions in me.owned.items()}

    def readable(held: Held) -> bool:
        if held.reason not in {TooNew.reason, UnknownWorkflow.reason}:
            return False
        station, ledger = shards.station_of(me.stations, held.queue), ledgers.get(held.queue)
        try:
            if ledger is not None:
                read_report(held.original(), ledger, me.codec)
            elif station is not None:
                me.codec.decode(held.original(), station.versions)
        except Theirs:
            return False
        return ledger is not None or station is not None

    return await release(broker, me.name, readable, own_station(me.stations, me.beside), now=now)
