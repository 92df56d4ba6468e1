"""What survives a connection that is lost under an open broker; these scenarios need `cut`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from brokers.conformance.site import Site, bodies, eventually, take

if TYPE_CHECKING:
    from brokers.contract import Publication


async def a_consumer_lives_through_a_lost_connection(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue)
    await site.cut()
    await _publish_when_back(site, site.to(queue, b"after"))
    assert bodies(await take(consumer, 1)) == [b"after"]


async def what_was_unsettled_comes_again_after_a_lost_connection(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"one")
    consumer = await site.broker.consume(queue)
    lost = await take(consumer, 1)
    await site.cut()
    again = await take(consumer, 1)
    assert [(d.message.body, d.redelivered) for d in lost + again] == [(b"one", False), (b"one", True)]


async def settling_a_delivery_of_a_lost_connection_is_skipped(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"one")
    consumer = await site.broker.consume(queue)
    lost = await take(consumer, 1)
    await site.cut()
    again = await take(consumer, 1)
    await consumer.ack(lost)
    await consumer.requeue(again)
    assert bodies(await take(consumer, 1)) == [b"one"]


async def a_waiting_receive_outlasts_a_lost_connection(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue)
    waiting = asyncio.ensure_future(consumer.receive(1))
    await asyncio.sleep(0)
    await site.cut()
    await _publish_when_back(site, site.to(queue, b"after"))
    assert bodies(await waiting) == [b"after"]


async def _publish_when_back(site: Site, publication: Publication) -> None:
    async def confirmed() -> bool:
        (outcome,) = await site.broker.publish_all([publication])
        assert outcome is None or outcome.transient, outcome
        return outcome is None

    await eventually(confirmed)
