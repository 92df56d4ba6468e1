"""What RabbitMQ does to a service on a bad day, and what the service makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import uuid4

import pytest

from brokers.contract import Consumer, Exchange, Message, Publication, Queue
from brokers.errors import (
    AccessRefused,
    BrokerError,
    BrokerUnreachable,
    NotFound,
    ProtocolMisuse,
    PublishRefused,
    PublishUnknown,
    Unroutable,
)
from brokers.node import Node
from brokers.node.server import free_ports
from brokers.rabbitmq import RabbitBroker
from tests.servers import Server

PATHS = pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])


@asynccontextmanager
async def opened(url: str, *, fast: bool = True, timeout: float = 10.0) -> AsyncIterator[RabbitBroker]:
    broker = RabbitBroker(url, fast=fast, timeout=timeout)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def queue_on(broker: RabbitBroker) -> AsyncIterator[str]:
    name = f"faults.{uuid4().hex[:12]}"
    await broker.declare([Queue(name=name)])
    try:
        yield name
    finally:
        await broker.delete_queue(name)


def to(queue: str, body: bytes = b"", *, message_id: str | None = None) -> Publication:
    return Publication("", queue, Message(body=body, message_id=message_id or uuid4().hex))


async def error_of(call: Awaitable[object]) -> BaseException | None:
    (outcome,) = await asyncio.gather(call, return_exceptions=True)
    return outcome if isinstance(outcome, BaseException) else None


@contextmanager
def memory_alarm(node: Node) -> Iterator[None]:
    node.ctl("set_vm_memory_high_watermark", "0")
    try:
        yield
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.4")


@asynccontextmanager
async def alarm(node: Node) -> AsyncIterator[None]:
    context = memory_alarm(node)
    await asyncio.to_thread(context.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def test_a_broker_out_of_reach_is_named_without_its_password() -> None:
    (port,) = free_ports(1)
    broker = RabbitBroker(f"amqp://guest:secret@127.0.0.1:{port}/", timeout=2)
    with pytest.raises(BrokerUnreachable) as caught:
        asyncio.run(broker.open())
    assert f"amqp://guest:***@127.0.0.1:{port}/" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_refused(rabbitmq: Server) -> None:
    broker = RabbitBroker(rabbitmq.url.replace("guest:guest", "guest:wrong"))
    with pytest.raises(AccessRefused) as caught:
        asyncio.run(broker.open())
    assert "wrong" not in str(caught.value)


def test_an_unknown_virtual_host_is_refused(rabbitmq: Server) -> None:
    broker = RabbitBroker(rabbitmq.url.rstrip("/") + "/nowhere")
    with pytest.raises(BrokerUnreachable, match="virtual host"):
        asyncio.run(broker.open())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://localhost",
        "amqp://",
        "amqp://a,redis://b",
        "amqp://[::1",
        "amqp://a:99999/",
        "amqp://a:0",
    ],
)
def test_what_is_no_amqp_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ProtocolMisuse):
        RabbitBroker(url)


def test_the_next_node_is_used_when_one_is_down(rabbitmq: Server) -> None:
    async def play() -> None:
        (port,) = free_ports(1)
        async with opened(f"amqp://127.0.0.1:{port},{rabbitmq.url}") as broker, queue_on(broker) as queue:
            await broker.publish(to(queue))

    asyncio.run(play())


def test_a_closed_broker_is_out_of_reach(rabbitmq: Server) -> None:
    async def play() -> None:
        async with opened(rabbitmq.url) as broker:
            pass
        for call in (broker.publish(to("any")), broker.depth("any"), broker.consume("any")):
            assert isinstance(await error_of(call), BrokerUnreachable)

    asyncio.run(play())


def test_a_broker_that_could_not_open_may_try_again(breakable: Node) -> None:
    async def play() -> None:
        broker = RabbitBroker(breakable.url)
        await asyncio.to_thread(breakable.stop)
        assert isinstance(await error_of(broker.open()), BrokerUnreachable)
        await asyncio.to_thread(breakable.start)
        await broker.open()
        assert await broker.publish_all([]) == []
        await broker.close()

    asyncio.run(play())


def test_closed_consumers_are_forgotten(rabbitmq: Server) -> None:
    async def play() -> None:
        async with opened(rabbitmq.url) as broker, queue_on(broker) as queue:
            for _ in range(5):
                await (await broker.consume(queue)).close()
            assert len(broker._feeds) == 1

    asyncio.run(play())


@PATHS
def test_one_id_published_twice_at_once_does_not_swap_the_outcomes(rabbitmq: Server, fast: bool) -> None:
    async def play() -> None:
        async with opened(rabbitmq.url, fast=fast) as broker, queue_on(broker) as queue:
            pairs = [(to(queue, message_id=f"id{n}"), to("nowhere", message_id=f"id{n}")) for n in range(50)]
            calls = [error_of(broker.publish(item)) for pair in pairs for item in pair]
            outcomes = [type(outcome) for outcome in await asyncio.gather(*calls)]
            assert outcomes == [type(None), Unroutable] * 50

    asyncio.run(play())


@PATHS
def test_a_nack_replaces_the_channel(breakable: Node, fast: bool) -> None:
    async def play() -> None:
        async with opened(breakable.url, fast=fast) as broker, queue_on(broker) as queue:
            rule = '{"max-length":1,"overflow":"reject-publish"}'
            await asyncio.to_thread(breakable.ctl, "set_policy", "full", queue, rule)
            lanes = []
            refused = 0
            while not refused:  # A quorum queue refuses a little late.
                outcomes = await broker.publish_all([to(queue) for _ in range(20)])
                refused = sum(isinstance(outcome, PublishRefused) for outcome in outcomes)
                lanes.append(broker._publisher._lane)
            await asyncio.to_thread(breakable.ctl, "clear_policy", "full")
            while await error_of(broker.publish(to(queue))) is not None:
                lanes.append(broker._publisher._lane)
            assert broker._publisher._lane not in lanes[-1:]

    asyncio.run(play())


@PATHS
def test_an_innocent_neighbour_of_a_missing_exchange_is_not_blamed(rabbitmq: Server, fast: bool) -> None:
    async def play() -> None:
        async with opened(rabbitmq.url, fast=fast) as broker, queue_on(broker) as queue:
            lost = Publication("no.such.exchange", "key", Message(body=b"", message_id="lost"))
            outcomes = await broker.publish_all([to(queue), lost, to(queue)])
            assert isinstance(outcomes[1], NotFound)
            for outcome in (outcomes[0], outcomes[2]):
                assert outcome is None or outcome.transient, outcome

    asyncio.run(play())


@PATHS
def test_a_memory_alarm_holds_publishing_and_lets_it_go_on(breakable: Node, fast: bool) -> None:
    async def play() -> None:
        async with opened(breakable.url, fast=fast, timeout=1) as broker, queue_on(broker) as queue:
            async with alarm(breakable):
                first = await error_of(broker.publish(to(queue, b"lets the broker notice")))
                await until_blocked(broker)
                second = await error_of(broker.publish(to(queue, b"never sent")))
                assert await broker.depth(queue) <= 1
            assert first is None or isinstance(first, PublishUnknown)
            assert isinstance(second, BrokerUnreachable)
            while await error_of(broker.publish(to(queue, b"after"))) is not None:
                pass
            consumer = await broker.consume(queue)
            bodies: list[bytes] = []
            while b"after" not in bodies:
                bodies += [delivery.message.body for delivery in await consumer.receive(10)]
            assert b"never sent" not in bodies

    asyncio.run(play())


@PATHS
def test_a_connection_lost_under_a_publish_is_an_unknown_outcome_and_no_cancel(breakable: Node, fast: bool) -> None:
    async def play() -> None:
        async with opened(breakable.url, fast=fast) as broker, queue_on(broker) as queue:
            await asyncio.to_thread(breakable.flush)
            breakable.pause()
            hanging = asyncio.create_task(broker.publish(to(queue)))
            await until_sent(broker)
            await asyncio.to_thread(breakable.kill)
            error = await error_of(hanging)
            await asyncio.to_thread(breakable.start)
            assert isinstance(error, PublishUnknown), error
            assert hanging.cancelling() == 0
            await publish_when_back(broker, to(queue))

    asyncio.run(play())


@PATHS
def test_a_cancelled_publish_is_cancelled(breakable: Node, fast: bool) -> None:
    async def play() -> None:
        async with opened(breakable.url, fast=fast) as broker, queue_on(broker) as queue:
            breakable.pause()
            hanging = asyncio.create_task(broker.publish(to(queue, message_id="again")))
            await until_sent(broker)
            hanging.cancel()
            error = await error_of(hanging)
            breakable.resume()
            assert isinstance(error, asyncio.CancelledError), error
            await publish_when_back(broker, to(queue, message_id="again"))

    asyncio.run(play())


@PATHS
def test_a_killed_node_loses_nothing_that_was_confirmed(breakable: Node, fast: bool) -> None:
    async def play() -> tuple[set[bytes], set[bytes]]:
        async with opened(breakable.url, fast=fast) as broker, queue_on(broker) as queue:
            consumer = await broker.consume(queue)
            confirmed: set[bytes] = set()
            done = asyncio.Event()
            publishing = asyncio.create_task(keep_publishing(broker, queue, confirmed, done))
            seen: set[bytes] = set()
            await consume_until(consumer, seen, lambda: len(seen) > 50)
            await asyncio.to_thread(breakable.flush)
            await asyncio.to_thread(breakable.kill)
            await asyncio.to_thread(breakable.start)
            before = len(confirmed)
            await consume_until(consumer, seen, lambda: len(confirmed) > before + 50)
            done.set()
            await publishing
            await consume_until(consumer, seen, lambda: confirmed <= seen)
            await consumer.close()
            return confirmed, seen

    confirmed, seen = asyncio.run(play())
    assert confirmed - seen == set()


def test_a_lost_consuming_connection_is_told_once_and_so_is_its_return(
    breakable: Node, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        async with opened(breakable.url) as broker, queue_on(broker) as one, queue_on(broker) as other:
            consumer, _ = await broker.consume(one), await broker.consume(other)
            await asyncio.to_thread(breakable.restart)
            await publish_when_back(broker, to(one))
            await consumer.receive(1)

    asyncio.run(play())
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "brokers.rabbitmq"]
    assert [level for level, _ in told] == ["WARNING", "WARNING"]
    assert told[0][1].startswith("lost the connection stamp (consume) to amqp://guest:***@")
    assert told[1][1].endswith(" is back")


def test_a_restarted_node_finds_reader_and_consumer_where_they_were(breakable: Node) -> None:
    async def play() -> None:
        async with opened(breakable.url) as broker, queue_on(broker) as queue:
            stream = f"{queue}.stream"
            await broker.declare([Queue(name=stream, kind="stream")])
            reader = await broker.read(stream)
            consumer = await broker.consume(queue)
            await broker.publish_all([to(stream, b"0"), to(stream, b"1")])
            records = [record.offset for record in await reader.receive(1)]
            await asyncio.to_thread(breakable.restart)
            await publish_when_back(broker, to(queue, b"back"))
            while await error_of(broker.publish(to(stream, b"2"))) is not None:
                pass  # A stream is unroutable for a moment after a restart.
            while records[-1] < 2:
                records += [record.offset for record in await reader.receive(10)]
            assert records == [0, 1, 2]
            (delivery,) = await consumer.receive(1)
            assert delivery.message.body == b"back"
            await broker.delete_queue(stream)

    asyncio.run(play())


async def until_blocked(broker: RabbitBroker) -> None:
    transport = broker._out._current.transport  # type: ignore[union-attr]
    assert transport is not None
    while True:
        try:
            async with asyncio.timeout(0.01):
                await transport.ready()
        except TimeoutError:
            return
        await asyncio.sleep(0.01)


async def until_sent(broker: RabbitBroker) -> None:
    lane = broker._publisher._lane
    assert lane is not None
    while not lane._pending:  # noqa: ASYNC110 (a private count, it sets no event)
        await asyncio.sleep(0)


async def publish_when_back(broker: RabbitBroker, publication: Publication) -> None:
    while (error := await error_of(broker.publish(publication))) is not None:
        assert isinstance(error, BrokerError)
        assert error.transient, error
        await asyncio.sleep(0.05)


async def keep_publishing(broker: RabbitBroker, queue: str, confirmed: set[bytes], done: asyncio.Event) -> None:
    number = 0
    while not done.is_set():
        batch = [to(queue, str(number + n).encode(), message_id=str(number + n)) for n in range(10)]
        number += len(batch)
        while batch:
            outcomes = await broker.publish_all(batch)
            confirmed |= {item.message.body for item, error in zip(batch, outcomes, strict=True) if error is None}
            batch = [item for item, error in zip(batch, outcomes, strict=True) if error is not None]
            await asyncio.sleep(0.01)


async def consume_until(consumer: Consumer, seen: set[bytes], enough: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not enough():
            deliveries = await consumer.receive(10)
            seen |= {delivery.message.body for delivery in deliveries}
            await consumer.ack(deliveries)


def test_an_exchange_that_needs_a_plugin_says_which(rabbitmq_faults: Node) -> None:
    async def scenario() -> None:
        broker = RabbitBroker(rabbitmq_faults.url)
        await broker.open()
        with pytest.raises(ProtocolMisuse, match="rabbitmq-plugins enable rabbitmq_consistent_hash_exchange"):
            await broker.declare([Exchange("shards", "x-consistent-hash", "correlation_id")])
        await broker.declare([Exchange("events")])  # the refusal closed a connection; the next call has a new one
        await broker.close()

    asyncio.run(scenario())
