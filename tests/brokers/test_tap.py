"""What the tap takes out of a connection's bytes is what the library would have read, and the rest passes untouched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aiormq.connection import FrameReceiver
from hypothesis import given
from hypothesis import strategies as some
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from brokers.rabbitmq import tap as taps
from brokers.rabbitmq.tap import Sink, Tap
from brokers.rabbitmq.wire import Arrived, message_of

TEXT = some.text(max_size=20)
FIELDS = (
    TEXT
    | some.booleans()
    | some.integers(-(2**63), 2**63 - 1)
    | some.floats(allow_nan=False, allow_infinity=False, width=32)
    | some.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1), timezones=some.just(UTC)).map(
        lambda moment: moment.replace(microsecond=0)
    )
    | some.just(Decimal("1.5"))
    | some.binary(max_size=5).map(bytearray)
    | some.none()
)
HEADERS = some.dictionaries(
    some.text(min_size=1, max_size=20),
    FIELDS | some.lists(some.dictionaries(some.text(min_size=1, max_size=5), FIELDS, max_size=3), max_size=2),
    max_size=4,
)
PROPERTIES = some.fixed_dictionaries(
    {},
    optional={
        "content_type": TEXT,
        "content_encoding": TEXT,
        "headers": HEADERS,
        "delivery_mode": some.integers(1, 2),
        "priority": some.integers(0, 9),
        "correlation_id": TEXT,
        "reply_to": TEXT,
        "expiration": some.just("1000"),
        "message_id": TEXT,
        "timestamp": some.integers(1, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
        "message_type": TEXT,
        "user_id": some.just("guest"),
        "app_id": TEXT,
    },
)
CUTS = some.lists(some.integers(1, 200), max_size=30)
OTHERS = [marshal(Heartbeat(), 0), marshal(commands.Basic.Ack(7, False), 2), marshal(commands.Basic.CancelOk("c"), 1)]


def delivery(tag: int, properties: dict[str, Any], body: bytes, *, channel: int = 1) -> tuple[bytes, Arrived]:
    """The frames of a delivery, and what they say by the library's own reading."""
    known = commands.Basic.Properties(**properties)
    parts = [
        marshal(commands.Basic.Deliver("ctag", tag, bool(tag % 2), "events", f"key.{tag}"), channel),
        marshal(ContentHeader(0, len(body), known), channel),
        *(marshal(ContentBody(body[at : at + 16]), channel) for at in range(0, len(body), 16)),
    ]
    read = ContentHeader()
    read.unmarshal(parts[1][7:-1])
    arrived = Arrived(message_of(read.properties, body), tag, "events", f"key.{tag}", bool(tag % 2))
    return b"".join(parts), arrived


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes as a socket may hand them over."""
    found = []
    for cut in cuts:
        found.append(data[:cut])
        data = data[cut:]
    return [piece for piece in [*found, data] if piece]


def with_tap(work: Callable[[Tap], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await work(Tap())

    return asyncio.run(run())


async def passed(tap: Tap, data: list[bytes]) -> bytes:
    """What goes on to the library."""
    for piece in data:
        tap.feed_data(piece)
    tap.feed_eof()
    return await tap.read()


@given(some.lists(some.tuples(PROPERTIES, some.binary(max_size=40)), max_size=4), CUTS)
def test_deliveries_are_read_as_the_library_reads_them(
    sent: list[tuple[dict[str, Any], bytes]], cuts: list[int]
) -> None:
    made = [delivery(tag, properties, body) for tag, (properties, body) in enumerate(sent, 1)]
    data = b"".join(frames + OTHERS[n % 3] for n, (frames, _) in enumerate(made))
    got: list[Arrived] = []

    async def work(tap: Tap) -> bytes:
        tap.divert(1, Sink(got.append))
        return await passed(tap, pieces(data, cuts))

    assert with_tap(work) == b"".join(OTHERS[n % 3] for n in range(len(made)))
    assert got == [arrived for _, arrived in made]


@given(CUTS)
def test_other_channels_and_other_frames_pass_untouched(cuts: list[int]) -> None:
    theirs = delivery(1, {"message_id": "m"}, b"body", channel=2)[0]
    got_ok = (
        marshal(commands.Basic.GetOk(1, False, "", "q", 0), 1)
        + delivery(1, {}, b"x")[0][len(marshal(commands.Basic.Deliver("ctag", 1, True, "events", "key.1"), 1)) :]
    )
    data = theirs + got_ok + b"".join(OTHERS)

    async def work(tap: Tap) -> bytes:
        tap.divert(1, Sink(lambda _: pytest.fail("nobody delivered on channel 1")))
        return await passed(tap, pieces(data, cuts))

    assert with_tap(work) == data


def test_nothing_is_taken_after_the_diversion_is_undone() -> None:
    data, arrived = delivery(1, {"message_id": "m"}, b"body")
    got: list[Arrived] = []

    async def work(tap: Tap) -> bytes:
        undo = tap.divert(1, Sink(got.append))
        tap.feed_data(data)
        undo()
        return await passed(tap, [data])

    assert with_tap(work) == data
    assert got == [arrived]


def test_a_delivery_that_was_cut_off_by_a_new_channel_of_its_number_is_forgotten() -> None:
    data, arrived = delivery(2, {"message_id": "m"}, b"body")
    got: list[Arrived] = []

    async def work(tap: Tap) -> bytes:
        tap.divert(1, Sink(got.append))
        return await passed(tap, [data[: data.index(b"\xce") + 1], OTHERS[2], data])

    assert with_tap(work) == OTHERS[2]
    assert got == [arrived]


@pytest.mark.parametrize(
    "wrong",
    [
        b"AMQP\x00\x00\x09\x01",
        b"\x01\x00\x01\x00\x00\x00\x02ab\xcd",
        marshal(commands.Basic.Deliver("ctag", 1, False, "events", "key"), 1) + b"\x02\x00\x01\x00\x00\x00\x03abc\xce",
        delivery(1, {"message_id": "m"}, b"")[0].replace(b"\x00\x3c\x00\x3c\x04", b"\x00\x3c\x00\x3c\xff"),
    ],
    ids=["another protocol", "a frame without its end", "a header that is none", "a method that lies"],
)
def test_what_cannot_be_read_goes_to_the_library_whole_and_all_that_follows(wrong: bytes) -> None:
    async def work(tap: Tap) -> bytes:
        tap.divert(1, Sink(lambda _: pytest.fail("this can't be read")))
        return await passed(tap, [OTHERS[1] + wrong, OTHERS[0]])

    assert with_tap(work) == OTHERS[1] + wrong + OTHERS[0]


def test_the_library_sees_a_connection_alive_on_which_all_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "_SIGN_EVERY", 0.0)

    async def work(tap: Tap) -> Any:
        tap.divert(1, Sink(lambda _: None))
        tap.feed_data(delivery(1, {}, b"x")[0])
        return (await FrameReceiver(tap).get_frame())[2]

    assert isinstance(with_tap(work), Heartbeat)


def test_the_end_of_the_stream_in_the_middle_of_a_frame_is_the_librarys_to_tell() -> None:
    data = delivery(1, {"message_id": "m"}, b"body")[0]

    async def work(tap: Tap) -> bytes:
        tap.divert(1, Sink(lambda _: None))
        return await passed(tap, [data[:5]])

    assert with_tap(work) == data[:5]
