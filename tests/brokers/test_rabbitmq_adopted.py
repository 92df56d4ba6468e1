"""A channel that the application owns: the adapter publishes and settles on it and leaves it as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from brokers.contract import Message, Publication, Queue
from brokers.errors import ProtocolMisuse, TopologyMismatch, Unroutable
from brokers.rabbitmq import adopt
from brokers.registry import adopt as adopt_by_package
from tests.servers import Server


@asynccontextmanager
async def own_channel(url: str, *, returns_raise: bool = True, confirms: bool = True) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect_robust(url) as connection:
        yield await connection.channel(publisher_confirms=confirms, on_return_raises=returns_raise)


def test_a_channel_without_confirms_is_refused_with_the_fix(rabbitmq: Server) -> None:
    async def play() -> None:
        async with own_channel(rabbitmq.url, confirms=False, returns_raise=False) as channel:
            with pytest.raises(ProtocolMisuse, match="publisher_confirms=True"):
                adopt(channel)

    asyncio.run(play())


def test_the_registry_finds_the_adapter_by_the_channels_package(rabbitmq: Server) -> None:
    async def play() -> None:
        async with own_channel(rabbitmq.url) as channel:
            assert type(adopt_by_package(channel)) is type(adopt(channel))

    asyncio.run(play())


@pytest.mark.parametrize("returns_raise", [True, False], ids=["returns raise", "returns are handed back"])
def test_each_outcome_is_told_however_returns_are_reported(rabbitmq: Server, returns_raise: bool) -> None:
    async def play() -> None:
        queue = f"adopted.{uuid4().hex}"
        async with own_channel(rabbitmq.url, returns_raise=returns_raise) as channel:
            adopted = adopt(channel)
            await adopted.declare([Queue(name=queue)])
            burst = [Publication("", name, Message(body=b"", message_id=uuid4().hex)) for name in (queue, "nowhere")]
            outcomes = await adopted.publish_all(burst)
            await channel.queue_delete(queue)
            assert [type(outcome) for outcome in outcomes] == [type(None), Unroutable]

    asyncio.run(play())


def test_a_message_becomes_a_delivery_and_is_settled_on_its_own_channel(rabbitmq: Server) -> None:
    async def play() -> None:
        name = f"adopted.{uuid4().hex}"
        async with own_channel(rabbitmq.url) as channel:
            adopted = adopt(channel)
            await adopted.declare([Queue(name=name)])
            sent = Message(body=b"{}", message_id="m1", type="Created", headers={"stamp": "s"}, timestamp=1_767_225_600)
            await adopted.publish(Publication("", name, sent))
            queue = await channel.get_queue(name)
            first = await queue.get()
            delivery = adopted.delivery(first, name)
            assert (delivery.message.message_id, delivery.message.type, delivery.message.timestamp) == (
                sent.message_id,
                sent.type,
                sent.timestamp,
            )
            assert (delivery.message.headers["stamp"], delivery.queue, delivery.routing_key) == ("s", name, name)
            await adopted.requeue(first)
            second = await queue.get()
            again = adopted.delivery(second, name)
            assert (again.redelivered, again.delivery_count) == (True, 1)
            await adopted.ack(second)
            assert (await channel.queue_delete(name)).message_count == 0

    asyncio.run(play())


def test_a_mismatch_leaves_the_applications_channel_open(rabbitmq: Server) -> None:
    async def play() -> None:
        name = f"adopted.{uuid4().hex}"
        async with own_channel(rabbitmq.url) as channel:
            adopted = adopt(channel)
            await adopted.declare([Queue(name=name)])
            with pytest.raises(TopologyMismatch, match=name):
                await adopted.declare([Queue(name=name, ttl_ms=5)])
            assert not channel.is_closed
            await channel.queue_delete(name)

    asyncio.run(play())


def test_settling_after_the_channel_is_gone_is_skipped(rabbitmq: Server) -> None:
    async def play() -> None:
        name = f"adopted.{uuid4().hex}"
        async with own_channel(rabbitmq.url) as channel:
            adopted = adopt(channel)
            await adopted.declare([Queue(name=name)])
            await adopted.publish(Publication("", name, Message(body=b"", message_id="m1")))
            message = await (await channel.get_queue(name)).get()
            await channel.close()
            await adopted.ack(message)
        async with own_channel(rabbitmq.url) as channel:
            assert (await channel.queue_delete(name)).message_count == 1

    asyncio.run(play())
