"""What goes wrong while a service mends something else does not end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from brokers.clock import SystemClock
from brokers.contract import Declarable, Publication
from brokers.errors import BrokerUnreachable, Unroutable
from brokers.memory import MemoryBroker
from stamp.events import Resumed
from stamp.nostore import NoStore
from stamp.relay import Relay
from stamp.sending import Sender, Teller
from stamp.starting import start_run
from tests.runtime.test_lifecycle import TALK, Asked, Desk, until
from tests.runtime.test_sending import Scripted, publication


class Leaving(MemoryBroker):
    """A broker that is out of reach for the next `away` declarations."""

    away = 0

    async def declare(self, parts: Iterable[Declarable]) -> None:
        if self.away:
            self.away -= 1
            raise BrokerUnreachable("gone for a moment")
        await super().declare(parts)


@asynccontextmanager
async def leaving() -> AsyncIterator[Leaving]:
    node = Leaving()
    await node.open()
    yield node
    await node.close()


def test_a_broker_that_goes_away_while_a_deleted_queue_is_declared_again_is_waited_for() -> None:
    async def scenario() -> None:
        desk = Desk()
        async with leaving() as node, desk.service.open(broker=node):
            node.away = 2
            await node.delete_queue("desk.TALK.answer")
            await until(lambda: any(isinstance(fact, Resumed) for fact in desk.facts))
            await start_run(desk.service, TALK, Asked("late"))
            await until(lambda: desk.seen == ["late"])

    asyncio.run(scenario())


class Confused(NoStore):
    """A store that fails once in a way that nobody thought of, and then has a row for the relay."""

    def __init__(self) -> None:
        self.claims = 0

    async def claim(self, limit: int, *, lease: float) -> Sequence[Publication]:
        self.claims += 1
        if self.claims == 1:
            raise RuntimeError("a bug of the driver")
        return [publication("left behind")] if self.claims == 2 else []


def test_an_error_that_nobody_thought_of_does_not_end_the_relay() -> None:
    async def scenario() -> None:
        store, publisher = Confused(), Scripted([])
        sender = Sender(service="s", broker=publisher, store=store, clock=SystemClock(), tell=Teller())  # type: ignore[arg-type]
        relay = Relay(service="s", store=store, sender=sender, clock=SystemClock(), tell=Teller(), interval=0.001)
        running = asyncio.create_task(relay.run())
        await until(lambda: len(publisher.bursts) == 1)
        running.cancel()

    asyncio.run(scenario())


async def _sent(publisher: Scripted, *, journal: bool) -> None:
    sender = Sender(
        service="s",
        broker=publisher,  # type: ignore[arg-type]
        store=NoStore(),
        clock=SystemClock(),
        tell=Teller(),
        journal=journal,
    )
    await sender.send([replace(publication("end"), mandatory=False)])


def test_the_end_of_a_run_that_a_journal_without_a_leader_did_not_take_goes_again() -> None:
    publisher = Scripted([[Unroutable("no leader yet")]])
    asyncio.run(_sent(publisher, journal=True))
    assert [[(item.exchange, item.mandatory) for item in burst] for burst in publisher.bursts] == [[("W", True)]] * 2


def test_without_a_journal_nobody_needs_to_take_the_end_of_a_run() -> None:
    publisher = Scripted([])
    asyncio.run(_sent(publisher, journal=False))
    assert [[item.mandatory for item in burst] for burst in publisher.bursts] == [[False]]
