"""What a dead process committed and never got confirmed goes out as soon as its delivery comes again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from brokers.memory import MemoryBroker
from stamp.beginning import begin
from stamp.codec import Codec
from stamp.decision import Done, Position, decide
from stamp.outgoing import publications
from stamp.stores.sqlite import SQLiteStore
from tests.runtime.test_lifecycle import TALK, Answered, Asked, Desk, until

RUN = "019a0000-0000-7000-8000-0000000000bb"
HOUR = 3600.0


async def died_after_its_commit(url: str) -> MemoryBroker:
    """A broker with the first message of a run, and a database in which a process committed its hop and died."""
    first = begin(TALK, Asked("a"), run=RUN, state={}, now=1.0)
    position = Position(step=TALK.step("answer"), action="do", message_id=first.messages[0].message_id)
    second = decide(TALK, first.stamp, position, Done(event=Answered("a"), state={}), 2.0)
    dead = SQLiteStore(url, lease=HOUR)
    await dead.open()
    async with dead.begin() as tx:
        await tx.first_seen("desk.TALK.answer", position.message_id, expires=None)
        await tx.emit(publications(second, TALK, Codec(), service="desk", now=2.0, trace={}), run=RUN)
    await dead.close()
    node = MemoryBroker()
    await node.open()
    await node.declare(Desk().service.topology())
    await node.publish(publications(first, TALK, Codec(), service="desk", now=1.0, trace={})[0])
    return node


def test_the_rows_of_a_dead_process_go_out_when_its_delivery_comes_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        url = f"sqlite:///{tmp_path}/desk.db"
        node, desk = await died_after_its_commit(url), Desk()
        async with desk.service.open(broker=node, store=url) as runtime:
            await until(lambda: desk.seen == ["a"])
            await runtime.store.flush()
            assert await runtime.store.backlog() == 0
        await node.close()

    asyncio.run(scenario())
