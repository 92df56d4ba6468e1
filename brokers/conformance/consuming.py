"""What a consumer promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from brokers.conformance.site import Site, bodies, error_of, take
from brokers.errors import NotFound

if TYPE_CHECKING:
    from brokers.contract import Consumer


async def a_first_delivery_is_fresh(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"one")
    (delivery,) = await site.drained(queue, 1)
    assert (delivery.redelivered, delivery.delivery_count) == (False, 0)


async def receive_waits_for_the_first_delivery(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue)
    waiting = asyncio.ensure_future(consumer.receive(10))
    await asyncio.sleep(0)
    await site.send(queue, b"late")
    assert bodies(await waiting) == [b"late"]


async def receive_returns_no_more_than_its_limit(site: Site) -> None:
    queue = await site.queue("work")
    sent = [str(n).encode() for n in range(10)]
    await site.send(queue, *sent)
    consumer = await site.broker.consume(queue)
    got: list[bytes] = []
    while len(got) < len(sent):
        batch = await consumer.receive(3)
        assert 1 <= len(batch) <= 3, batch
        got += bodies(batch)
    assert got == sent


async def receive_returns_together_what_already_waits(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue, prefetch=100)
    for _ in range(50):
        await site.send(queue, *[b"many"] * 20)
        if await _largest_batch(consumer, 20) > 1:
            return
    raise AssertionError("50 bursts of 20 messages came one at a time")


async def several_tasks_share_the_deliveries_of_a_consumer(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue)
    waiting = [asyncio.ensure_future(consumer.receive(1)) for _ in range(5)]
    await asyncio.sleep(0)
    await site.send(queue, b"0", b"1", b"2", b"3", b"4")
    batches = await asyncio.gather(*waiting)
    assert sorted(body for batch in batches for body in bodies(batch)) == [b"0", b"1", b"2", b"3", b"4"]


async def a_cancelled_receive_loses_nothing(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue)
    given_up = asyncio.ensure_future(consumer.receive(1))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    await site.send(queue, b"one")
    assert bodies(await take(consumer, 1)) == [b"one"]


async def prefetch_bounds_what_is_unsettled(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"0", b"1", b"2", b"3", b"4")
    consumer = await site.broker.consume(queue, prefetch=2)
    held = await take(consumer, 2)
    await site.holds(queue, 3)
    await consumer.ack(held[:1])
    held += await take(consumer, 1)
    assert bodies(held) == [b"0", b"1", b"2"]
    await site.holds(queue, 2)


async def requeue_and_reject_free_the_prefetch_too(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"0", b"1")
    consumer = await site.broker.consume(queue, prefetch=1)
    await consumer.reject(await take(consumer, 1))
    await consumer.requeue(await take(consumer, 1))
    assert bodies(await take(consumer, 1)) == [b"1"]


async def acknowledged_messages_are_forgotten(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"0", b"1", b"2", b"3")
    consumer = await site.broker.consume(queue)
    held = await take(consumer, 4)
    await consumer.ack([held[3], held[1]])
    await consumer.ack([held[0]])
    await consumer.close()
    await site.holds(queue, 1)
    assert bodies(await site.drained(queue, 1)) == [b"2"]


async def settling_nothing_is_no_error(site: Site) -> None:
    consumer = await site.broker.consume(await site.queue("work"))
    await consumer.ack([])
    await consumer.requeue([])
    await consumer.reject([])


async def a_requeued_message_comes_again_marked(site: Site) -> None:
    queue = await site.queue("work")
    await site.broker.publish(site.to(queue, b"again", headers={"stamp": "same"}, type="Event"))
    consumer = await site.broker.consume(queue)
    first = await take(consumer, 1)
    await consumer.requeue(first)
    second = await take(consumer, 1)
    assert [d.redelivered for d in first + second] == [False, True]
    before, after = first[0].message, second[0].message
    assert (after.body, after.message_id, after.type) == (before.body, before.message_id, before.type)
    assert after.headers["stamp"] == "same"


async def every_redelivery_is_counted(site: Site) -> None:
    if not site.broker.capabilities.delivery_count:
        return
    queue = await site.queue("work", delivery_limit=50)
    await site.send(queue, b"again")
    consumer = await site.broker.consume(queue)
    counts: list[int] = []
    for _ in range(4):
        (delivery,) = await take(consumer, 1)
        counts.append(delivery.delivery_count)
        await consumer.requeue([delivery])
    assert counts == [0, 1, 2, 3]


async def two_consumers_share_a_queue(site: Site) -> None:
    queue = await site.queue("work")
    left = await site.broker.consume(queue, prefetch=5)
    right = await site.broker.consume(queue, prefetch=5)
    await site.send(queue, *[str(n).encode() for n in range(10)])
    got = await take(left, 5) + await take(right, 5)
    assert sorted(bodies(got)) == [str(n).encode() for n in range(10)]


async def what_one_consumer_gives_back_another_gets(site: Site) -> None:
    queue = await site.queue("work")
    left = await site.broker.consume(queue)
    await site.send(queue, b"one")
    await take(left, 1)
    right = await site.broker.consume(queue)
    await left.close()
    (delivery,) = await take(right, 1)
    assert (delivery.message.body, delivery.redelivered) == (b"one", True)


async def settling_twice_is_harmless(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue)
    await site.send(queue, b"one")
    done = await take(consumer, 1)
    await consumer.ack(done)
    await consumer.ack(done)
    await consumer.requeue(done)
    await consumer.reject(done)
    await site.send(queue, b"two")
    assert bodies(await take(consumer, 1)) == [b"two"]


async def settling_what_another_consumer_holds_is_harmless(site: Site) -> None:
    queue, other = await site.queue("work"), await site.queue("other")
    mine, theirs = await site.broker.consume(queue), await site.broker.consume(other)
    await site.send(queue, b"mine")
    await site.send(other, b"theirs")
    held = await take(mine, 1)
    await take(theirs, 1)
    await theirs.ack(held)
    await theirs.close()
    await mine.close()
    await site.holds(queue, 1)
    await site.holds(other, 1)


async def stop_leaves_received_deliveries_to_be_settled(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"0", b"1", b"2")
    consumer = await site.broker.consume(queue)
    held = await take(consumer, 2)
    await consumer.stop()
    assert list(await consumer.receive(10)) == []
    await consumer.ack(held[:1])
    await consumer.requeue(held[1:])
    await site.holds(queue, 2)
    await consumer.close()
    assert sorted(bodies(await site.drained(queue, 2))) == [b"1", b"2"]


async def stop_gives_back_what_was_prefetched(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"0", b"1", b"2", b"3", b"4")
    consumer = await site.broker.consume(queue, prefetch=4)
    await take(consumer, 1)
    await consumer.stop()
    await site.holds(queue, 4)


async def stop_ends_a_waiting_receive(site: Site) -> None:
    consumer = await site.broker.consume(await site.queue("work"))
    waiting = [asyncio.ensure_future(consumer.receive(1)) for _ in range(2)]
    await asyncio.sleep(0)
    await consumer.stop()
    assert [list(batch) for batch in await asyncio.gather(*waiting)] == [[], []]


async def close_gives_back_everything_unsettled(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"0", b"1", b"2")
    consumer = await site.broker.consume(queue)
    held = await take(consumer, 2)
    await consumer.ack(held[:1])
    await consumer.close()
    await consumer.close()
    assert list(await consumer.receive(1)) == []
    await site.holds(queue, 2)
    again = await site.drained(queue, 2)
    assert {d.message.body: d.redelivered for d in again}[b"1"] is True


async def settling_after_close_is_harmless(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"one")
    consumer = await site.broker.consume(queue)
    held = await take(consumer, 1)
    await consumer.close()
    await consumer.ack(held)
    await site.holds(queue, 1)


async def a_closed_broker_gives_back_what_it_held(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"0", b"1")
    dying = await site.connect()
    held = await take(await dying.consume(queue), 2)
    assert bodies(held) == [b"0", b"1"]
    await dying.close()
    again = await site.drained(queue, 2)
    assert sorted((d.message.body, d.redelivered) for d in again) == [(b"0", True), (b"1", True)]


async def a_closed_broker_ends_its_consumers(site: Site) -> None:
    queue = await site.queue("work")
    dying = await site.connect()
    consumer = await dying.consume(queue)
    waiting = asyncio.ensure_future(consumer.receive(1))
    await asyncio.sleep(0)
    await dying.close()
    await dying.close()
    assert list(await waiting) == []


async def consuming_a_missing_queue_is_not_found(site: Site) -> None:
    error = await error_of(site.broker.consume(site.name("missing")))
    assert isinstance(error, NotFound), error
    assert site.name("missing") in str(error)


async def a_consumer_learns_that_its_queue_is_gone(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue)
    waiting = asyncio.ensure_future(consumer.receive(1))
    await asyncio.sleep(0)
    await site.broker.delete_queue(queue)
    error = await error_of(waiting)
    assert isinstance(error, NotFound), error


async def a_consumer_names_its_queue(site: Site) -> None:
    queue = await site.queue("work")
    assert (await site.broker.consume(queue)).queue == queue


async def _largest_batch(consumer: Consumer, number: int) -> int:
    largest = 0
    while number:
        batch = await consumer.receive(number)
        await consumer.ack(batch)
        number -= len(batch)
        largest = max([largest, len(batch)])
    return largest
