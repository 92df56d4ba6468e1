"""Declaring, deleting and counting."""

from __future__ import annotations

from brokers.conformance.site import Site, bodies, error_of, eventually, take
from brokers.contract import Binding, Declarable, Exchange, Publication, Queue
from brokers.errors import NotFound, TopologyMismatch, Unroutable


async def declaring_again_changes_nothing(site: Site) -> None:
    parts: list[Declarable] = [
        Exchange(site.name("events")),
        Queue(name=site.name("work"), delivery_limit=5, dead_letter_exchange="", dead_letter_key="grave"),
        Queue(name=site.name("rung"), ttl_ms=60_000, dead_letter_exchange=""),
        Binding(site.name("work"), site.name("events"), "a.#"),
    ]
    await site.broker.declare(parts)
    await site.broker.publish(Publication(site.name("events"), "a.b", site.message(b"kept")))
    await site.broker.declare(parts)
    assert bodies(await site.drained(site.name("work"), 1)) == [b"kept"]
    for label in ("work", "rung"):
        await site.broker.delete_queue(site.name(label))


async def a_queue_with_other_arguments_is_a_mismatch(site: Site) -> None:
    queue = await site.queue("work", ttl_ms=60_000)
    for other in (Queue(name=queue, ttl_ms=1000), Queue(name=queue), Queue(name=queue, ttl_ms=60_000, kind="classic")):
        error = await error_of(site.broker.declare([other]))
        assert isinstance(error, TopologyMismatch), error
        assert queue in str(error), error


async def an_exchange_of_another_kind_is_a_mismatch(site: Site) -> None:
    exchange = await site.exchange("events", "topic")
    error = await error_of(site.broker.declare([Exchange(exchange, "fanout")]))
    assert isinstance(error, TopologyMismatch), error
    assert exchange in str(error), error


async def a_mismatch_leaves_the_broker_usable(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue)
    await error_of(site.broker.declare([Queue(name=queue, delivery_limit=3)]))
    await site.send(queue, b"still here")
    held = await take(consumer, 1)
    await consumer.ack(held)
    assert bodies(held) == [b"still here"]
    await site.queue("another")


async def binding_what_is_missing_is_not_found(site: Site) -> None:
    exchange, queue = await site.exchange("events"), await site.queue("work")
    for binding in (Binding(site.name("missing"), exchange), Binding(queue, site.name("missing"))):
        error = await error_of(site.broker.declare([binding]))
        assert isinstance(error, NotFound), error


async def a_deleted_queue_takes_its_messages_along(site: Site) -> None:
    exchange = await site.exchange("events")
    queue = await site.bound("work", exchange)
    await site.send(queue, b"0", b"1")
    await site.broker.delete_queue(queue)
    error = await error_of(site.broker.publish(Publication(exchange, "key", site.message())))
    assert isinstance(error, Unroutable), error
    await site.queue("work")
    await site.holds(queue, 0)


async def deleting_a_missing_queue_is_no_error(site: Site) -> None:
    await site.broker.delete_queue(site.name("missing"))
    await site.queue("work")


async def depth_counts_ready_messages_and_touches_none(site: Site) -> None:
    queue = await site.queue("work")
    await site.holds(queue, 0)
    await site.send(queue, b"0", b"1", b"2")
    await site.holds(queue, 3)
    consumer = await site.broker.consume(queue, prefetch=1)
    (held,) = await take(consumer, 1)
    assert (held.message.body, held.redelivered) == (b"0", False)
    await site.holds(queue, 2)
    await consumer.ack([held])


async def the_depth_of_a_missing_queue_is_not_found(site: Site) -> None:
    error = await error_of(site.broker.depth(site.name("missing")))
    assert isinstance(error, NotFound), error
    queue = await site.queue("work")
    assert await site.broker.depth(queue) == 0


async def what_one_connection_declares_another_uses(site: Site) -> None:
    queue = await site.queue("work")
    other = await site.connect()
    await other.publish(site.to(queue, b"across"))
    assert bodies(await site.drained(queue, 1)) == [b"across"]


async def an_unused_queue_expires(site: Site) -> None:
    # Published to instead of looked at: on a classic queue every look renews the lease.
    queue = await site.queue("tap", kind="classic", expires_ms=150)

    async def gone() -> bool:
        (outcome,) = await site.broker.publish_all([site.to(queue)])
        return isinstance(outcome, Unroutable)

    await eventually(gone)
