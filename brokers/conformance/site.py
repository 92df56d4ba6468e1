"""Where a scenario runs: an open broker, names of its own, and short words for what scenarios do often."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import count
from typing import Any, Literal
from uuid import uuid4

from brokers.contract import (
    Binding,
    Broker,
    Consumer,
    Delivery,
    Exchange,
    Message,
    Publication,
    Queue,
    Reader,
    Recorded,
)
from brokers.errors import BrokerError

BrokerFactory = Callable[[], AbstractAsyncContextManager[Broker]]
"""Each call gives one more open connection to the same node; leaving the block closes it."""

Cut = Callable[[Broker], Awaitable[None]]
"""Breaks the connections of an open broker from outside, as a lost network would."""

Kind = Literal["topic", "direct", "fanout", "x-consistent-hash"]
HashOn = Literal["correlation_id", "message_id"] | None

POLL_SECONDS = 0.01


class Site:
    """One scenario's corner of a node that others may use at the same time."""

    def __init__(self, broker: Broker, factory: BrokerFactory, stack: AsyncExitStack, *, cut: Cut | None) -> None:
        self.broker = broker
        self._factory = factory
        self._stack = stack
        self._cut = cut
        self._prefix = f"conformance.{uuid4().hex[:12]}"
        self._queues: list[str] = []
        self._ids = count()

    def name(self, label: str) -> str:
        """The same label gives the same name within the scenario, and a name of its own elsewhere."""
        return f"{self._prefix}.{label}"

    async def connect(self) -> Broker:
        """Open one more broker on the same node; it closes with the scenario."""
        return await self._stack.enter_async_context(self._factory())

    async def cut(self) -> None:
        """Break the connections of the scenario's first broker."""
        assert self._cut is not None, "pass cut= to run_scenario"
        await self._cut(self.broker)

    async def exchange(self, label: str, kind: Kind = "topic", *, hash_on: HashOn = None) -> str:
        """Declare an exchange; its name."""
        await self.broker.declare([Exchange(self.name(label), kind, hash_on)])
        return self.name(label)

    async def queue(self, label: str, **options: Any) -> str:
        """Declare a queue with the options of `Queue`; its name."""
        self._queues.append(self.name(label))
        await self.broker.declare([Queue(name=self.name(label), **options)])
        return self.name(label)

    async def bound(self, label: str, exchange: str, *, key: str = "#", **options: Any) -> str:
        """Declare a queue and bind it; its name."""
        queue = await self.queue(label, **options)
        await self.broker.declare([Binding(queue, exchange, key)])
        return queue

    def message(self, body: bytes = b"", **properties: Any) -> Message:
        """A message with an id of its own."""
        return Message(body=body, message_id=f"{self._prefix}-{next(self._ids)}", **properties)

    def to(self, queue: str, body: bytes = b"", **properties: Any) -> Publication:
        """A message for this queue, through the default exchange."""
        return Publication("", queue, self.message(body, **properties))

    async def send(self, queue: str, *bodies: bytes) -> None:
        """Publish one message a body to this queue, confirmed, in order."""
        outcomes = await self.broker.publish_all([self.to(queue, body) for body in bodies])
        assert list(outcomes) == [None] * len(bodies), outcomes

    async def holds(self, queue: str, ready: int) -> None:
        """Wait until the queue has exactly so many ready messages."""

        async def settled() -> bool:
            return await self.broker.depth(queue) == ready

        await eventually(settled)

    async def drained(self, queue: str, number: int) -> list[Delivery]:
        """Take and acknowledge so many messages of a queue."""
        consumer = await self.broker.consume(queue, prefetch=number)
        deliveries = await take(consumer, number)
        await consumer.ack(deliveries)
        await consumer.close()
        return deliveries

    async def clean(self) -> None:
        """Delete the scenario's queues, so that a shared node does not fill up."""
        for queue in self._queues:
            await self.broker.delete_queue(queue)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds; the scenario's deadline ends the wait."""
    while not await condition():  # noqa: ASYNC110 - the state is the broker's, it sets no event here
        await asyncio.sleep(POLL_SECONDS)


async def take(consumer: Consumer, number: int) -> list[Delivery]:
    """Receive exactly so many deliveries, in however many batches."""
    taken: list[Delivery] = []
    while len(taken) < number:
        batch = await consumer.receive(number - len(taken))
        assert batch, f"the consumer ended after {len(taken)} of {number} deliveries"
        taken += batch
    return taken


async def records(reader: Reader, number: int) -> list[Recorded]:
    """Receive exactly so many records, in however many batches."""
    taken: list[Recorded] = []
    while len(taken) < number:
        batch = await reader.receive(number - len(taken))
        assert batch, f"the reader ended after {len(taken)} of {number} records"
        taken += batch
    return taken


async def error_of(call: Awaitable[object]) -> BrokerError:
    """The broker error that this call raises; fails when it raises none."""
    try:
        await call
    except BrokerError as error:
        return error
    raise AssertionError("no BrokerError was raised")


def bodies(items: Sequence[Delivery] | Sequence[Recorded]) -> list[bytes]:
    """The bodies, in order."""
    return [item.message.body for item in items]
