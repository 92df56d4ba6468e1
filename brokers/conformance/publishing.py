"""What `publish` and `publish_all` promise."""

from __future__ import annotations

import asyncio
from typing import Any

from brokers.conformance.site import Site, bodies, error_of, take
from brokers.contract import FRAME_LIMIT, FRAME_RESERVE, Message, Publication
from brokers.errors import BrokerError, MessageTooLarge, NotFound, ProtocolMisuse, Unroutable


async def a_confirmed_message_is_in_the_queue(site: Site) -> None:
    queue = await site.queue("work")
    await site.broker.publish(site.to(queue, b"one"))
    await site.holds(queue, 1)
    assert bodies(await site.drained(queue, 1)) == [b"one"]


async def every_property_arrives_as_sent(site: Site) -> None:
    queue = await site.queue("work")
    sent = Message(
        body=b"\x00\xff{}",
        message_id="0197-ä",
        type="TicketCreated",
        headers={"stamp": '{"stamp":"1.0"}'},
        correlation_id="run-ß",
        app_id="tickets",
        timestamp=1_767_225_600,
        content_type="application/json",
        content_encoding="utf-8",
        reply_to="answers",
    )
    await site.broker.publish(Publication("", queue, sent))
    (delivery,) = await site.drained(queue, 1)
    assert _without_broker_headers(delivery.message) == sent


async def absent_properties_stay_absent(site: Site) -> None:
    queue = await site.queue("work")
    sent = site.message(b"bare")
    await site.broker.publish(Publication("", queue, sent))
    (delivery,) = await site.drained(queue, 1)
    assert _without_broker_headers(delivery.message) == sent


async def a_delivery_says_where_it_came_from(site: Site) -> None:
    exchange = await site.exchange("events")
    queue = await site.bound("work", exchange, key="ticket.*")
    await site.broker.publish(Publication(exchange, "ticket.created", site.message()))
    (delivery,) = await site.drained(queue, 1)
    assert (delivery.exchange, delivery.routing_key, delivery.queue) == (exchange, "ticket.created", queue)


async def header_values_keep_their_type(site: Site) -> None:
    sent = {"text": "naïve \N{SNOWMAN} \U0001f39f", "empty": "", "yes": True, "no": False, "zero": 0, "one": 1}
    sent |= {"small": -(2**31) - 1, "large": 2**53 - 1, "largest": 2**63 - 1}
    queue = await site.queue("work")
    await site.broker.publish(site.to(queue, headers=sent))
    (delivery,) = await site.drained(queue, 1)
    got = _without_broker_headers(delivery.message).headers
    assert {name: (type(value), value) for name, value in got.items()} == {
        name: (type(value), value) for name, value in sent.items()
    }


async def a_header_of_60_kib_arrives_whole(site: Site) -> None:
    queue = await site.queue("work")
    stamp = "é\N{SNOWMAN}x" * 10_240
    await site.broker.publish(site.to(queue, headers={"stamp": stamp}))
    (delivery,) = await site.drained(queue, 1)
    assert delivery.message.headers["stamp"] == stamp


async def bodies_arrive_byte_for_byte(site: Site) -> None:
    queue = await site.queue("work")
    sent = [b"", b"\x00", bytes(range(256)) * 4096, "\N{SNOWMAN}".encode(), b"\xce\xff\xfe"]
    await site.send(queue, *sent)
    assert bodies(await site.drained(queue, len(sent))) == sent


async def an_unroutable_message_raises(site: Site) -> None:
    exchange = await site.exchange("events")
    await site.bound("work", exchange, key="bound")
    error = await error_of(site.broker.publish(Publication(exchange, "unbound", site.message())))
    assert isinstance(error, Unroutable), error


async def the_default_exchange_returns_a_message_for_a_missing_queue(site: Site) -> None:
    error = await error_of(site.broker.publish(site.to(site.name("missing"))))
    assert isinstance(error, Unroutable), error


async def an_optional_message_may_go_nowhere(site: Site) -> None:
    exchange = await site.exchange("events")
    await site.broker.publish(Publication(exchange, "unbound", site.message(), mandatory=False))


async def an_optional_message_with_a_route_arrives(site: Site) -> None:
    queue = await site.queue("work")
    await site.broker.publish(Publication("", queue, site.message(b"optional"), mandatory=False))
    assert bodies(await site.drained(queue, 1)) == [b"optional"]


async def a_burst_tells_the_outcome_of_each(site: Site) -> None:
    queue = await site.queue("work")
    lost = site.name("missing")
    burst = [site.to(target, str(n).encode()) for n, target in enumerate([queue, lost, queue, queue, lost, queue])]
    outcomes = await site.broker.publish_all(burst)
    assert [type(outcome) for outcome in outcomes] == _types(None, Unroutable, None, None, Unroutable, None)
    assert bodies(await site.drained(queue, 4)) == [b"0", b"2", b"3", b"5"]


async def an_empty_burst_is_no_error(site: Site) -> None:
    assert list(await site.broker.publish_all([])) == []


async def a_burst_with_misfits_delivers_the_rest(site: Site) -> None:
    queue = await site.queue("work")
    burst = [
        site.to(queue, b"first"),
        site.to(queue, b"big", headers={"stamp": "x" * FRAME_LIMIT}),
        site.to(queue, b"float", headers={"price": 1.5}),
        site.to(queue, b"last"),
    ]
    outcomes = await site.broker.publish_all(burst)
    assert [type(outcome) for outcome in outcomes] == _types(None, MessageTooLarge, ProtocolMisuse, None)
    assert bodies(await site.drained(queue, 2)) == [b"first", b"last"]


