"""What connections share: exchanges, queues, streams, and the rules that route between them."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from brokers.contract import Binding, Declarable, Exchange, ExchangeBinding, Message, Publication, Queue
from brokers.errors import BrokerError, NotFound, ProtocolMisuse, TopologyMismatch, Unroutable
from brokers.framesize import refusal, sendable_headers
from brokers.memory.deaths import Death, Reason, is_cycle, with_death
from brokers.memory.hashing import bucket_of
from brokers.memory.matching import topic_matches
from brokers.memory.queue import Entry, MemoryQueue, QueueCounts, Surroundings
from brokers.memory.stream import MemoryStream
from brokers.topology import check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brokers.contract import Clock

Target = MemoryQueue | MemoryStream

_CACHED_ROUTES = 10_000

HASHING = "x-consistent-hash"


class Route(NamedTuple):
    """Where a key leads: to these targets, and to one queue behind each of these hashing exchanges."""

    targets: tuple[Target, ...]
    hashing: tuple[str, ...]


class MemoryNode:
    """One broker without connections; nothing in it waits, so every call is atomic."""

    def __init__(self, clock: Clock) -> None:
        self.tags = count(1)
        self._clock = clock
        self._exchanges: dict[str, Exchange] = {}
        self._bindings: dict[str, dict[Binding | ExchangeBinding, None]] = {}
        self._targets: dict[str, Target] = {}
        self._routes: dict[tuple[str, str], Route] = {}
        self._parked: list[tuple[MemoryQueue, Entry, Reason]] = []

    @property
    def queues(self) -> Mapping[str, QueueCounts]:
        """Ready and unacknowledged messages of each queue, by name; streams are not among them."""
        return {name: target.counts for name, target in self._targets.items() if isinstance(target, MemoryQueue)}

    @property
    def idle(self) -> bool:
        """No consumer holds a delivery, and none could take one."""
        return all(counts.unacked == 0 for counts in self.queues.values())

    def declare(self, part: Declarable) -> None:
        """Create it, or find it as declared. Raises `TopologyMismatch`, `NotFound` or `ProtocolMisuse`."""
        check(part)
        match part:
            case Exchange():
                self._declare_exchange(part)
            case Queue():
                self._declare_queue(part)
            case Binding():
                self.target(part.queue)
                self._bind(part, part.exchange)
            case ExchangeBinding():
                self._existing(part.exchange)
                self._bind(part, part.source)
        self._retry_parked()

    def delete_queue(self, name: str) -> None:
        """Delete a queue or stream with its bindings and messages."""
        target = self._targets.pop(name, None)
        if target is None:
            return
        self._routes.clear()
        self._parked = [parked for parked in self._parked if parked[0] is not target]
        for exchange, bindings in self._bindings.items():
            self._bindings[exchange] = {
                binding: None for binding in bindings if isinstance(binding, ExchangeBinding) or binding.queue != name
            }
        target.delete()

    def unbind(self, binding: Binding | ExchangeBinding) -> None:
        """Remove a binding, if it is there."""
        source = binding.exchange if isinstance(binding, Binding) else binding.source
        self._bindings.get(source, {}).pop(binding, None)
        self._routes.clear()

    def publish(self, publication: Publication) -> BrokerError | None:
        """Route a message to every queue that should have it; the error when it can't be taken or routed."""
        error = refusal(publication)
        if error is not None:
            return error
        exchange, key = publication.exchange, publication.routing_key
        if exchange and exchange not in self._exchanges:
            return NotFound(f"exchange {exchange!r} does not exist")
        message = _sent(publication.message)
        targets = self.route(exchange, key, message)
        if not targets and publication.mandatory:
            return Unroutable(f"no queue is bound to exchange {exchange!r} for routing key {key!r}")
        for target in targets:
            target.put(message, exchange, key)
        return None

    def route(self, exchange: str, key: str, message: Message) -> tuple[Target, ...]:
        """The queues and streams that this message with this key reaches, each once."""
        found = self._routes.get((exchange, key))
        if found is None:
            if len(self._routes) >= _CACHED_ROUTES:
                self._routes.clear()
            found = self._routes[exchange, key] = self._followed(exchange, key)
        if not found.hashing:
            return found.targets
        chosen = [target for name in found.hashing if (target := self._chosen(name, key, message)) is not None]
        return tuple(dict.fromkeys((*found.targets, *chosen)))

    def queue(self, name: str) -> MemoryQueue:
        """The queue of that name. Raises `NotFound`, or `ProtocolMisuse` for a stream."""
        target = self.target(name)
        if isinstance(target, MemoryStream):
            raise ProtocolMisuse(f"{name!r} is a stream: read it, streams are not consumed")
        return target

    def stream(self, name: str) -> MemoryStream:
        """The stream of that name. Raises `NotFound`, or `ProtocolMisuse` for a queue."""
        target = self.target(name)
        if isinstance(target, MemoryQueue):
            raise ProtocolMisuse(f"{name!r} is a queue: consume it, only streams are read")
        return target

    def target(self, name: str) -> Target:
        """The queue or stream of that name. Raises `NotFound`."""
        target = self._targets.get(name)
        if target is None:
            raise NotFound(f"queue {name!r} does not exist")
        return target

    def dead_letter(self, queue: MemoryQueue, entry: Entry, reason: Reason) -> None:
        """Send a message on by its queue's rule; without a rule, without a route or in a cycle it is dropped.

        A queue with `at_least_once` keeps it until there is a route.
        """
        exchange = queue.spec.dead_letter_exchange
        if exchange is None:
            return
        key = entry.routing_key if queue.spec.dead_letter_key is None else queue.spec.dead_letter_key
        message = with_death(entry.message, self._death(queue, entry, reason))
        targets = self.route(exchange, key, message)
        if not targets and queue.spec.at_least_once:
            self._parked.append((queue, entry, reason))
        for target in targets:
            if not is_cycle(message.headers, target.spec.name):
                target.put(message, exchange, key)

    def _declare_exchange(self, part: Exchange) -> None:
        known = self._exchanges.setdefault(part.name, part)
        self._bindings.setdefault(part.name, {})
        if known != part:
            raise TopologyMismatch(f"exchange {part.name!r} exists as {known}, declared as {part}")

    def _declare_queue(self, part: Queue) -> None:
        known = self._targets.get(part.name)
        if known is None:
            self._targets[part.name] = self._created(part)
            self._routes.clear()
        elif known.spec != part:
            raise TopologyMismatch(f"queue {part.name!r} exists as {known.spec}, declared as {part}")
        elif isinstance(known, MemoryQueue):
            known.renew_lease()

    def _created(self, part: Queue) -> Target:
        if part.kind == "stream":
            return MemoryStream(part, self._clock)
        return MemoryQueue(part, Surroundings(self._clock, self.dead_letter, self.delete_queue))

    def _existing(self, exchange: str) -> Exchange:
        found = self._exchanges.get(exchange)
        if found is None:
            raise NotFound(f"exchange {exchange!r} does not exist")
        return found

    def _bind(self, part: Binding | ExchangeBinding, source: str) -> None:
        if self._existing(source).kind == HASHING and not part.key.isdecimal():
            raise TopologyMismatch(f"{part}: the key of a binding to a hashing exchange is its weight, a number")
        self._bindings[source][part] = None
        self._routes.clear()

    def _followed(self, exchange: str, key: str) -> Route:
        """Follow the bindings from exchange to exchange; a hashing exchange is where a message decides the way."""
        if not exchange:
            return Route((self._targets[key],) if key in self._targets else (), ())
        ahead = [exchange] if exchange in self._exchanges else []
        queues: dict[str, None] = {}
        for place in ahead:  # grows on the way
            known = self._exchanges[place]
            found = [binding for binding in self._bindings[place] if self._matches(known, binding.key, key)]
            queues.update((binding.queue, None) for binding in found if isinstance(binding, Binding))
            ways = dict.fromkeys(binding.exchange for binding in found if isinstance(binding, ExchangeBinding))
            ahead.extend(way for way in ways if way not in ahead)
        hashing = tuple(place for place in ahead if self._exchanges[place].kind == HASHING)
        return Route(tuple(self._targets[name] for name in queues), hashing)

    def _chosen(self, exchange: str, key: str, message: Message) -> Target | None:
        """The one queue of a hashing exchange that this message belongs to; a weight is a number of buckets."""
        bindings = [bound for bound in self._bindings[exchange] if isinstance(bound, Binding)]
        buckets = [bound.queue for bound in bindings for _ in range(int(bound.key))]
        if not buckets:
            return None
        property_ = self._exchanges[exchange].hash_on
        value = key if property_ is None else getattr(message, property_) or ""
        return self._targets[buckets[bucket_of(value, len(buckets))]]

    def _matches(self, exchange: Exchange, pattern: str, key: str) -> bool:
        match exchange.kind:
            case "fanout":
                return True
            case "direct":
                return pattern == key
            case "topic":
                return topic_matches(pattern, key)
            case "x-consistent-hash":
                return False  # `_chosen` decides.

    def _death(self, queue: MemoryQueue, entry: Entry, reason: Reason) -> Death:
        return Death(
            reason=reason,
            queue=queue.spec.name,
            exchange=entry.exchange,
            routing_key=entry.routing_key,
            time=int(self._clock.now()),
        )

    def _retry_parked(self) -> None:
        parked, self._parked = self._parked, []
        for queue, entry, reason in parked:
            self.dead_letter(queue, entry, reason)


def _sent(message: Message) -> Message:
    """The message as it crosses the wire: AMQP knows no empty properties, and `x-*` is the broker's own."""
    return Message(
        body=message.body,
        message_id=message.message_id,
        type=message.type,
        headers=sendable_headers(message.headers),
        correlation_id=message.correlation_id or None,
        app_id=message.app_id or None,
        timestamp=message.timestamp,
        content_type=message.content_type or None,
        content_encoding=message.content_encoding or None,
        reply_to=message.reply_to or None,
    )
