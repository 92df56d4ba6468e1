"""What every broker adapter promises: opaque messages in, opaque messages out.

Nothing here knows what a stamp is. An adapter sends, delivers, settles, and says whether an error is
transient; it never retries a publish, never counts attempts and never decides what a failure means.
`brokers.conformance` holds each sentence below against an adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from brokers.errors import BrokerError

HeaderValue = str | int | bool
"""What a publisher may put in a header: scalars only (floats lose precision, tables cost 100 µs)."""

FRAME_LIMIT = 131_064
"""Bytes of properties and headers that fit in one AMQP frame at the default frame size of 131,072."""

FRAME_RESERVE = 4_096
"""Bytes left free below FRAME_LIMIT for what the broker adds when it dead-letters (about 200 B each time)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A body and its properties. Always persistent; `expiration` and `priority` are never set.

    On a delivery `headers` holds everything that came in, the broker's own `x-*` included. On a
    publish every `x-*` header is left out (copying `x-death` forward loses messages silently).
    """

    body: bytes
    message_id: str
    type: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    correlation_id: str | None = None
    app_id: str | None = None
    timestamp: int | None = None
    """Whole seconds since the epoch, as AMQP has it."""
    content_type: str | None = None
    content_encoding: str | None = None
    reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """A message and where it goes. Exchange `""` is the default exchange: the routing key names a queue."""

    exchange: str
    routing_key: str
    message: Message
    mandatory: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message as a queue handed it over; settle it through the consumer that received it."""

    message: Message
    queue: str
    exchange: str
    routing_key: str
    tag: int
    """Opaque to callers; unique within one consumer for as long as the consumer lives."""
    redelivered: bool = False
    delivery_count: int = 0
    """How often the broker had handed it out before (`x-delivery-count`); 0 where it does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A message as a stream keeps it, at its offset."""

    offset: int
    message: Message
    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange.

    `x-consistent-hash` gives each message to one of the queues bound to it, always the same one for the same
    value of `hash_on` (`None` is the routing key) as long as the bindings stay; their keys are weights, such as
    `"1"`. RabbitMQ needs its plugin `rabbitmq_consistent_hash_exchange` for it.
    """

    name: str
    kind: Literal["topic", "direct", "fanout", "x-consistent-hash"] = "topic"
    hash_on: Literal["correlation_id", "message_id"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A durable queue. `stream` keeps what it got and is read by `Broker.read`, never consumed."""

    name: str
    kind: Literal["quorum", "classic", "stream"] = "quorum"
    ttl_ms: int | None = None
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    """`None` keeps the routing key that the message was published with."""
    delivery_limit: int | None = None
    """Quorum only: how many redeliveries before the broker dead-letters by itself."""
    at_least_once: bool = False
    """Quorum only: dead-letter at least once (implies overflow reject-publish)."""
    max_age: str | None = None
    """Stream only: retention such as `7D`."""
    max_bytes: int | None = None
    """Stream only: retention in bytes."""
    expires_ms: int | None = None
    """Delete the queue after so many milliseconds without a consumer (taps and test queues)."""
    single_active_consumer: bool = False
    """One consumer at a time gets deliveries, the one that subscribed first; when it goes the next takes over."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages of `exchange` whose routing key matches `key` also go to `queue`."""

    queue: str
    exchange: str
    key: str = "#"


@dataclass(frozen=True, slots=True)
class ExchangeBinding:
    """Messages of `source` whose routing key matches `key` also go through `exchange`, key and all."""

    exchange: str
    source: str
    key: str = "#"


Declarable = Exchange | Queue | Binding | ExchangeBinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What differs between brokers and can be asked for."""

    streams: bool = True
    delivery_count: bool = True
    at_least_once_dead_lettering: bool = True
    survives_restart: bool = True
    hash_exchanges: bool = True
    """Exchanges of the kind `x-consistent-hash`; on RabbitMQ the plugin must be enabled too."""


class Clock(Protocol):
    """Time as a value and as a callback, so that tests can own it."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once after `seconds`; the returned function cancels it and may be called at any time."""
        ...


