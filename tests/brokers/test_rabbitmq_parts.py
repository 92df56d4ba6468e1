"""The parts of the adapter that need no server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pamqp.frame import unmarshal
from pamqp.header import ContentHeader

from brokers.contract import Message, Publication
from brokers.errors import NotFound, ProtocolMisuse
from brokers.framesize import header_frame_size
from brokers.rabbitmq.buffer import Buffer
from brokers.rabbitmq.connection import censored, split_urls
from brokers.rabbitmq.frames import frames, header
from brokers.rabbitmq.publishing import refusals
from brokers.rabbitmq.subscription import Unsettled
from brokers.rabbitmq.wire import message_of


def unsettled(*tags: int) -> Unsettled:
    made = Unsettled()
    for tag in tags:
        made.add(tag)
    return made


def test_a_whole_batch_is_settled_by_one_frame() -> None:
    assert unsettled(1, 2, 3).settle([3, 1, 2]) == [(3, True)]


def test_a_single_delivery_is_settled_alone() -> None:
    assert unsettled(1, 2).settle([1]) == [(1, False)]


def test_what_lies_behind_a_gap_is_settled_one_by_one() -> None:
    assert unsettled(1, 2, 3, 4, 5).settle([1, 2, 4, 5]) == [(2, True), (4, False), (5, False)]


def test_unknown_and_settled_tags_are_skipped() -> None:
    tags = unsettled(1, 2)
    tags.settle([1])
    assert tags.settle([1, 7]) == []


@given(some.integers(0, 12), some.lists(some.sets(some.integers(1, 12)), max_size=6))
def test_no_frame_ever_settles_what_was_not_asked(arrived: int, calls: list[set[int]]) -> None:
    tags = unsettled(*range(1, arrived + 1))
    open_at_broker = set(range(1, arrived + 1))
    for asked in calls:
        for tag, multiple in tags.settle(asked):
            settled = {n for n in open_at_broker if n <= tag} if multiple else {tag}
            assert settled <= asked
            open_at_broker -= settled
        assert not open_at_broker & asked


def test_a_taker_that_gave_up_passes_its_turn_on() -> None:
    async def play() -> list[int]:
        buffer: Buffer[int] = Buffer()
        first, second = (asyncio.create_task(buffer.take(1)) for _ in range(2))
        await asyncio.sleep(0)
        buffer.push(7)
        first.cancel()
        await asyncio.wait([first])
        return await second

    assert asyncio.run(play()) == [7]


def test_takers_get_the_error_that_ended_the_buffer_each_time() -> None:
    async def play() -> None:
        buffer: Buffer[int] = Buffer()
        waiting = asyncio.create_task(buffer.take(1))
        await asyncio.sleep(0)
        buffer.fail(NotFound("gone"))
        for call in (waiting, buffer.take(1)):
            with pytest.raises(NotFound, match="gone"):
                await call

    asyncio.run(play())


def test_an_id_that_comes_twice_in_a_burst_is_refused_the_second_time() -> None:
    item = Publication("", "queue", Message(body=b"", message_id="same"))
    assert [type(outcome) for outcome in refusals([item, item])] == [type(None), ProtocolMisuse]


def test_a_url_is_shown_without_its_password() -> None:
    assert censored("amqp://me:pa%40ss@host:1/v") == "amqp://me:***@host:1/v"
    assert censored("amqp://me@host/v") == "amqp://me@host/v"
    assert censored("amqp://me:pass@[::1") == "amqp://me:***@[::1"


def test_several_nodes_are_named_in_one_url() -> None:
    assert split_urls("amqp://a, amqps://b:1") == ["amqp://a", "amqps://b:1"]


TEXT = some.text(max_size=40)
SHORT = some.none() | TEXT.filter(bool)
SCALARS = TEXT | some.booleans() | some.integers(-(2**63), 2**63 - 1)
NAMES = some.text(min_size=1, max_size=30).filter(lambda name: not name.startswith("x-") and name not in {"CC", "BCC"})
MESSAGES = some.builds(
    Message,
    body=some.binary(max_size=50),
    message_id=TEXT.filter(bool),
    type=TEXT,
    headers=some.dictionaries(NAMES, SCALARS, max_size=5),
    correlation_id=SHORT,
    app_id=SHORT,
    timestamp=some.none() | some.integers(0, 2**32 - 1),  # pamqp reads larger ones as milliseconds
    content_type=SHORT,
    content_encoding=SHORT,
    reply_to=SHORT,
)


def read_frames(data: bytes) -> list[Any]:
    found = []
    while data:
        size, _, frame = unmarshal(data)
        found.append(frame)
        data = data[size:]
    return found


@given(MESSAGES)
def test_the_fast_frames_say_what_the_message_says(message: Message) -> None:
    method, head, *bodies = read_frames(frames(Publication("events", "a.key", message, mandatory=False), 3, 16))
    assert (method.exchange, method.routing_key, method.mandatory) == ("events", "a.key", False)
    assert isinstance(head, ContentHeader)
    assert head.properties.delivery_mode == 2
    assert (head.properties.priority, head.properties.expiration) == (None, None)
    assert message_of(head.properties, b"".join(part.value for part in bodies)) == message
    assert head.body_size == len(message.body)


@given(MESSAGES)
def test_the_size_check_agrees_with_the_fast_frames(message: Message) -> None:
    integers = sum(isinstance(value, int) for value in message.headers.values())
    assert abs(len(header(message)) - header_frame_size(message)) <= 3 * integers
