"""Declaring, deleting, counting: questions that need an answer, on a channel that an error may close."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

from brokers.contract import Binding, Declarable, Exchange, ExchangeBinding, Queue
from brokers.errors import NotFound, ProtocolMisuse
from brokers.rabbitmq.consuming import OFFSET, offset_of
from brokers.rabbitmq.foreign import translated
from brokers.rabbitmq.wire import arrived

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from aio_pika.abc import AbstractChannel
    from aiormq.abc import AbstractChannel as Underlay
    from aiormq.abc import DeliveredMessage

    from brokers.rabbitmq.chores import Chores
    from brokers.rabbitmq.connection import Link

T = TypeVar("T")

HASH_PLUGIN = "rabbitmq_consistent_hash_exchange"
"""Ships with the server, not enabled by default."""

_WHOLE_CHUNK = 65_535
"""Prefetch that is never the limit when a stream's last chunk is read."""


class Desk:
    """One channel for everything that is asked of the broker, opened anew after an error has closed it."""

    def __init__(self, link: Link, chores: Chores, *, timeout: float) -> None:
        self._link = link
        self._chores = chores
        self._timeout = timeout
        self._asking = asyncio.Lock()
        self._channel: AbstractChannel | None = None

    async def declare(self, part: Declarable) -> None:
        """Create it when it is missing. Raises `TopologyMismatch` naming the part, or `NotFound`."""
        try:
            await self._ask(f"declaring {part}", lambda underlay: declare_part(underlay, part, self._timeout))
        except ProtocolMisuse as error:
            raise _with_fix(error) from error

    async def unbind(self, binding: Binding | ExchangeBinding) -> None:
        """Take a binding away; RabbitMQ calls it done when there was none."""
        await self._ask(f"removing {binding}", lambda underlay: unbind_part(underlay, binding, self._timeout))

    async def delete_queue(self, name: str) -> None:
        """Delete a queue; a missing one is no error."""
        try:
            await self._ask(f"deleting {name!r}", lambda underlay: underlay.queue_delete(name, timeout=self._timeout))
        except NotFound:
            return

    async def depth(self, queue: str) -> int:
        """Messages ready in the queue."""
        answer = await self._ask(
            f"counting {queue!r}",
            lambda underlay: underlay.queue_declare(queue, passive=True, timeout=self._timeout),
        )
        return answer.message_count or 0

    async def end(self, stream: str) -> int:
        """The offset one past the stream's last message, read on a channel of its own."""
        channel = await self._link.channel(confirms=False)
        try:
            with translated(f"reading the end of {stream!r}"):
                return await _end(await channel.get_underlay_channel(), stream, self._timeout)
        finally:
            if not channel.is_closed:
                self._chores.add(channel.close())

    async def _ask(self, what: str, question: Callable[[Underlay], Awaitable[T]]) -> T:
        async with self._asking:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._link.channel(confirms=False)
            with translated(what):
                return await question(await self._channel.get_underlay_channel())


async def declare_part(underlay: Underlay, part: Declarable, timeout: float) -> None:
    """Create one part; raises what aiormq raises, which closes the channel."""
    match part:
        case Exchange(name, kind, hash_on):
            arguments: dict[str, Any] = {} if hash_on is None else {"hash-property": hash_on}
            await underlay.exchange_declare(
                name, exchange_type=kind, durable=True, arguments=arguments, timeout=timeout
            )
        case Queue():
            await underlay.queue_declare(part.name, durable=True, arguments=arguments_of(part), timeout=timeout)
        case Binding(queue, exchange, key):
            await underlay.queue_bind(queue, exchange, key, timeout=timeout)
        case ExchangeBinding(exchange, source, key):
            await underlay.exchange_bind(exchange, source, key, timeout=timeout)
        case _:
            assert_never(part)


async def unbind_part(underlay: Underlay, binding: Binding | ExchangeBinding, timeout: float) -> None:
    """Remove one binding."""
    match binding:
        case Binding(queue, exchange, key):
            await underlay.queue_unbind(queue, exchange, key, timeout=timeout)
        case ExchangeBinding(exchange, source, key):
            await underlay.exchange_unbind(exchange, source, key, timeout=timeout)


def _with_fix(error: ProtocolMisuse) -> ProtocolMisuse:
    """The broker's word about an exchange type that it does not know names no remedy."""
    if "unknown exchange type 'x-consistent-hash'" not in str(error):
        return error
    return ProtocolMisuse(f"{error} (fix: on every node run `rabbitmq-plugins enable {HASH_PLUGIN}`)")


def arguments_of(queue: Queue) -> dict[str, Any]:
    """The `x-` arguments that RabbitMQ wants for this queue."""
    arguments = {
        "x-queue-type": queue.kind,
        "x-message-ttl": queue.ttl_ms,
        "x-dead-letter-exchange": queue.dead_letter_exchange,
        "x-dead-letter-routing-key": queue.dead_letter_key,
        "x-delivery-limit": queue.delivery_limit,
        "x-dead-letter-strategy": "at-least-once" if queue.at_least_once else None,
        "x-overflow": "reject-publish" if queue.at_least_once else None,
        "x-max-age": queue.max_age,
        "x-max-length-bytes": queue.max_bytes,
        "x-expires": queue.expires_ms,
        "x-single-active-consumer": queue.single_active_consumer or None,
        # Without it every leader sits on the node that the declaring service happened to talk to.
        "x-queue-leader-locator": "balanced" if queue.kind == "quorum" else None,
    }
    return {name: value for name, value in arguments.items() if value is not None}


async def _end(underlay: Underlay, stream: str, timeout: float) -> int:
    """Read the last chunk and nothing else; an empty stream sends nothing.

    How many messages a stream has is counted by the broker every five seconds only, so it can't be asked. What
    `last` has to give is sent to the channel before a second consumer is answered (both are registered with the
    same stream process), and before the answer to the question after that it has reached us.
    """
    ends = [0]

    def note(message: DeliveredMessage) -> None:
        ends.append(offset_of(arrived(message).message) + 1)

    await underlay.basic_qos(prefetch_count=_WHOLE_CHUNK, timeout=timeout)
    await underlay.basic_consume(stream, _calling(note), arguments={OFFSET: "last"}, timeout=timeout)
    await underlay.basic_consume(stream, _calling(lambda _: None), arguments={OFFSET: "next"}, timeout=timeout)
    await underlay.basic_qos(prefetch_count=_WHOLE_CHUNK, timeout=timeout)
    return max(ends)


def _calling(function: Callable[[DeliveredMessage], None]) -> Callable[[DeliveredMessage], Coroutine[Any, Any, None]]:
    async def callback(message: DeliveredMessage) -> None:
        function(message)

    return callback
