"""A queue: what is ready, who takes it, what comes back, what expires."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from brokers.contract import Clock, Message, Queue
    from brokers.memory.deaths import Reason

EARLY_SECONDS = 0.001
"""A timer may fire this much before its time, because the two clocks of a system differ."""


@dataclass(slots=True)
class Entry:
    """A message in a queue. `position` is its place in line, kept when it comes back."""

    message: Message
    exchange: str
    routing_key: str
    position: int = 0
    due: float | None = None
    returned: int = 0


class QueueCounts(NamedTuple):
    """How many messages wait and how many are with consumers."""

    ready: int
    unacked: int


class Subscriber(Protocol):
    """A consumer as its queue sees it."""

    @property
    def credit(self) -> int:
        """How many more deliveries it may hold."""
        ...

    @property
    def unacked(self) -> int:
        """How many deliveries it holds."""
        ...

    def push(self, entry: Entry) -> None:
        """Take this one."""
        ...

    def lost(self) -> None:
        """The queue is gone."""
        ...


class Surroundings(NamedTuple):
    """What a queue needs of its node."""

    clock: Clock
    dead_letter: Callable[[MemoryQueue, Entry, Reason], None]
    delete: Callable[[str], None]


class MemoryQueue:
    """First in, first out; what comes back goes to its old place.

    Deliveries are pushed to subscribers as soon as they have credit, round robin (or all to the first), so `ready`
    never holds a message that somebody could take.
    """

    def __init__(self, spec: Queue, around: Surroundings) -> None:
        self.spec = spec
        self.ready: deque[Entry] = deque()
        self.subscribers: deque[Subscriber] = deque()
        self.leaving: list[Subscriber] = []
        self._around = around
        self._position = 0
        self._cancel_expiry: Callable[[], None] | None = None
        self._cancel_lease: Callable[[], None] | None = None
        self.renew_lease()

    @property
    def depth(self) -> int:
        """Messages ready."""
        return len(self.ready)

    @property
    def counts(self) -> QueueCounts:
        """Messages ready, and with consumers."""
        return QueueCounts(len(self.ready), sum(s.unacked for s in (*self.subscribers, *self.leaving)))

    def put(self, message: Message, exchange: str, routing_key: str) -> None:
        """Append a message."""
        self._position += 1
        entry = Entry(message, exchange, routing_key, self._position)
        if self.spec.ttl_ms is not None:
            entry.due = self._around.clock.now() + self.spec.ttl_ms / 1000
        self.ready.append(entry)
        self.dispatch()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Push to this subscriber from now on."""
        self.subscribers.append(subscriber)
        self._end_lease()
        self.dispatch()

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Push nothing more to it; what it holds is still its own."""
        if subscriber in self.subscribers:
            self.subscribers.remove(subscriber)
            self.leaving.append(subscriber)
            self.renew_lease()

    def forget(self, subscriber: Subscriber) -> None:
        """It holds nothing any more."""
        if subscriber in self.leaving:
            self.leaving.remove(subscriber)

    def dispatch(self) -> None:
        """Hand out what is ready as far as the credit goes."""
        while self.ready and (subscriber := self._next_subscriber()) is not None:
            subscriber.push(self.ready.popleft())
        self._watch_head()

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Take back what was handed out, each to its old place; dead-letter what came back too often."""
        for entry in entries:
            entry.returned += 1
            if self._worn_out(entry):
                self._around.dead_letter(self, entry, "delivery_limit")
            else:
                self._put_back(entry)
        self._stop_watching()  # the head may have come back with an earlier time to go
        self.dispatch()

    def reject(self, entries: Iterable[Entry]) -> None:
        """Dead-letter what a consumer refused."""
        for entry in entries:
            self._around.dead_letter(self, entry, "rejected")
        self.dispatch()

    def delete(self) -> None:
        """Drop everything and tell the consumers."""
        self.ready.clear()
        self._watch_head()
        self._end_lease()
        for subscriber in (*self.subscribers, *self.leaving):
            subscriber.lost()
        self.subscribers.clear()
        self.leaving.clear()

    def renew_lease(self) -> None:
        """Count `expires_ms` from now, unless somebody consumes."""
        self._end_lease()
        if self.spec.expires_ms is not None and not self.subscribers:
            self._cancel_lease = self._around.clock.call_later(self.spec.expires_ms / 1000, self._lease_over)

    def _end_lease(self) -> None:
        if self._cancel_lease is not None:
            self._cancel_lease()
            self._cancel_lease = None

    def _lease_over(self) -> None:
        self._cancel_lease = None
        self._around.delete(self.spec.name)

    def _next_subscriber(self) -> Subscriber | None:
        if self.spec.single_active_consumer and self.subscribers:
            return self.subscribers[0] if self.subscribers[0].credit > 0 else None
        for _ in range(len(self.subscribers)):
            subscriber = self.subscribers[0]
            self.subscribers.rotate(-1)
            if subscriber.credit > 0:
                return subscriber
        return None

    def _worn_out(self, entry: Entry) -> bool:
        limit = self.spec.delivery_limit
        return limit is not None and entry.returned > limit

    def _put_back(self, entry: Entry) -> None:
        self.ready.appendleft(entry)
        if len(self.ready) > 1 and entry.position > self.ready[1].position:
            self.ready = deque(sorted(self.ready, key=lambda waiting: waiting.position))

    def _watch_head(self) -> None:
        """Only the head expires, as in RabbitMQ; in a queue with one TTL the head is always the first due."""
        due = self.ready[0].due if self.ready else None
        if due is None:
            self._stop_watching()
        elif self._cancel_expiry is None:
            delay = max(0.0, due - self._around.clock.now())
            self._cancel_expiry = self._around.clock.call_later(delay, self._expire)

    def _stop_watching(self) -> None:
        if self._cancel_expiry is not None:
            self._cancel_expiry()
            self._cancel_expiry = None

    def _expire(self) -> None:
        self._cancel_expiry = None
        now = self._around.clock.now() + EARLY_SECONDS
        while self.ready and self.ready[0].due is not None and self.ready[0].due <= now:
            self._around.dead_letter(self, self.ready.popleft(), "expired")
        self._watch_head()
