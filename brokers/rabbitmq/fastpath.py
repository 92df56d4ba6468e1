"""Below aio-pika's public calls: one write a burst, no task a delivery. `choice` asks whether their inside is known.

aiormq creates a future, several frame objects and a socket write for each publish, and a task for each delivery.
Here a burst is one buffer and one future, and a delivery is one function call (see `brokers.rabbitmq.tap`). Confirms
and returns are still counted by aiormq itself, by delivery tag and message id.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from aiormq.abc import ChannelFrame

from brokers.rabbitmq.foreign import FOREIGN, is_cancelled
from brokers.rabbitmq.frames import ack, frames
from brokers.rabbitmq.line import take_confirms, written
from brokers.rabbitmq.tap import Sink, TappedConnection, tap_of
from brokers.rabbitmq.wire import PlainWire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aio_pika.abc import AbstractChannel
    from aiormq.abc import AbstractChannel as Underlay
    from aiormq.abc import AbstractConnection, DeliveredMessage
    from aiormq.channel import Channel

    from brokers.contract import Publication
    from brokers.rabbitmq.wire import Arrived, Failure, Verdict

_WRITE_BYTES = 256 * 1024
"""A burst is written in pieces of about this size, so that large bodies do not pile up in memory."""

_BODY_LIMIT = 131_064


class Burst:
    """The confirms of one burst: a single future instead of one a message."""

    def __init__(self, size: int, landed: asyncio.Future[None]) -> None:
        self.failures: list[Failure] = [None] * size
        self._waiting = set(range(size))
        self._landed = landed

    def land(self, number: int, failure: Failure) -> None:
        """The broker answered for this message."""
        self._waiting.discard(number)
        self.failures[number] = failure
        if not self._waiting and not self._landed.done():
            self._landed.set_result(None)

    def is_waiting(self, number: int) -> bool:
        """Whether the broker has not answered for this message yet."""
        return number in self._waiting

    def fail(self, failure: Failure) -> None:
        """No more answers will come."""
        for number in self._waiting:
            self.failures[number] = failure


class Slot:
    """Stands in `Channel.confirmations` where aiormq expects a future for one message."""

    __slots__ = ("_burst", "_number")

    def __init__(self, burst: Burst, number: int) -> None:
        self._burst = burst
        self._number = number

    def done(self) -> bool:
        """As of a future."""
        return not self._burst.is_waiting(self._number)

    def cancelled(self) -> bool:
        """As of a future."""
        return False

    def set_result(self, _frame: object) -> None:
        """Confirmed."""
        self._burst.land(self._number, None)

    def set_exception(self, error: BaseException) -> None:
        """Returned or refused."""
        self._burst.land(self._number, error)


class FastWire:
    """`brokers.rabbitmq.wire.Wire` on the inside of aiormq 7.2."""

    connection = TappedConnection
    _plain = PlainWire()

    def flows(self, transport: AbstractConnection) -> bool:
        """Whether the broker lets this connection publish, as far as it can be told without waiting."""
        tap = tap_of(transport)
        return tap is not None and not tap.alarm.on

    async def burst(self, channel: AbstractChannel, batch: Sequence[Publication], timeout: float) -> list[Failure]:
        """Publish in the order given, all at once, and wait for every confirm. Raises only a real cancel."""
        underlay = cast("Channel", await channel.get_underlay_channel())
        take_confirms(underlay)
        landed: asyncio.Future[None] = underlay.create_future()
        burst = Burst(len(batch), landed)
        try:
            async with asyncio.timeout(timeout):
                await _write(underlay, batch, burst)
                await landed
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            burst.fail(error)
        except FOREIGN as error:
            burst.fail(error)
        finally:
            landed.cancel()
            _forget(underlay, batch)
        return burst.failures

    async def consume(
        self,
        underlay: Underlay,
        queue: str,
        deliver: Callable[[Arrived], None],
        *,
        arguments: dict[str, Any],
        timeout: float,
    ) -> str:
        """Subscribe; `deliver` is called for each message, in order. Returns the consumer tag."""
        tap = tap_of(underlay.connection)
        if tap is None:
            return await self._plain.consume(underlay, queue, deliver, arguments=arguments, timeout=timeout)
        undo = tap.divert(underlay.number, Sink(deliver))
        underlay.closing.add_done_callback(lambda _: undo())
        answer = await underlay.basic_consume(queue, _never, arguments=arguments, timeout=timeout)
        return str(answer.consumer_tag)

    async def settle(self, underlay: Underlay, tag: int, *, multiple: bool, verdict: Verdict) -> None:
        """Send one frame that settles. Raises what the library raises for a channel that is gone."""
        if verdict != "ack" or not written(underlay, ack(underlay.number, tag, multiple=multiple)):
            await self._plain.settle(underlay, tag, multiple=multiple, verdict=verdict)


async def _never(message: DeliveredMessage) -> None:
    raise AssertionError(f"{message} came past the tap")


async def _write(underlay: Channel, batch: Sequence[Publication], burst: Burst) -> None:
    async with underlay.lock:
        limit = underlay.max_content_size if underlay.max_content_size > 0 else _BODY_LIMIT
        for first, pieces in _pieces(batch, underlay.number, limit):
            before = underlay.delivery_tag
            for number in range(first, first + len(pieces)):
                underlay.delivery_tag += 1
                underlay.confirmations[underlay.delivery_tag] = cast("asyncio.Future[Any]", Slot(burst, number))
                underlay.message_id_delivery_tag[batch[number].message.message_id] = underlay.delivery_tag
            try:
                data = b"".join(pieces)
                if not written(underlay, data):
                    await underlay.write_queue.put(
                        ChannelFrame(data, should_close=False, drain_future=underlay.create_future())
                    )
            except BaseException:
                # The broker has not seen these: their numbers are used again, as it counts what it gets.
                for tag in range(before + 1, underlay.delivery_tag + 1):
                    underlay.confirmations.pop(tag, None)
                underlay.delivery_tag = before
                raise


def _pieces(batch: Sequence[Publication], channel: int, limit: int) -> Iterator[tuple[int, list[bytes]]]:
    """Marshalled publications, grouped for one write each, with the number of the first."""
    pieces: list[bytes] = []
    size = first = 0
    for number, publication in enumerate(batch):
        piece = frames(publication, channel, limit)
        if pieces and size + len(piece) > _WRITE_BYTES:
            yield first, pieces
            pieces, size, first = [], 0, number
        pieces.append(piece)
        size += len(piece)
    yield first, pieces


def _forget(underlay: Channel, batch: Sequence[Publication]) -> None:
    for publication in batch:
        underlay.message_id_delivery_tag.pop(publication.message.message_id, None)
