"""The chain as an application writes it on aio-pika: a callback a queue, publish, wait for the confirm, acknowledge."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue

from benchmarks import tickets
from benchmarks.tickets import Start

EXCHANGE = "BARE_TICKET"
PREFETCH = 128
"""What the toolkit's services ask for: twice a batch."""


class BareChain:
    """Four consumers, each on a connection of its own, as four services have it."""

    name = "bare aio-pika"
    end = (EXCHANGE, tickets.CHAIN[-1].__name__)
    """Exchange and routing key of the last message."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def round(
        self, runs: int, timer: Callable[[Awaitable[None]], Awaitable[dict[str, float]]]
    ) -> dict[str, float]:
        """Fill the first queue, then time how long all runs take through the four consumers."""
        ended = asyncio.Semaphore(0)
        async with self._consumers(ended) as (first, begin):
            await _fill(first, runs)
            return await timer(_carried(begin, ended, runs))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Callable[[int], Start]]:
        """The four consumers at work; what the block gets prepares one ticket."""
        async with self._consumers(asyncio.Semaphore(0)) as (first, begin):
            for consume in begin:
                await consume()
            yield lambda number: _start(first, number)

    @asynccontextmanager
    async def _consumers(
        self, ended: asyncio.Semaphore
    ) -> AsyncIterator[tuple[AbstractExchange, list[Callable[[], Awaitable[object]]]]]:
        connections = [await aio_pika.connect_robust(self._url) for _ in tickets.SERVICES]
        begin: list[Callable[[], Awaitable[object]]] = []
        exchanges = []
        try:
            for place, connection in enumerate(connections):
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                exchange, queue = await _declared(channel, place)
                begin.append(_consuming(queue, _handler(exchange, place, ended)))
                exchanges.append(exchange)
            yield exchanges[0], begin
        finally:
            for connection in connections:
                await connection.close()


async def _declared(channel: AbstractChannel, place: int) -> tuple[AbstractExchange, AbstractQueue]:
    await channel.set_qos(prefetch_count=PREFETCH)
    exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue(
        f"{tickets.SERVICES[place]}.{EXCHANGE}", durable=True, arguments={"x-queue-type": "quorum"}
    )
    await queue.bind(exchange, tickets.CHAIN[place].__name__)
    return exchange, queue


def _consuming(
    queue: AbstractQueue, callback: Callable[[AbstractIncomingMessage], Awaitable[None]]
) -> Callable[[], Awaitable[object]]:
    return lambda: queue.consume(callback)


def _handler(
    exchange: AbstractExchange, place: int, ended: asyncio.Semaphore
) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    key = tickets.CHAIN[place + 1].__name__
    last = place + 1 == len(tickets.SERVICES)

    async def handle(message: AbstractIncomingMessage) -> None:
        event = json.loads(message.body)
        await exchange.publish(_message(key, event, message.correlation_id), key, mandatory=not last)
        await message.ack()
        if last:
            ended.release()

    return handle


def _message(kind: str, event: dict[str, str], run: str | None) -> aio_pika.Message:
    return aio_pika.Message(
        json.dumps(event).encode(),
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        content_type="application/json",
        message_id=str(uuid.uuid4()),
        correlation_id=run,
        type=kind,
    )


def _start(exchange: AbstractExchange, number: int) -> Start:
    key, run = tickets.CHAIN[0].__name__, str(uuid.uuid4())
    message = _message(key, {"ticket_id": f"T-{number:06d}", "problem": tickets.problem(number)}, run)
    return Start(run, lambda: exchange.publish(message, key, mandatory=True))


async def _fill(exchange: AbstractExchange, runs: int) -> None:
    await asyncio.gather(*(_start(exchange, number).send() for number in range(runs)))


async def _carried(begin: list[Callable[[], Awaitable[object]]], ended: asyncio.Semaphore, runs: int) -> None:
    for consume in begin:
        await consume()
    for _ in range(runs):
        await ended.acquire()
