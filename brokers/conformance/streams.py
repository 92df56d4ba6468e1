"""What a stream and its readers promise."""

from __future__ import annotations

import asyncio

from brokers.conformance.site import Site, bodies, error_of, eventually, records
from brokers.contract import Publication
from brokers.errors import NotFound


async def a_stream_is_read_from_its_beginning(site: Site) -> None:
    exchange = await site.exchange("events")
    stream = await site.bound("journal", exchange, kind="stream")
    sent = [Publication(exchange, f"key.{n}", site.message(str(n).encode(), headers={"n": n})) for n in range(5)]
    assert list(await site.broker.publish_all(sent)) == [None] * 5
    got = await records(await site.broker.read(stream), 5)
    assert [record.offset for record in got] == [0, 1, 2, 3, 4]
    assert [record.routing_key for record in got] == [f"key.{n}" for n in range(5)]
    assert {record.exchange for record in got} == {exchange}
    assert [record.message.headers["n"] for record in got] == [0, 1, 2, 3, 4]
    assert [record.message.message_id for record in got] == [p.message.message_id for p in sent]


async def a_stream_is_read_from_an_offset(site: Site) -> None:
    stream = await _journal(site, 6)
    reader = await site.broker.read(stream, start=4)
    got = await records(reader, 2)
    assert [(record.offset, record.message.body) for record in got] == [(4, b"4"), (5, b"5")]


async def reading_from_next_skips_what_was_there(site: Site) -> None:
    stream = await _journal(site, 3)
    reader = await site.broker.read(stream, start="next")
    await site.send(stream, b"new")
    (record,) = await records(reader, 1)
    assert (record.offset, record.message.body) == (3, b"new")


async def a_reader_waits_for_the_next_record(site: Site) -> None:
    stream = await _journal(site, 1)
    reader = await site.broker.read(stream)
    await records(reader, 1)
    waiting = asyncio.ensure_future(reader.receive(10))
    await asyncio.sleep(0)
    await site.send(stream, b"late")
    assert bodies(await waiting) == [b"late"]


async def a_reader_returns_no_more_than_its_limit(site: Site) -> None:
    stream = await _journal(site, 10)
    reader = await site.broker.read(stream)
    got: list[bytes] = []
    while len(got) < 10:
        batch = await reader.receive(3)
        assert 1 <= len(batch) <= 3, batch
        got += bodies(batch)
    assert got == [str(n).encode() for n in range(10)]


async def the_end_of_a_stream_is_one_past_its_last_record(site: Site) -> None:
    stream = await site.queue("journal", kind="stream")
    assert await site.broker.end(stream) == 0
    await site.send(stream, b"0", b"1", b"2")

    async def at_three() -> bool:
        return await site.broker.end(stream) == 3

    await eventually(at_three)


async def reading_changes_nothing(site: Site) -> None:
    stream = await _journal(site, 4)
    first = await records(await site.broker.read(stream), 4)
    assert await site.broker.end(stream) == 4
    second = await records(await site.broker.read(stream), 4)
    assert first == second


async def two_readers_each_get_everything(site: Site) -> None:
    stream = await _journal(site, 2)
    left, right = await site.broker.read(stream), await site.broker.read(stream)
    await site.send(stream, b"2", b"3")
    expected = [b"0", b"1", b"2", b"3"]
    assert (bodies(await records(left, 4)), bodies(await records(right, 4))) == (expected, expected)


async def a_queue_and_a_stream_on_one_exchange_both_get_it(site: Site) -> None:
    exchange = await site.exchange("events")
    stream = await site.bound("journal", exchange, kind="stream")
    queue = await site.bound("work", exchange, key="a.#")
    await site.broker.publish(Publication(exchange, "a.b", site.message(b"both")))
    assert bodies(await site.drained(queue, 1)) == [b"both"]
    assert bodies(await records(await site.broker.read(stream), 1)) == [b"both"]


async def a_closed_reader_returns_nothing(site: Site) -> None:
    stream = await _journal(site, 1)
    reader = await site.broker.read(stream, start="next")
    waiting = asyncio.ensure_future(reader.receive(1))
    await asyncio.sleep(0)
    await reader.close()
    await reader.close()
    assert (list(await waiting), list(await reader.receive(1))) == ([], [])


async def a_closed_broker_ends_its_readers(site: Site) -> None:
    stream = await _journal(site, 1)
    dying = await site.connect()
    reader = await dying.read(stream, start="next")
    waiting = asyncio.ensure_future(reader.receive(1))
    await asyncio.sleep(0)
    await dying.close()
    assert list(await waiting) == []


async def a_missing_stream_is_not_found(site: Site) -> None:
    for call in (site.broker.end, site.broker.read):
        error = await error_of(call(site.name("missing")))
        assert isinstance(error, NotFound), error
        assert site.name("missing") in str(error)


async def a_stream_is_declared_again_without_loss(site: Site) -> None:
    stream = await _journal(site, 2, max_bytes=10_000_000)
    await site.queue("journal", kind="stream", max_bytes=10_000_000)
    assert bodies(await records(await site.broker.read(stream), 2)) == [b"0", b"1"]


async def a_dead_letter_reaches_a_stream(site: Site) -> None:
    dead = await site.exchange("dead", "fanout")
    stream = await site.bound("journal", dead, kind="stream")
    # At least once: what RabbitMQ dead-letters at most once never reaches a stream (3.10.8).
    queue = await site.queue("work", dead_letter_exchange=dead, at_least_once=True)
    await site.send(queue, b"bad")
    consumer = await site.broker.consume(queue)
    await consumer.reject(await consumer.receive(1))
    (record,) = await records(await site.broker.read(stream), 1)
    assert (record.message.body, record.exchange, record.routing_key) == (b"bad", dead, queue)


async def _journal(site: Site, number: int, *, max_bytes: int | None = None) -> str:
    stream = await site.queue("journal", kind="stream", max_bytes=max_bytes)
    await site.send(stream, *[str(n).encode() for n in range(number)])
    return stream
