"""Which queues a message reaches."""

from __future__ import annotations

from brokers.conformance.site import Site, bodies
from brokers.contract import Binding, Publication
from brokers.errors import Unroutable


async def a_star_stands_for_exactly_one_word(site: Site) -> None:
    await _matches(site, "*", {"a": True, "": False, "a.b": False})
    await _matches(site, "*.b", {"a.b": True, "b": False, "a.a.b": False, "a.c": False})
    await _matches(site, "a.*.c", {"a.b.c": True, "a..c": True, "a.c": False, "a.b.b.c": False})


async def a_hash_stands_for_any_number_of_words(site: Site) -> None:
    await _matches(site, "#", {"": True, "a": True, "a.b.c": True})
    await _matches(site, "a.#", {"a": True, "a.b": True, "a.b.c": True, "b.a": False, "ab": False})
    await _matches(site, "#.z", {"z": True, "a.z": True, "a.b.z": True, "a.z.b": False})
    await _matches(site, "a.#.z", {"a.z": True, "a.b.z": True, "a.b.c.z": True, "a": False})
    await _matches(site, "#.*", {"a": True, "a.b": True, "": False})


async def a_key_without_wildcards_matches_itself(site: Site) -> None:
    await _matches(site, "ticket.created", {"ticket.created": True, "ticket": False, "ticket.created.now": False})


async def a_direct_exchange_compares_whole_keys(site: Site) -> None:
    exchange = await site.exchange("events", "direct")
    queue = await site.bound("work", exchange, key="a.*")
    burst = [Publication(exchange, key, site.message(key.encode())) for key in ("a.*", "a.b", "")]
    outcomes = await site.broker.publish_all(burst)
    assert [type(outcome) is Unroutable for outcome in outcomes] == [False, True, True], outcomes
    assert bodies(await site.drained(queue, 1)) == [b"a.*"]


async def a_fanout_exchange_ignores_the_key(site: Site) -> None:
    exchange = await site.exchange("events", "fanout")
    left = await site.bound("left", exchange, key="never")
    right = await site.bound("right", exchange, key="")
    await site.broker.publish(Publication(exchange, "some.key", site.message(b"both")))
    for queue in (left, right):
        (delivery,) = await site.drained(queue, 1)
        assert (delivery.message.body, delivery.routing_key) == (b"both", "some.key")


async def each_bound_queue_gets_a_copy(site: Site) -> None:
    exchange = await site.exchange("events")
    queues = [await site.bound(label, exchange, key="a.#") for label in ("one", "two", "three")]
    await site.broker.publish(Publication(exchange, "a.b", site.message(b"copy")))
    for queue in queues:
        assert bodies(await site.drained(queue, 1)) == [b"copy"]


async def a_queue_bound_twice_gets_one_copy(site: Site) -> None:
    exchange = await site.exchange("events")
    queue = await site.bound("work", exchange, key="a.#")
    await site.broker.declare([Binding(queue, exchange, "*.b"), Binding(queue, exchange, "a.#")])
    await site.broker.publish(Publication(exchange, "a.b", site.message(b"once")))
    await site.broker.publish(Publication(exchange, "a.c", site.message(b"mark")))
    assert bodies(await site.drained(queue, 2)) == [b"once", b"mark"]


async def the_default_exchange_reaches_the_queue_of_that_name(site: Site) -> None:
    queue = await site.queue("work")
    other = await site.queue("other")
    await site.send(queue, b"mine")
    (delivery,) = await site.drained(queue, 1)
    assert (delivery.exchange, delivery.routing_key, delivery.message.body) == ("", queue, b"mine")
    await site.holds(other, 0)


async def _matches(site: Site, pattern: str, expected: dict[str, bool]) -> None:
    label = pattern.replace("*", "star")  # AMQP has no star in the name of an exchange.
    exchange = await site.exchange(f"events {label}")
    await site.bound(f"work {label}", exchange, key=pattern)
    outcomes = await site.broker.publish_all([Publication(exchange, key, site.message()) for key in expected])
    got = {key: outcome is None for key, outcome in zip(expected, outcomes, strict=True)}
    assert got == expected, (pattern, outcomes)
