"""Held messages: what waits for a deploy or a person, whole, and how it goes on.

Looking takes the queue's messages unsettled and gives them back in order. That touches no live consumer, because
nobody consumes a held queue, and its delivery limit is out of reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from brokers.contract import Broker, Consumer, Delivery, Message, Publication
from stamp import parking
from stamp.codec import Codec
from stamp.errors import Theirs, TooNew, UnknownWorkflow
from stamp.layout import HELD_PREFETCH, held_queue
from stamp.trip import Station

PATIENCE = 3.0
"""Seconds without a further message after which a look takes what it has."""

BROKER_REASONS = {"delivery_limit": "delivery-limit", "rejected": "rejected", "expired": "expired"}


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
    `None` leaves the message held. `note` is kept in the journal. Published before it is taken out: a crash in
    between releases it twice, with the same message id, and the inbox drops the second.
    """
    gone: list[Held] = []
    async with looking(broker, service) as (consumer, found):
        for held in found:
            goal = target(held) if wanted(held) else None
            if goal is not None:
                await broker.publish_all([parking.released(held.message, service=service, now=now, note=note)])
                await broker.publish(Publication(*goal, parking.sendable(held.original())))
                await consumer.ack([held.delivery])
                gone.append(held)
    return gone


def own_queue(queues: Collection[str]) -> Callable[[Held], tuple[str, str] | None]:
    """Targets among these work queues of the service, through the default exchange."""

    def target(held: Held) -> tuple[str, str] | None:
        return ("", held.queue) if held.queue in queues else None

    return target


async def readmit(broker: Broker, service: str, stations: Sequence[Station], codec: Codec, *, now: float) -> list[Held]:
    """Release what was held because nobody knew it yet and this version now does."""
    if not await broker.depth(held_queue(service)):
        return []
    by_queue = {station.queue: station for station in stations}

    def readable(held: Held) -> bool:
        station = by_queue.get(held.queue)
        if station is None or held.reason not in {TooNew.reason, UnknownWorkflow.reason}:
            return False
        try:
            codec.decode(held.original(), station.versions)
        except Theirs:
            return False
        return True

    return await release(broker, service, readable, own_queue(by_queue), now=now)