async def a_missing_exchange_is_not_found(site: Site) -> None:
    queue = await site.queue("work")
    error = await error_of(site.broker.publish(Publication(site.name("missing"), "key", site.message())))
    assert isinstance(error, NotFound), error
    await site.send(queue, b"still usable")
    assert bodies(await site.drained(queue, 1)) == [b"still usable"]


async def a_burst_to_a_missing_exchange_does_not_raise(site: Site) -> None:
    queue = await site.queue("work")
    lost = Publication(site.name("missing"), "key", site.message())
    _, outcome, _ = await site.broker.publish_all([site.to(queue), lost, site.to(queue)])
    assert isinstance(outcome, BrokerError), outcome
    await site.send(queue, b"still usable")


async def the_brokers_own_headers_are_left_out(site: Site) -> None:
    queue = await site.queue("work")
    headers: dict[str, Any] = {
        "stamp": "kept",
        "x-death": [{"count": 1, "reason": "expired"}],
        "x-first-death-queue": "q",
    }
    await site.broker.publish(site.to(queue, headers=headers | {"x-mine": "copied", "xylophone": "kept"}))
    (delivery,) = await site.drained(queue, 1)
    kept = {name: value for name, value in delivery.message.headers.items() if name != "x-delivery-count"}
    assert kept == {"stamp": "kept", "xylophone": "kept"}


async def a_header_that_is_not_a_scalar_is_refused(site: Site) -> None:
    queue = await site.queue("work")
    for value in (1.5, None, b"bytes", ["list"], {"a": "table"}, 2**63, -(2**63) - 1):
        error = await error_of(site.broker.publish(site.to(queue, headers={"value": value})))
        assert isinstance(error, ProtocolMisuse), (value, error)
    await site.send(queue, b"still usable")
    assert bodies(await site.drained(queue, 1)) == [b"still usable"]


async def names_that_amqp_would_cut_are_refused(site: Site) -> None:
    queue = await site.queue("work")
    misfits = (
        site.to(queue, headers={"n" * 129: "cut by the client library"}),
        site.to(queue, headers={"": "no name"}),
        site.to(queue, type="t" * 256),
        site.to(queue, correlation_id="é" * 128),
        site.to("k" * 256),
    )
    for publication in misfits:
        error = await error_of(site.broker.publish(publication))
        assert isinstance(error, ProtocolMisuse), (publication, error)
    await site.send(queue, b"still usable")


async def headers_beyond_one_frame_are_refused_before_they_are_sent(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue)
    await site.send(queue, b"held over")
    held = await take(consumer, 1)
    for size in (FRAME_LIMIT - FRAME_RESERVE, FRAME_LIMIT, 2 * FRAME_LIMIT):
        error = await error_of(site.broker.publish(site.to(queue, headers={"stamp": "x" * size})))
        assert isinstance(error, MessageTooLarge), (size, error)
    await consumer.ack(held)
    await site.send(queue, b"still usable")
    (delivery,) = await take(consumer, 1)
    assert (delivery.message.body, delivery.redelivered) == (b"still usable", False)


async def headers_just_below_the_limit_arrive(site: Site) -> None:
    queue = await site.queue("work")
    stamp = "x" * (FRAME_LIMIT - FRAME_RESERVE - 1024)
    await site.broker.publish(site.to(queue, headers={"stamp": stamp}))
    (delivery,) = await site.drained(queue, 1)
    assert delivery.message.headers["stamp"] == stamp


async def a_burst_keeps_its_order(site: Site) -> None:
    exchange = await site.exchange("events")
    queue = await site.bound("work", exchange)
    sent = [str(n).encode() for n in range(200)]
    await site.broker.publish_all([Publication(exchange, f"key.{body.decode()}", site.message(body)) for body in sent])
    assert bodies(await site.drained(queue, 200)) == sent


async def publishes_of_many_tasks_each_get_their_own_outcome(site: Site) -> None:
    queue = await site.queue("work")
    targets = [site.name("missing") if n % 5 == 0 else queue for n in range(50)]
    calls = [site.broker.publish(site.to(target, str(n).encode())) for n, target in enumerate(targets)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) is Unroutable for outcome in outcomes] == [n % 5 == 0 for n in range(50)], outcomes
    arrived = {int(body) for body in bodies(await site.drained(queue, 40))}
    assert arrived == {n for n in range(50) if n % 5}


async def a_thousand_messages_pass_through(site: Site) -> None:
    queue = await site.queue("work")
    consumer = await site.broker.consume(queue, prefetch=100)
    sent = [str(n).encode() for n in range(1000)]
    publishing = asyncio.ensure_future(site.send(queue, *sent))
    got: list[bytes] = []
    while len(got) < len(sent):
        batch = await consumer.receive(100)
        got += bodies(batch)
        await consumer.ack(batch)
    await publishing
    assert got == sent
    await consumer.close()
    await site.holds(queue, 0)


def _types(*outcomes: type[BrokerError] | None) -> list[type]:
    return [type(None) if outcome is None else outcome for outcome in outcomes]


def _without_broker_headers(message: Message) -> Message:
    headers = {name: value for name, value in message.headers.items() if not name.startswith("x-")}
    return Message(
        body=message.body,
        message_id=message.message_id,
        type=message.type,
        headers=headers,
        correlation_id=message.correlation_id,
        app_id=message.app_id,
        timestamp=message.timestamp,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        reply_to=message.reply_to,
    )