class Consumer(Protocol):
    """One subscription to one queue. Lives through reconnects; its deliveries do not.

    A delivery received before the connection or channel was lost can't be settled any more: the three
    settling calls skip it silently, because the broker hands it out again by itself. A delivery that was settled
    before, or that another consumer received, is skipped in the same way and nothing else is touched.
    """

    @property
    def queue(self) -> str:
        """The queue's name."""
        ...

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for one delivery; return it with all that already wait, in order, at most `limit`.

        Keeps waiting while the broker is away. Several tasks may wait at once; each delivery goes to one.
        Returns an empty sequence only after `stop` or `close`. Raises `NotFound` when the queue is gone.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Done: the broker forgets them. Any order, any subset; each delivery is settled once."""
        ...

    async def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Give back: they are delivered again, `redelivered`, here or to another consumer."""
        ...

    async def reject(self, deliveries: Sequence[Delivery]) -> None:
        """Dead-letter by the queue's own rule; without one the broker drops them, so declare one."""
        ...

    async def stop(self) -> None:
        """Take no more; what was received can still be settled. Prefetched but unreceived messages go back."""
        ...

    async def retire(self) -> None:
        """Hand out no more, and keep the place in line: until `close` nobody else gets what is prefetched here.

        On a queue with a single active consumer the next one begins where this one ended, in order, which after
        `stop` it need not. What was received can still be settled.
        """
        ...

    async def close(self) -> None:
        """Take no more and give back everything unsettled, at once and in order. Idempotent."""
        ...


class Adopted(Protocol):
    """A channel that the application opened and keeps, and the messages that come through it."""

    async def publish_all(self, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        """As `Broker.publish_all`."""
        ...

    def delivery(self, message: Any, queue: str) -> Delivery:
        """The client library's own message object as a delivery of that queue."""
        ...

    async def ack(self, message: Any) -> None:
        """Done. A message whose channel was lost is skipped silently: it comes again."""
        ...


class Broker(Protocol):
    """A connection to a broker, opened once and shared by a process."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def open(self) -> None:
        """Connect. Raises `BrokerUnreachable` (naming the URL without its password) or `AccessRefused`."""
        ...

    async def close(self) -> None:
        """Close consumers, flush confirms, close connections. Idempotent."""
        ...

    async def declare(self, parts: Iterable[Declarable]) -> None:
        """Create what is missing, in the order given. Idempotent. Raises `TopologyMismatch` naming the part."""
        ...

    async def unbind(self, binding: Binding | ExchangeBinding) -> None:
        """Take a binding away; a missing one, or one between missing ends, is no error. No queue loses a message."""
        ...

    async def delete_queue(self, name: str) -> None:
        """Delete a queue and what is in it; a missing queue is no error."""
        ...

    async def depth(self, queue: str) -> int:
        """Messages ready in the queue, without touching them. Raises `NotFound`."""
        ...

    async def publish(self, publication: Publication) -> None:
        """Returns when the broker has confirmed and routed the message, raises a `BrokerError` otherwise."""
        ...

    async def publish_all(self, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        """One pipelined burst. The outcome of each, in order: `None` is confirmed and routed.

        Never raises for a single publication. The messages reach a queue they share in the order given.
        Message ids within one burst are distinct.
        """
        ...

    async def consume(self, queue: str, *, prefetch: int = 100) -> Consumer:
        """Subscribe. At most `prefetch` deliveries are unsettled at a time. Raises `NotFound`."""
        ...

    async def end(self, stream: str) -> int:
        """The offset one past the last message of the stream; 0 when it is empty. Raises `NotFound`."""
        ...

    async def read(self, stream: str, *, start: int | Literal["next"] = 0) -> Reader:
        """Read a stream without changing it, from an offset or (`next`) from what comes after this call."""
        ...


class Reader(Protocol):
    """A cursor on a stream; reading changes nothing, any number of readers may read at once."""

    async def receive(self, limit: int) -> Sequence[Recorded]:
        """Wait for one record; return it with all that already wait, at most `limit`. Empty only after `close`."""
        ...

    async def close(self) -> None:
        """Stop reading. Idempotent."""
        ...
