"""How bytes get to a channel and from it: the plain way, through the public calls of aio-pika and aiormq."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import aio_pika
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import PublishError

from brokers.contract import Message, Publication
from brokers.framesize import sendable_headers
from brokers.rabbitmq.foreign import FOREIGN, is_cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aio_pika.abc import AbstractChannel
    from aiormq.abc import AbstractChannel as Underlay
    from aiormq.abc import AbstractConnection
    from pamqp.commands import Basic

Verdict = Literal["ack", "requeue", "reject"]

Failure = BaseException | None
"""What the library said about one publish: None is confirmed and routed."""


class Arrived(NamedTuple):
    """A message as it came through a channel, with its delivery tag there."""

    message: Message
    tag: int
    exchange: str
    routing_key: str
    redelivered: bool


class Wire(Protocol):
    """What a faster implementation may do differently."""

    @property
    def connection(self) -> type[aio_pika.Connection]:
        """The kind of connection that it works on."""
        ...

    def flows(self, transport: AbstractConnection) -> bool:
        """Whether the broker lets this connection publish, as far as it can be told without waiting."""
        ...

    async def burst(self, channel: AbstractChannel, batch: Sequence[Publication], timeout: float) -> list[Failure]:
        """Publish in the order given, all at once, and wait for every confirm. Raises only a real cancel."""
        ...

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
        ...

    async def settle(self, underlay: Underlay, tag: int, *, multiple: bool, verdict: Verdict) -> None:
        """Send one frame that settles. Raises what the library raises for a channel that is gone."""
        ...


class PlainWire:
    """One library call a message."""

    connection = aio_pika.Connection

    def flows(self, transport: AbstractConnection) -> bool:  # noqa: ARG002
        """It can't be told: the library has no call for it that does not wait."""
        return False

    async def burst(self, channel: AbstractChannel, batch: Sequence[Publication], timeout: float) -> list[Failure]:
        """Publish in the order given, all at once, and wait for every confirm. Raises only a real cancel."""
        if len(batch) == 1:
            return [await publish(channel, batch[0], timeout)]
        return await asyncio.gather(*(publish(channel, publication, timeout) for publication in batch))

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

        async def callback(message: DeliveredMessage) -> None:
            deliver(arrived(message))

        answer = await underlay.basic_consume(queue, callback, arguments=arguments, timeout=timeout)
        return str(answer.consumer_tag)

    async def settle(self, underlay: Underlay, tag: int, *, multiple: bool, verdict: Verdict) -> None:
        """Send one frame that settles. Raises what the library raises for a channel that is gone."""
        if verdict == "ack":
            await underlay.basic_ack(tag, multiple=multiple, wait=False)
        else:
            await underlay.basic_nack(tag, multiple=multiple, requeue=verdict == "requeue", wait=False)


async def publish(channel: AbstractChannel, publication: Publication, timeout: float) -> Failure:
    """Publish one message through aio-pika; what it raised, or None. Raises only a real cancel."""
    try:
        exchange = await channel.get_exchange(publication.exchange, ensure=False)
        result = await exchange.publish(
            library_message(publication.message),
            publication.routing_key,
            mandatory=publication.mandatory,
            timeout=timeout,
        )
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        return error
    except FOREIGN as error:
        return error
    return unless_returned(result)


def unless_returned(result: object) -> Failure:
    """A channel that does not raise for returned messages hands the message back instead of a confirm."""
    if isinstance(result, DeliveredMessage):
        return PublishError(result, result.delivery)
    return None


def library_message(message: Message) -> aio_pika.Message:
    """The message as aio-pika wants it: persistent, without the broker's own headers, priority not set."""
    made = aio_pika.Message(
        message.body,
        headers=dict(sendable_headers(message.headers)),
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message.message_id,
        type=message.type or None,
        correlation_id=message.correlation_id,
        app_id=message.app_id,
        timestamp=None if message.timestamp is None else datetime.fromtimestamp(message.timestamp, UTC),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        reply_to=message.reply_to,
    )
    made.priority = None
    return made


def arrived(message: DeliveredMessage) -> Arrived:
    """What the library hands to a consumer's callback."""
    return Arrived(
        message_of(message.header.properties, message.body),
        message.delivery_tag or 0,
        message.exchange or "",
        message.routing_key or "",
        bool(message.redelivered),
    )


def message_of(properties: Basic.Properties, body: bytes) -> Message:
    """The message that came in, with all its headers."""
    return Message(body=body, **values_of(properties))


def values_of(properties: Basic.Properties) -> dict[str, Any]:
    """The properties under the names that a message has for them."""
    stamp = properties.timestamp
    return {
        "message_id": properties.message_id or "",
        "type": properties.message_type or "",
        "headers": properties.headers or {},
        "correlation_id": properties.correlation_id,
        "app_id": properties.app_id,
        "timestamp": None if stamp is None else int(stamp.timestamp()),
        "content_type": properties.content_type,
        "content_encoding": properties.content_encoding,
        "reply_to": properties.reply_to,
    }
