"""What the embedded broker promises beyond the contract: its node, its clock, its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from brokers.contract import Binding, Exchange, Message, Publication, Queue
from brokers.errors import BrokerUnreachable, ProtocolMisuse
from brokers.memory import MemoryBroker
from brokers.memory.hashing import bucket_of
from brokers.memory.matching import topic_matches
from brokers.memory.queue import QueueCounts
from brokers.memory.stream import MemoryStream


class HandClock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: dict[object, tuple[float, Callable[[], None]]] = {}

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        timer = object()
        self._timers[timer] = (self._now + seconds, callback)
        return lambda: self._timers.pop(timer, None) and None

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while due := [(when, timer) for timer, (when, _) in self._timers.items() if when <= end]:
            self._now, timer = min(due, key=lambda item: item[0])
            self._timers.pop(timer)[1]()
        self._now = end


def message(body: bytes = b"") -> Message:
    return Message(body=body, message_id=f"id-{body!r}")


def to(queue: str, body: bytes = b"") -> Publication:
    return Publication("", queue, message(body))


def played(scene: Callable[[MemoryBroker, HandClock], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        clock = HandClock()
        broker = MemoryBroker(clock=clock)
        await broker.open()
        await scene(broker, clock)
        await broker.close()

    asyncio.run(play())


def test_a_delay_takes_as_long_as_the_clock_says() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="work"), Exchange("wait", "fanout")])
        await broker.declare([Queue(name="delay", ttl_ms=60_000, dead_letter_exchange=""), Binding("delay", "wait")])
        await broker.publish(Publication("wait", "work", message()))
        clock.advance(59.9)
        assert broker.queues == {"work": QueueCounts(0, 0), "delay": QueueCounts(1, 0)}
        clock.advance(0.2)
        assert broker.queues == {"work": QueueCounts(1, 0), "delay": QueueCounts(0, 0)}

    played(scene)


def test_a_message_given_back_expires_at_its_old_time() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="short", ttl_ms=10_000)])
        await broker.publish(to("short", b"0"))
        consumer = await broker.consume("short", prefetch=1)
        clock.advance(5)
        await broker.publish(to("short", b"1"))
        await consumer.close()
        clock.advance(5.1)
        assert await broker.depth("short") == 1

    played(scene)


def test_messages_given_back_by_two_consumers_return_to_their_places() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="work")])
        left, right = await broker.consume("work", prefetch=1), await broker.consume("work", prefetch=1)
        await broker.publish_all([to("work", str(n).encode()) for n in range(4)])
        await left.stop()
        await right.stop()
        consumer = await broker.consume("work")
        assert [delivery.message.body for delivery in await consumer.receive(10)] == [b"0", b"1", b"2", b"3"]

    played(scene)


def test_a_cycle_of_expiries_is_cut() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="loop", ttl_ms=1000, dead_letter_exchange="")])
        await broker.publish(to("loop"))
        clock.advance(1.1)
        assert await broker.depth("loop") == 0

    played(scene)


def test_a_cycle_with_a_rejection_goes_on() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="loop", dead_letter_exchange="")])
        await broker.publish(to("loop"))
        consumer = await broker.consume("loop")
        for count in range(3):
            (delivery,) = await consumer.receive(1)
            assert [death["count"] for death in delivery.message.headers.get("x-death", [])] == [count][: min(count, 1)]
            await consumer.reject([delivery])
        assert len(await consumer.receive(1)) == 1

    played(scene)


def test_at_least_once_keeps_a_dead_letter_until_there_is_a_route() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="work", dead_letter_exchange="", dead_letter_key="grave", at_least_once=True)])
        await broker.publish(to("work", b"bad"))
        consumer = await broker.consume("work")
        await consumer.reject(await consumer.receive(1))
        await broker.declare([Queue(name="grave")])
        assert await broker.depth("grave") == 1

    played(scene)


def test_a_node_is_idle_when_no_consumer_holds_anything() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="work"), Queue(name="other")])
        consumer = await broker.consume("work")
        await broker.publish(to("other"))
        assert broker.idle
        await broker.publish(to("work"))
        assert not broker.idle
        held = await consumer.receive(1)
        assert (broker.idle, broker.queues["work"]) == (False, QueueCounts(0, 1))
        await consumer.stop()
        assert not broker.idle
        await consumer.ack(held)
        assert broker.idle

    played(scene)


def test_peers_share_a_node_and_brokers_do_not() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="work")])
        assert (broker.peer().queues, MemoryBroker().queues) == (broker.queues, {})

    played(scene)


def test_messages_outlive_a_closed_connection() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="work")])
        await broker.publish(to("work"))
        await broker.close()
        await broker.open()
        assert await broker.depth("work") == 1

    played(scene)


def test_a_closed_broker_refuses_calls() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        closed = broker.peer()
        with pytest.raises(BrokerUnreachable, match="open"):
            await closed.publish(to("work"))
        with pytest.raises(BrokerUnreachable, match="open"):
            await closed.depth("work")

    played(scene)


def test_streams_are_not_consumed_and_queues_not_read() -> None:
    async def scene(broker: MemoryBroker, clock: HandClock) -> None:
        await broker.declare([Queue(name="journal", kind="stream"), Queue(name="work")])
        with pytest.raises(ProtocolMisuse, match="stream"):
            await broker.consume("journal")
        with pytest.raises(ProtocolMisuse, match="queue"):
            await broker.read("work")

    played(scene)


def test_a_foreign_url_is_refused() -> None:
    with pytest.raises(ProtocolMisuse, match="'amqp'"):
        MemoryBroker("amqp://guest:guest@localhost")


def filled(stream: MemoryStream, number: int) -> MemoryStream:
    for _ in range(number):
        stream.put(message(b"x" * 100), "", "journal")
    return stream


def test_a_stream_keeps_no_more_bytes_than_declared() -> None:
    stream = filled(MemoryStream(Queue(name="j", kind="stream", max_bytes=10_000), HandClock()), 1000)
    assert (stream.end, 90 <= stream.depth <= 100) == (1000, True)


def test_a_stream_keeps_no_more_records_than_its_bound_and_a_step() -> None:
    stream = filled(MemoryStream(Queue(name="j", kind="stream"), HandClock(), max_records=2000), 10_000)
    assert 2000 <= stream.depth <= 2000 + 1024


def test_a_stream_forgets_what_is_too_old() -> None:
    clock = HandClock()
    stream = filled(MemoryStream(Queue(name="j", kind="stream", max_age="1h"), clock), 10)
    clock.advance(3601)
    assert filled(stream, 1024).first == 10


def test_a_reader_that_fell_behind_goes_on_with_the_oldest_record() -> None:
    stream = filled(MemoryStream(Queue(name="j", kind="stream", max_bytes=1000), HandClock()), 100)
    assert stream.records(0, 1)[0].offset == stream.first > 0


def test_an_age_without_a_unit_is_refused() -> None:
    with pytest.raises(ProtocolMisuse, match="max_age"):
        MemoryStream(Queue(name="j", kind="stream", max_age="7"), HandClock())


def test_many_wildcards_are_matched_at_once() -> None:
    assert not topic_matches(".".join(["#", "a"] * 30), ".".join(["a"] * 29))
    assert topic_matches(".".join(["#", "a"] * 30), ".".join(["a"] * 30))


def test_a_value_keeps_its_bucket_in_every_process_and_version() -> None:
    assert [bucket_of(f"run {number}", 8) for number in range(10)] == [4, 2, 5, 4, 5, 4, 1, 7, 3, 3]


def test_one_bucket_more_moves_one_value_in_that_many() -> None:
    values = [f"run {number}" for number in range(4000)]
    moved = [value for value in values if bucket_of(value, 4) != bucket_of(value, 5)]
    assert {bucket_of(value, 5) for value in moved} == {4}
    assert len(moved) == pytest.approx(800, rel=0.15)
