"""The ticket chain on FastStream: a subscriber a service, its return value published before the acknowledgement."""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# The library lies in an environment of its own.
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from pydantic import BaseModel

from benchmarks.peers.watch import Task, Watch, task, tell
from benchmarks.texts import SERVICES, problem

PREFETCH = 128
EXCHANGE = RabbitExchange("FASTSTREAM_TICKET", type=ExchangeType.TOPIC, durable=True)


class Ticket(BaseModel):
    """The event; each service passes it on."""

    ticket_id: str
    problem: str


def broker(url: str) -> RabbitBroker:
    """A broker whose confirms are awaited, and which raises when a message comes back."""
    channel = Channel(prefetch_count=PREFETCH, publisher_confirms=True, on_return_raises=True)
    return RabbitBroker(url, default_channel=channel, logger=None, log_level=logging.ERROR)


def queue(place: int) -> RabbitQueue:
    """The quorum queue of a service."""
    return RabbitQueue(
        f"{SERVICES[place]}.FASTSTREAM", queue_type=QueueType.QUORUM, durable=True, routing_key=f"event{place}"
    )


def service(url: str, place: int, ended: Callable[[], None]) -> RabbitBroker:
    """One service with a broker object of its own."""
    own = broker(url)
    last = place + 1 == len(SERVICES)

    @own.subscriber(queue(place), EXCHANGE)
    @own.publisher(exchange=EXCHANGE, routing_key=f"event{place + 1}", persist=True, mandatory=not last)
    async def handle(ticket: Ticket) -> Ticket:
        if last:
            ended()
        return ticket

    return own


async def carry(work: Task) -> dict[str, float]:
    """Declare by starting once, fill, start, and wait for the last ticket."""
    counted = asyncio.Semaphore(0)
    await _once(work.url, counted.release)
    await _fill(work)
    services = [service(work.url, place, counted.release) for place in range(len(SERVICES))]
    watch = Watch(work)
    await _all(one.start() for one in services)
    for _ in range(work.runs):
        await counted.acquire()
    sample = watch.stop()
    await _all(one.stop() for one in services)
    return sample


async def _once(url: str, ended: Callable[[], None]) -> None:
    services = [service(url, place, ended) for place in range(len(SERVICES))]
    await _all(one.start() for one in services)
    await _all(one.stop() for one in services)


async def _fill(work: Task) -> None:
    async with broker(work.url) as publisher:
        tickets = [Ticket(ticket_id=f"T-{number:06d}", problem=problem(number)) for number in range(work.runs)]
        await _all(
            publisher.publish(ticket, exchange=EXCHANGE, routing_key="event0", persist=True) for ticket in tickets
        )


async def _all(work: Iterable[Awaitable[object]]) -> None:
    await asyncio.gather(*work)


if __name__ == "__main__":
    tell(asyncio.run(carry(task())), "faststream", "aio-pika")
