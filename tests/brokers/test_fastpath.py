"""The fast path is chosen only where the inside of the client library is known."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from brokers.contract import Message, Publication, Queue
from brokers.rabbitmq import RabbitBroker, choice
from brokers.rabbitmq.fastpath import FastWire
from brokers.rabbitmq.wire import PlainWire
from tests.servers import Server


def test_the_installed_client_library_is_a_known_one() -> None:
    assert isinstance(choice.best_wire(), FastWire)


def test_an_unknown_client_library_gets_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "version", lambda _: "8.0.0")
    assert isinstance(choice.best_wire(), PlainWire)


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_large_bodies_are_written_in_pieces_and_arrive_whole(rabbitmq: Server, fast: bool) -> None:
    async def play() -> None:
        name = f"large.{uuid4().hex}"
        bodies = [bytes([n]) * 300_000 for n in range(5)] + [b"", b"small"]
        broker = RabbitBroker(rabbitmq.url, fast=fast)
        await broker.open()
        await broker.declare([Queue(name=name)])
        burst = [Publication("", name, Message(body=body, message_id=uuid4().hex)) for body in bodies]
        assert list(await broker.publish_all(burst)) == [None] * len(bodies)
        consumer = await broker.consume(name)
        got: list[bytes] = []
        while len(got) < len(bodies):
            got += [delivery.message.body for delivery in await consumer.receive(10)]
        await broker.delete_queue(name)
        await broker.close()
        assert got == bodies

    asyncio.run(play())
