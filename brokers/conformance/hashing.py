"""Exchanges that give each message to one of several queues, by a property of the message."""

from __future__ import annotations

from brokers.conformance.site import Site, error_of
from brokers.contract import Binding, ExchangeBinding, Publication
from brokers.errors import TopologyMismatch, Unroutable

QUEUES = 4
VALUES = 64


async def what_is_equal_in_the_hashed_property_goes_to_one_queue_in_order(site: Site) -> None:
    exchange, queues = await _sharded(site)
    burst = [
        Publication(exchange, f"key {turn}", site.message(b"%d" % turn, correlation_id=f"run {value}"))
        for turn in range(3)
        for value in range(VALUES)
    ]
    outcomes = await site.broker.publish_all(burst)
    assert not any(outcomes), outcomes
    found = await _found(site, queues)
    assert sorted(value for values in found for value in values) == sorted(f"run {value}" for value in range(VALUES))
    assert all(turns == [b"0", b"1", b"2"] for values in found for turns in values.values()), found


async def every_queue_gets_a_share(site: Site) -> None:
    exchange, queues = await _sharded(site)
    await _send(site, exchange, range(VALUES))
    assert all(await _found(site, queues))


async def a_value_goes_to_the_same_queue_later_and_from_another_connection(site: Site) -> None:
    exchange, queues = await _sharded(site)
    await _send(site, exchange, range(VALUES))
    before = [set(values) for values in await _found(site, queues)]
    other = await site.connect()
    for value in range(VALUES):
        await other.publish(Publication(exchange, "later", site.message(correlation_id=f"run {value}")))
    assert [set(values) for values in await _found(site, queues)] == before


async def without_a_property_the_routing_key_is_hashed(site: Site) -> None:
    exchange = await site.exchange("shards", "x-consistent-hash")
    queues = [await site.bound(f"shard {number}", exchange, key="1") for number in range(QUEUES)]
    burst = [Publication(exchange, "one key", site.message(correlation_id=f"run {value}")) for value in range(VALUES)]
    assert not any(await site.broker.publish_all(burst))
    assert sorted(len(values) for values in await _found(site, queues)) == [0, 0, 0, VALUES]


async def a_hashing_exchange_behind_another_hears_what_is_bound(site: Site) -> None:
    events = await site.exchange("events")
    shards, queues = await _sharded(site)
    await site.broker.declare([ExchangeBinding(shards, events, "wanted"), ExchangeBinding(shards, events, "want.#")])
    keys = {"wanted": True, "want.ed": True, "other": False}
    burst = [Publication(events, key, site.message(key.encode(), correlation_id="run")) for key in keys]
    outcomes = await site.broker.publish_all(burst)
    assert [outcome is None for outcome in outcomes] == list(keys.values()), outcomes
    assert [values.get("run") for values in await _found(site, queues) if values] == [[b"wanted", b"want.ed"]]


async def two_ways_to_one_hashing_exchange_give_one_copy(site: Site) -> None:
    events = await site.exchange("events")
    shards, queues = await _sharded(site)
    await site.broker.declare([ExchangeBinding(shards, events, "a.b"), ExchangeBinding(shards, events, "a.#")])
    await site.broker.publish(Publication(events, "a.b", site.message(b"once", correlation_id="run")))
    assert [values.get("run") for values in await _found(site, queues) if values] == [[b"once"]]


async def a_hashing_exchange_without_queues_routes_nothing(site: Site) -> None:
    events = await site.exchange("events")
    shards = await site.exchange("shards", "x-consistent-hash", hash_on="correlation_id")
    await site.broker.declare([ExchangeBinding(shards, events)])
    for exchange in (events, shards):
        error = await error_of(site.broker.publish(Publication(exchange, "key", site.message(correlation_id="run"))))
        assert isinstance(error, Unroutable), error


async def an_unbound_queue_gets_nothing_more_and_keeps_what_it_has(site: Site) -> None:
    exchange, queues = await _sharded(site)
    await _send(site, exchange, range(VALUES))
    before = await site.broker.depth(queues[0])
    await site.broker.unbind(Binding(queues[0], exchange, "1"))
    await _send(site, exchange, range(VALUES))
    await site.holds(queues[0], before)
    shares = [await site.broker.depth(queue) for queue in queues]
    assert sum(shares) == 2 * VALUES, shares


async def a_weight_that_is_no_number_is_refused(site: Site) -> None:
    exchange = await site.exchange("shards", "x-consistent-hash", hash_on="correlation_id")
    queue = await site.queue("shard")
    error = await error_of(site.broker.declare([Binding(queue, exchange, "#")]))
    assert isinstance(error, TopologyMismatch), error


async def _sharded(site: Site) -> tuple[str, list[str]]:
    exchange = await site.exchange("shards", "x-consistent-hash", hash_on="correlation_id")
    return exchange, [await site.bound(f"shard {number}", exchange, key="1") for number in range(QUEUES)]


async def _send(site: Site, exchange: str, values: range) -> None:
    burst = [Publication(exchange, "key", site.message(correlation_id=f"run {value}")) for value in values]
    outcomes = await site.broker.publish_all(burst)
    assert not any(outcomes), outcomes


async def _found(site: Site, queues: list[str]) -> list[dict[str, list[bytes]]]:
    """For each queue what it held: bodies in order, by correlation id. The queues are empty afterwards."""
    shares: list[dict[str, list[bytes]]] = []
    for queue in queues:
        number = await site.broker.depth(queue)
        share: dict[str, list[bytes]] = {}
        for delivery in await site.drained(queue, number) if number else []:
            share.setdefault(delivery.message.correlation_id or "", []).append(delivery.message.body)
        shares.append(share)
    return shares
