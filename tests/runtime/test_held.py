"""Looking at held messages: exact, harmless, and never for ever."""

from __future__ import annotations

import asyncio

from brokers.contract import Message, Publication
from brokers.memory import MemoryBroker
from stamp import held
from stamp.layout import HELD, held_parts


async def parked(count: int) -> MemoryBroker:
    node = MemoryBroker()
    await node.open()
    await node.declare(held_parts("desk"))
    for number in range(count):
        await node.publish(Publication(HELD, "desk", Message(body=b"", message_id=f"m{number}")))
    return node


def test_a_look_leaves_the_queue_as_it_was() -> None:
    async def scenario() -> None:
        node = await parked(3)
        for _ in range(2):
            assert [one.message.message_id for one in await held.listed(node, "desk")] == ["m0", "m1", "m2"]
        assert await node.depth("stamp.held.desk") == 3

    asyncio.run(scenario())


def test_two_who_look_at_once_both_come_to_an_end() -> None:
    """The first takes one out; the second had counted on it and must not wait for it for ever."""

    async def scenario() -> None:
        node = await parked(2)
        async with asyncio.timeout(20):
            async with held.looking(node, "desk") as (consumer, found):
                second = asyncio.create_task(held.listed(node, "desk"))
                await asyncio.sleep(0)
                await consumer.ack([found[0].delivery])
            assert [one.message.message_id for one in await second] in (["m1"], [])

    asyncio.run(scenario())
