"""What connections share: exchanges, queues, streams, and the rules that route between them."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from brokers.contract import Binding, Declarable, Exchange, Message, Publication, Queue
from brokers.errors import BrokerError, NotFound, ProtocolMisuse, TopologyMismatch, Unroutable
from brokers.framesize import refusal, sendable_headers
from brokers.memory.deaths import Death, Reason, is_cycle, with_death
from brokers.memory.matching import topic_matches
from brokers.memory.queue import Entry, MemoryQueue, QueueCounts, Surroundings
from brokers.memory.stream import MemoryStream
from brokers.topology import check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brokers.contract import Clock

Target = MemoryQueue | MemoryStream

_CACHED_ROUTES = 10_000


class MemoryNode:
    """One broker without connections; nothing in it waits, so every call is atomic."""

    def __init__(self, clock: Clock) -> None:
        self.tags = count(1)
        self._clock = clock
        self._exchanges: dict[str, Exchange] = {}
        self._bindings: dict[str, dict[Binding, None]] = {}
        self._targets: dict[str, Target] = {}
        self._routes: dict[tuple[str, str], tuple[Target, ...]] = {}
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
                self._bind(part)
        self._retry_parked()

    def delete_queue(self, name: str) -> None:
        """Delete a queue or stream with its bindings and messages."""
        target = self._targets.pop(name, None)
        if target is None:
            return
        self._routes.clear()
        self._parked = [parked for parked in self._parked if parked[0] is not target]
        for exchange, bindings in self._bindings.items():
            self._bindings[exchange] = {binding: None for binding in bindings if binding.queue != name}
        target.delete()

    def publish(self, publication: Publication) -> BrokerError | None:
        """Route a message to every queue that should have it; the error when it can't be taken or routed."""
        error = refusal(publication)
        if error is not None:
            return error
        exchange, key = publication.exchange, publication.routing_key
        if exchange and exchange not in self._exchanges:
            return NotFound(f"exchange {exchange!r} does not exist")
        targets = self.route(exchange, key)
        if not targets and publication.mandatory:
            return Unroutable(f"no queue is bound to exchange {exchange!r} for routing key {key!r}")
        message = _sent(publication.message)
        for target in targets:
            target.put(message, exchange, key)
        return None

    def route(self, exchange: str, key: str) -> tuple[Target, ...]:
        """The queues and streams that a message with this key reaches, each once."""
        found = self._routes.get((exchange, key))
        if found is None:
            if len(self._routes) >= _CACHED_ROUTES:
                self._routes.clear()
            found = self._routes[exchange, key] = tuple(self._targets[name] for name in self._matching(exchange, key))
        return found

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
        targets = self.route(exchange, key)
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

    def _bind(self, part: Binding) -> None:
        self.target(part.queue)
        if part.exchange not in self._exchanges:
            raise NotFound(f"exchange {part.exchange!r} does not exist")
        self._bindings[part.exchange][part] = None
        self._routes.clear()

    def _matching(self, exchange: str, key: str) -> list[str]:
        if not exchange:
            return [key] if key in self._targets else []
        bindings = self._bindings.get(exchange, {})
        return list(dict.fromkeys(b.queue for b in bindings if self._matches(self._exchanges[exchange], b.key, key)))

    def _matches(self, exchange: Exchange, pattern: str, key: str) -> bool:
        match exchange.kind:
            case "fanout":
                return True
            case "direct":
                return pattern == key
            case "topic":
                return topic_matches(pattern, key)

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
