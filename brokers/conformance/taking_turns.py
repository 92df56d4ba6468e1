"""Queues with one active consumer, and exchanges behind exchanges."""

from __future__ import annotations

import asyncio

from brokers.conformance.site import Site, bodies, error_of, take
from brokers.contract import Binding, Consumer, Delivery, ExchangeBinding, Publication
from brokers.errors import NotFound, Unroutable


async def the_first_consumer_gets_everything(site: Site) -> None:
    queue, first, second = await _two_consumers(site)
    await site.send(queue, b"0", b"1", b"2")
    taken = await take(first, 3)
    await first.ack(taken)
    await site.send(queue, b"3")
    again = await take(first, 1)
    assert bodies([*taken, *again]) == [b"0", b"1", b"2", b"3"]
    await first.ack(again)
    await second.close()


async def the_next_consumer_takes_over_where_the_first_ended(site: Site) -> None:
    queue, first, second = await _two_consumers(site)
    await site.send(queue, b"0", b"1", b"2")
    taken = await take(first, 3)
    await first.ack(taken[:1])
    await first.close()
    rest = await take(second, 2)
    assert bodies(rest) == [b"1", b"2"]
    await second.ack(rest)


async def a_retired_consumer_keeps_its_place_until_it_closes(site: Site) -> None:
    queue, first, second = await _two_consumers(site)
    await site.send(queue, *(b"%d" % number for number in range(6)))
    taken = await take(first, 2)
    await first.retire()
    assert list(await first.receive(10)) == []
    await first.ack(taken[:1])
    await site.send(queue, b"6")
    assert list(await first.receive(10)) == []
    await first.close()
    rest = await take(second, 6)
    assert bodies([*taken[:1], *rest]) == [b"%d" % number for number in range(7)]
    await second.ack(rest)


async def retiring_wakes_who_waits(site: Site) -> None:
    queue = await site.queue("quiet")
    consumer = await site.broker.consume(queue)
    waiting = asyncio.create_task(_received(consumer))
    await asyncio.sleep(0)
    await consumer.retire()
    assert await waiting == []
    await consumer.close()


async def an_exchange_hears_what_it_is_bound_to(site: Site) -> None:
    source, middle = await site.exchange("source"), await site.exchange("middle", "fanout")
    await site.broker.declare([ExchangeBinding(middle, source, "a.#")])
    queue = await site.bound("work", middle)
    outcomes = await site.broker.publish_all([Publication(source, key, site.message(b"x")) for key in ("a.b", "b.a")])
    assert [type(outcome) is Unroutable for outcome in outcomes] == [False, True], outcomes
    (delivery,) = await site.drained(queue, 1)
    assert (delivery.exchange, delivery.routing_key) == (source, "a.b")


async def exchanges_bound_in_a_circle_give_one_copy(site: Site) -> None:
    one, two = await site.exchange("one"), await site.exchange("two")
    await site.broker.declare([ExchangeBinding(two, one), ExchangeBinding(one, two)])
    queue = await site.bound("work", two)
    await site.broker.publish(Publication(one, "key", site.message(b"once")))
    await site.broker.publish(Publication(two, "key", site.message(b"mark")))
    assert bodies(await site.drained(queue, 2)) == [b"once", b"mark"]


async def what_is_unbound_gets_nothing_more(site: Site) -> None:
    source, middle = await site.exchange("source"), await site.exchange("middle")
    near, far = await site.bound("near", source), await site.bound("far", middle)
    await site.broker.declare([ExchangeBinding(middle, source), Binding(near, source, "other")])
    await site.broker.publish(Publication(source, "key", site.message(b"both")))
    await site.broker.unbind(ExchangeBinding(middle, source))
    await site.broker.publish(Publication(source, "key", site.message(b"near")))
    await site.broker.unbind(Binding(near, source))
    error = await error_of(site.broker.publish(Publication(source, "key", site.message())))
    assert isinstance(error, Unroutable), error
    assert bodies(await site.drained(near, 2)) == [b"both", b"near"]
    await site.holds(far, 1)


async def unbinding_what_is_not_bound_is_no_error(site: Site) -> None:
    exchange, queue = await site.exchange("events"), await site.queue("work")
    await site.broker.unbind(Binding(queue, exchange, "never"))
    await site.broker.unbind(Binding(site.name("missing"), site.name("missing too")))
    await site.broker.unbind(ExchangeBinding(site.name("missing"), exchange))
    await site.send(queue, b"still usable")


async def binding_to_a_missing_exchange_is_not_found(site: Site) -> None:
    exchange = await site.exchange("events")
    for binding in (ExchangeBinding(site.name("missing"), exchange), ExchangeBinding(exchange, site.name("missing"))):
        error = await error_of(site.broker.declare([binding]))
        assert isinstance(error, NotFound), error


async def _received(consumer: Consumer) -> list[Delivery]:
    return list(await consumer.receive(1))


async def _two_consumers(site: Site) -> tuple[str, Consumer, Consumer]:
    queue = await site.queue("turns", single_active_consumer=True)
    other = await site.connect()
    return queue, await site.broker.consume(queue), await other.consume(queue)
