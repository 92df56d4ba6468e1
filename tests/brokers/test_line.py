"""A channel's own line: what goes straight to the socket, and which confirms come straight from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pamqp import commands
from pamqp.frame import marshal
from pamqp.heartbeat import Heartbeat

from brokers.rabbitmq.fastpath import FastWire
from brokers.rabbitmq.frames import ack
from brokers.rabbitmq.line import Confirms, take_confirms, written
from brokers.rabbitmq.tap import METHOD, Tap, Tapping

RETURN = marshal(commands.Basic.Return(312, "NO_ROUTE", "events", "key"), 1)


class Slot:
    """Stands for who waits for a confirm."""

    landed = False

    def done(self) -> bool:
        return self.landed

    def set_result(self, _: object) -> None:
        assert not self.landed
        self.landed = True


@dataclass(eq=False)
class Transport:
    """A socket that took everything, or did not."""

    backlog: int = 0
    sent: list[bytes] = field(default_factory=list)
    closing: bool = False

    @property
    def transport(self) -> Transport:
        return self

    def get_write_buffer_size(self) -> int:
        return self.backlog

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.sent.append(data)


@dataclass(eq=False)
class Channel:
    """What the line uses of a channel of the library."""

    connection: Any = None
    number: int = 1
    is_closed: bool = False
    confirmations: dict[int, Slot] = field(default_factory=dict)
    write_queue: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    closing: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def waits(self, *tags: int) -> list[Slot]:
        slots = [Slot() for _ in tags]
        self.confirmations |= dict(zip(tags, slots, strict=True))
        return slots


def tapped(tap: Tap | None, writer: Any = None) -> Any:
    """A connection of the library, with a tap in it."""
    factory = Tapping()
    factory.tap = tap
    if tap is not None:
        tap.writer = writer
    return type("Connection", (), {"_transport_factory": factory})()


def confirm(tag: int, *, multiple: bool = False) -> bytes:
    return marshal(commands.Basic.Ack(tag, multiple), 1)


@given(some.integers(1, 65535), some.integers(1, 2**63 - 1), some.booleans())
def test_an_acknowledgement_is_written_as_the_library_writes_it(channel: int, tag: int, multiple: bool) -> None:
    assert ack(channel, tag, multiple=multiple) == marshal(commands.Basic.Ack(tag, multiple), channel)


@pytest.mark.parametrize(("multiple", "landed"), [(False, [False, True, False]), (True, [True, True, False])])
def test_a_confirm_is_counted_without_the_library(multiple: bool, landed: list[bool]) -> None:
    async def scenario() -> None:
        channel = Channel()
        slots = channel.waits(1, 2, 3)
        assert Confirms(channel).takes(METHOD, confirm(2, multiple=multiple))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert [slot.landed for slot in slots] == landed
        assert list(channel.confirmations) == [tag for tag, done in zip((1, 2, 3), landed, strict=True) if not done]

    asyncio.run(scenario())


def test_a_confirm_of_what_nobody_waits_for_harms_nobody() -> None:
    async def scenario() -> None:
        channel = Channel()
        assert Confirms(channel).takes(METHOD, confirm(7))  # type: ignore[arg-type]
        await asyncio.sleep(0)

    asyncio.run(scenario())


@pytest.mark.parametrize("before", [RETURN, marshal(commands.Basic.Nack(1, False, False), 1)], ids=["return", "nack"])
def test_no_confirm_overtakes_what_the_library_has_yet_to_read(before: bytes) -> None:
    async def scenario() -> None:
        channel = Channel()
        slots = channel.waits(1, 2)
        confirms = Confirms(channel)  # type: ignore[arg-type]
        assert not confirms.takes(METHOD, before)
        assert not confirms.takes(METHOD, confirm(1))
        confirms.caught_up()
        assert not confirms.takes(METHOD, confirm(2))
        await asyncio.sleep(0)
        assert not any(slot.landed for slot in slots)
        channel.confirmations.clear()
        confirms.caught_up()
        assert confirms.takes(METHOD, confirm(3))

    asyncio.run(scenario())


def test_a_confirm_that_cannot_be_read_goes_to_the_library_whole() -> None:
    async def scenario() -> None:
        tap = Tap()
        tap.divert(1, Confirms(Channel()))  # type: ignore[arg-type]
        cut = b"\x01\x00\x01\x00\x00\x00\x06\x00\x3c\x00\x50\x00\x00\xce"
        tap.feed_data(cut + confirm(1))
        tap.feed_eof()
        assert await tap.read() == cut + confirm(1)

    asyncio.run(scenario())


def test_a_channel_gets_its_own_confirms_also_under_the_number_of_an_earlier_one() -> None:
    async def scenario() -> None:
        tap = Tap()
        earlier, later = Channel(tapped(tap)), Channel(tapped(tap))
        (old,), (new,) = earlier.waits(1), later.waits(1)
        take_confirms(earlier)  # type: ignore[arg-type]
        take_confirms(earlier)  # type: ignore[arg-type]
        take_confirms(later)  # type: ignore[arg-type]
        earlier.closing.set_result(None)
        await asyncio.sleep(0)
        tap.feed_data(confirm(1))
        await asyncio.sleep(0)
        assert (old.landed, new.landed) == (False, True)
        later.closing.set_result(None)
        await asyncio.sleep(0)
        assert tap.diverted(1) is None

    asyncio.run(scenario())


def test_frames_go_to_the_socket_at_once_where_nothing_waits_before_them() -> None:
    async def scenario() -> None:
        socket = Transport()
        channel = Channel(tapped(Tap(), socket))
        assert written(channel, b"frames")  # type: ignore[arg-type]
        assert socket.sent == [b"frames"]

    asyncio.run(scenario())


@pytest.mark.parametrize("why", ["queued", "slow socket", "closing", "closed channel", "no tap"])
def test_where_something_waits_the_library_writes(why: str) -> None:
    async def scenario() -> None:
        socket = Transport(backlog=int(why == "slow socket"), closing=why == "closing")
        channel = Channel(tapped(None if why == "no tap" else Tap(), socket), is_closed=why == "closed channel")
        if why == "queued":
            channel.write_queue.put_nowait(b"earlier")
        assert not written(channel, b"frames")  # type: ignore[arg-type]
        assert socket.sent == []

    asyncio.run(scenario())


def test_whether_the_broker_lets_a_connection_publish_is_known_from_its_own_frames() -> None:
    async def scenario() -> None:
        tap, wire = Tap(), FastWire()
        connection = tapped(tap)
        told = [wire.flows(connection)]
        for frame in (commands.Connection.Blocked("low on memory"), Heartbeat(), commands.Connection.Unblocked()):
            tap.feed_data(marshal(frame, 0))
            told.append(wire.flows(connection))
        assert told == [True, False, False, True]
        tap.feed_data(b"no frame at all")
        assert not wire.flows(connection)
        assert not wire.flows(tapped(None))

    asyncio.run(scenario())
