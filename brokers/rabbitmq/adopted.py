"""A channel that an application opened and keeps: the middleware publishes and settles on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brokers.contract import Capabilities, Delivery
from brokers.errors import BrokerUnreachable, ProtocolMisuse
from brokers.rabbitmq.consuming import delivery_count_of
from brokers.rabbitmq.declaring import declare_part
from brokers.rabbitmq.foreign import translated
from brokers.rabbitmq.publishing import InFlight, judge, refusals
from brokers.rabbitmq.wire import PlainWire, message_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

    from brokers.contract import Declarable, Publication
    from brokers.rabbitmq.publishing import Outcome


class AdoptedChannel:
    """Publishes and settles through a channel that stays the application's: it is never closed or replaced here.

    After a `PublishUnknown` or `PublishRefused` the application should replace the channel, as the broker's own
    adapter does by itself.
    """

    def __init__(self, channel: AbstractChannel, *, timeout: float = 10.0) -> None:
        if not channel.publisher_confirms:
            raise ProtocolMisuse(
                "the channel has no publisher confirms, so a lost message would go unnoticed "
                "(fix: connection.channel(publisher_confirms=True, on_return_raises=True))"
            )
        self._channel = channel
        self._timeout = timeout
        self._wire = PlainWire()
        self._in_flight = InFlight()

    @property
    def capabilities(self) -> Capabilities:
        """All of them, as far as the methods here go."""
        return Capabilities()

    async def publish(self, publication: Publication) -> None:
        """Returns when the broker has confirmed and routed the message, raises a `BrokerError` otherwise."""
        (outcome,) = await self.publish_all([publication])
        if outcome is not None:
            raise outcome

    async def publish_all(self, publications: Sequence[Publication]) -> Sequence[Outcome]:
        """One pipelined burst. The outcome of each, in order: `None` is confirmed and routed."""
        outcomes = refusals(publications)
        going = [number for number, outcome in enumerate(outcomes) if outcome is None]
        batch = [publications[number] for number in going]
        async with self._in_flight.hold([item.message.message_id for item in batch]):
            failures = await self._wire.burst(self._channel, batch, self._timeout)
        for number, failure, item in zip(going, failures, batch, strict=True):
            outcomes[number] = judge(failure, item, alone=False)
        return outcomes

    async def declare(self, parts: Iterable[Declarable]) -> None:
        """Create what is missing, in the order given, on a channel beside the application's own.

        Raises `TopologyMismatch` naming the part, or `NotFound`; neither closes the application's channel.
        """
        with translated("opening a channel to declare on"):
            given = await self._channel.get_underlay_channel()
            own = await given.connection.channel(publisher_confirms=False, timeout=self._timeout)
        try:
            for part in parts:
                with translated(f"declaring {part}"):
                    await declare_part(own, part, self._timeout)
        finally:
            if not own.is_closed:
                await own.close()

    def delivery(self, message: AbstractIncomingMessage, queue: str) -> Delivery:
        """The message as the toolkit sees it; settle it with the calls below."""
        content = message_of(message.properties, message.body)
        return Delivery(
            message=content,
            queue=queue,
            exchange=message.exchange or "",
            routing_key=message.routing_key or "",
            tag=message.delivery_tag or 0,
            redelivered=bool(message.redelivered),
            delivery_count=delivery_count_of(content),
        )

    async def ack(self, message: AbstractIncomingMessage) -> None:
        """Done: the broker forgets it. Skipped when its channel is gone: the broker hands it out again."""
        await _settle(message.ack())

    async def requeue(self, message: AbstractIncomingMessage) -> None:
        """Give back: it is delivered again. Skipped when its channel is gone."""
        await _settle(message.nack(requeue=True))

    async def reject(self, message: AbstractIncomingMessage) -> None:
        """Dead-letter by the queue's own rule. Skipped when its channel is gone."""
        await _settle(message.nack(requeue=False))


def adopt(channel: AbstractChannel) -> AdoptedChannel:
    """Use an application's own aio-pika channel. Raises `ProtocolMisuse` when it has no publisher confirms."""
    return AdoptedChannel(channel)


async def _settle(call: Awaitable[None]) -> None:
    try:
        with translated("settling a message"):
            await call
    except BrokerUnreachable:
        return
