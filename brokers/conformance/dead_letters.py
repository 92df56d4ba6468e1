"""What becomes of messages that were rejected, expired or delivered too often."""

from __future__ import annotations

from typing import Any

from brokers.conformance.site import Site, bodies, take
from brokers.contract import Delivery, Publication

SHORT_MS = 60


async def a_rejected_message_is_dead_lettered_with_its_key(site: Site) -> None:
    dead = await site.exchange("dead", "topic")
    grave = await site.bound("grave", dead, key="ticket.created")
    events = await site.exchange("events")
    queue = await site.bound("work", events, dead_letter_exchange=dead)
    await site.broker.publish(Publication(events, "ticket.created", site.message(b"bad", headers={"stamp": "same"})))
    await _reject(site, queue)
    (delivery,) = await site.drained(grave, 1)
    assert (delivery.message.body, delivery.routing_key, delivery.exchange) == (b"bad", "ticket.created", dead)
    assert delivery.message.headers["stamp"] == "same"
    assert _first_death(delivery) == ("rejected", queue)


async def a_dead_letter_key_replaces_the_routing_key(site: Site) -> None:
    grave = await site.queue("grave")
    queue = await site.queue("work", dead_letter_exchange="", dead_letter_key=grave)
    await site.send(queue, b"bad")
    await _reject(site, queue)
    (delivery,) = await site.drained(grave, 1)
    assert (delivery.message.body, delivery.routing_key) == (b"bad", grave)


async def a_rejected_message_without_a_dead_letter_rule_is_gone(site: Site) -> None:
    queue = await site.queue("work")
    await site.send(queue, b"bad", b"good")
    consumer = await site.broker.consume(queue, prefetch=1)
    await consumer.reject(await take(consumer, 1))
    assert bodies(await take(consumer, 1)) == [b"good"]
    await consumer.close()
    await site.holds(queue, 1)


async def the_delivery_limit_dead_letters(site: Site) -> None:
    grave = await site.queue("grave")
    queue = await site.queue("work", delivery_limit=2, dead_letter_exchange="", dead_letter_key=grave)
    await site.send(queue, b"poison")
    consumer = await site.broker.consume(queue)
    for _ in range(3):
        await consumer.requeue(await take(consumer, 1))
    (delivery,) = await site.drained(grave, 1)
    assert delivery.message.body == b"poison"
    assert _first_death(delivery) == ("delivery_limit", queue)
    await site.holds(queue, 0)


async def a_message_below_the_delivery_limit_stays(site: Site) -> None:
    queue = await site.queue("work", delivery_limit=2)
    await site.send(queue, b"patient")
    consumer = await site.broker.consume(queue)
    for _ in range(2):
        await consumer.requeue(await take(consumer, 1))
    (delivery,) = await take(consumer, 1)
    assert (delivery.message.body, delivery.delivery_count) == (b"patient", 2)


async def a_delay_ladder_returns_the_message_to_its_queue(site: Site) -> None:
    queue = await site.queue("work")
    rung = await _rung(site, "rung")
    sent = site.message(b"later", headers={"stamp": "same", "stamp_attempt": 2}, type="Event")
    await site.broker.publish(Publication(rung, queue, sent))
    (delivery,) = await site.drained(queue, 1)
    got = delivery.message
    assert (got.body, got.message_id, got.type) == (sent.body, sent.message_id, sent.type)
    assert (got.headers["stamp"], got.headers["stamp_attempt"]) == ("same", 2)
    assert (delivery.routing_key, delivery.exchange, delivery.redelivered) == (queue, "", False)
    assert _first_death(delivery) == ("expired", site.name("rung"))


async def an_expired_message_is_no_longer_ready(site: Site) -> None:
    queue = await site.queue("short", ttl_ms=SHORT_MS)
    await site.send(queue, b"0", b"1")
    await site.holds(queue, 0)


async def a_message_waits_in_its_delay_queue(site: Site) -> None:
    queue = await site.queue("work")
    rung = await _rung(site, "rung", ttl_ms=600_000)
    await site.broker.publish(Publication(rung, queue, site.message(b"much later")))
    await site.holds(site.name("rung"), 1)
    await site.holds(queue, 0)


async def expired_messages_keep_their_order(site: Site) -> None:
    queue = await site.queue("work")
    rung = await _rung(site, "rung")
    sent = [str(n).encode() for n in range(20)]
    await site.broker.publish_all([Publication(rung, queue, site.message(body)) for body in sent])
    assert bodies(await site.drained(queue, 20)) == sent


async def two_delays_in_a_row_lose_nothing_though_headers_are_copied(site: Site) -> None:
    # The second round would come back into `second` with its old x-death: a cycle, dropped without a word.
    queue = await site.queue("work")
    last = await _rung(site, "second")
    first = await _rung(site, "first", to=last)
    headers: dict[str, Any] = {"stamp": "same"}
    for _ in range(3):
        await site.broker.publish(Publication(first, queue, site.message(b"again", headers=headers)))
        (delivery,) = await site.drained(queue, 1)
        headers = dict(delivery.message.headers)
    assert headers["stamp"] == "same"


async def dead_lettering_at_least_once_delivers(site: Site) -> None:
    if not site.broker.capabilities.at_least_once_dead_lettering:
        return
    grave = await site.queue("grave")
    queue = await site.queue("work", dead_letter_exchange="", dead_letter_key=grave, at_least_once=True)
    await site.send(queue, b"0", b"1", b"2")
    consumer = await site.broker.consume(queue)
    await consumer.reject(await take(consumer, 3))
    assert sorted(bodies(await site.drained(grave, 3))) == [b"0", b"1", b"2"]


async def a_dead_letter_reaches_every_queue_of_its_exchange(site: Site) -> None:
    dead = await site.exchange("dead", "fanout")
    graves = [await site.bound(label, dead) for label in ("grave", "log")]
    queue = await site.queue("work", dead_letter_exchange=dead)
    await site.send(queue, b"bad")
    await _reject(site, queue)
    for grave in graves:
        assert bodies(await site.drained(grave, 1)) == [b"bad"]


async def _rung(site: Site, label: str, *, ttl_ms: int = SHORT_MS, to: str = "") -> str:
    exchange = await site.exchange(label, "fanout")
    await site.bound(label, exchange, ttl_ms=ttl_ms, dead_letter_exchange=to)
    return exchange


async def _reject(site: Site, queue: str) -> None:
    consumer = await site.broker.consume(queue)
    await consumer.reject(await take(consumer, 1))
    await consumer.close()


def _first_death(delivery: Delivery) -> tuple[Any, Any]:
    headers = delivery.message.headers
    assert headers.get("x-death"), headers
    return headers.get("x-first-death-reason"), headers.get("x-first-death-queue")
