"""Ways in which a broker could break its promises: each must be noticed by the conformance suite.

A mutation gets pytest's `MonkeyPatch` and bends one rule of the embedded broker.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

import brokers.memory.consumer as consumer_module
import brokers.memory.node as node_module
from brokers.contract import Binding, Declarable, Delivery, Exchange, Publication, Queue, Recorded
from brokers.errors import BrokerError, MessageTooLarge, ProtocolMisuse, Unroutable
from brokers.memory import MemoryBroker, MemoryNode
from brokers.memory.bell import Bell
from brokers.memory.consumer import MemoryConsumer, MemoryReader
from brokers.memory.queue import Entry, MemoryQueue
from brokers.memory.stream import MemoryStream

Mutation = Callable[[pytest.MonkeyPatch], None]


def mandatory_is_ignored(patch: pytest.MonkeyPatch) -> None:
    publish = MemoryNode.publish
    patch.setattr(MemoryNode, "publish", lambda self, p: publish(self, replace(p, mandatory=False)))


def every_message_is_mandatory(patch: pytest.MonkeyPatch) -> None:
    publish = MemoryNode.publish
    patch.setattr(MemoryNode, "publish", lambda self, p: publish(self, replace(p, mandatory=True)))


def a_burst_ends_at_its_first_failure(patch: pytest.MonkeyPatch) -> None:
    async def publish_all(self: MemoryBroker, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        outcomes: list[BrokerError | None] = []
        for publication in publications:
            failed = next((outcome for outcome in outcomes if outcome), None)
            outcomes.append(failed or self.node.publish(publication))
        return outcomes

    patch.setattr(MemoryBroker, "publish_all", publish_all)


def a_burst_raises(patch: pytest.MonkeyPatch) -> None:
    publish_all = MemoryBroker.publish_all

    async def raising(self: MemoryBroker, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        for outcome in (outcomes := await publish_all(self, publications)):
            if outcome is not None:
                raise outcome
        return outcomes

    patch.setattr(MemoryBroker, "publish_all", raising)


def x_headers_are_copied_forward(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(node_module, "sendable_headers", dict)


def large_headers_are_sent(patch: pytest.MonkeyPatch) -> None:
    _without_refusal(patch, MessageTooLarge)


def any_header_value_is_sent(patch: pytest.MonkeyPatch) -> None:
    _without_refusal(patch, ProtocolMisuse)


def a_missing_exchange_is_unroutable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(node_module, "NotFound", Unroutable)


def properties_are_lost(patch: pytest.MonkeyPatch) -> None:
    sent = node_module._sent
    patch.setattr(node_module, "_sent", lambda message: replace(sent(message), correlation_id=None))


def a_hash_needs_a_word(patch: pytest.MonkeyPatch) -> None:
    _topic(patch, star="[^.]+", hashes=r"[^.]+(\.[^.]+)*")


def a_star_takes_many_words(patch: pytest.MonkeyPatch) -> None:
    _topic(patch, star=".+", hashes=".*")


def a_fanout_looks_at_the_key(patch: pytest.MonkeyPatch) -> None:
    _as_kind(patch, "fanout", "direct")


def a_direct_exchange_knows_wildcards(patch: pytest.MonkeyPatch) -> None:
    _as_kind(patch, "direct", "topic")


def each_matching_binding_gives_a_copy(patch: pytest.MonkeyPatch) -> None:
    def route(self: MemoryNode, exchange: str, key: str, message: Any) -> tuple[Any, ...]:
        if exchange not in self._exchanges:
            return tuple(self._targets[name] for name in (key,) if not exchange and name in self._targets)
        kind = self._exchanges[exchange]
        matching = (b for b in self._bindings[exchange] if self._matches(kind, b.key, key))
        return tuple(self._targets[b.queue] for b in matching if isinstance(b, Binding))

    patch.setattr(MemoryNode, "route", route)


def only_the_first_bound_queue_gets_it(patch: pytest.MonkeyPatch) -> None:
    route = MemoryNode.route
    patch.setattr(MemoryNode, "route", lambda self, exchange, key, message: route(self, exchange, key, message)[:1])


def the_redelivered_flag_is_lost(patch: pytest.MonkeyPatch) -> None:
    _delivered(patch, redelivered=False)


def redeliveries_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    _delivered(patch, delivery_count=0)


def deliveries_do_not_tell_their_exchange(patch: pytest.MonkeyPatch) -> None:
    _delivered(patch, exchange="")


def prefetch_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryConsumer, "credit", 1_000_000)


def receive_ignores_its_limit(patch: pytest.MonkeyPatch) -> None:
    following = MemoryConsumer._next
    patch.setattr(MemoryConsumer, "_next", lambda self, _: following(self, 1_000_000))


def receive_returns_one_at_a_time(patch: pytest.MonkeyPatch) -> None:
    following = MemoryConsumer._next
    patch.setattr(MemoryConsumer, "_next", lambda self, _: following(self, 1))


def later_messages_come_first(patch: pytest.MonkeyPatch) -> None:
    following = MemoryConsumer._next
    patch.setattr(MemoryConsumer, "_next", lambda self, limit: following(self, limit)[::-1])


def requeue_acknowledges(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryConsumer, "requeue", MemoryConsumer.ack)


def reject_requeues(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryQueue, "reject", MemoryQueue.give_back)


def an_acknowledgement_covers_all_before_it(patch: pytest.MonkeyPatch) -> None:
    def settled(self: MemoryConsumer, deliveries: Sequence[Delivery]) -> list[Entry]:
        last = max((d.tag for d in deliveries), default=0)
        return [self._unsettled.pop(tag) for tag in list(self._unsettled) if tag <= last]

    patch.setattr(MemoryConsumer, "_settled", settled)


def an_acknowledgement_frees_no_credit(patch: pytest.MonkeyPatch) -> None:
    async def ack(self: MemoryConsumer, deliveries: Sequence[Delivery]) -> None:
        self._settled(deliveries)
        self._prefetch -= len(deliveries)

    patch.setattr(MemoryConsumer, "ack", ack)


def tags_are_numbered_by_consumer(patch: pytest.MonkeyPatch) -> None:
    init = MemoryConsumer.__init__
    patch.setattr(MemoryConsumer, "__init__", lambda self, *args, **kw: init(self, *args, **kw | {"tags": count(1)}))


def a_closed_consumer_keeps_what_it_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryConsumer, "_give_back_all", lambda _: None)


def stop_keeps_what_was_prefetched(patch: pytest.MonkeyPatch) -> None:
    async def stop(self: MemoryConsumer) -> None:
        self._stopped = True
        self._queue.unsubscribe(self)
        self._bell.ring_all()

    patch.setattr(MemoryConsumer, "stop", stop)


def stop_gives_back_what_was_received(patch: pytest.MonkeyPatch) -> None:
    stop = MemoryConsumer.stop

    async def stop_all(self: MemoryConsumer) -> None:
        await stop(self)
        self._give_back_all()

    patch.setattr(MemoryConsumer, "stop", stop_all)


def stop_leaves_receive_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Bell, "ring_all", lambda _: None)


def only_the_first_waiting_task_is_woken(patch: pytest.MonkeyPatch) -> None:
    push = MemoryConsumer.push

    def quiet(self: MemoryConsumer, entry: Entry) -> None:
        if not self._arrived:
            push(self, entry)
            return
        waiting, self._bell = self._bell, Bell()
        push(self, entry)
        self._bell = waiting

    patch.setattr(MemoryConsumer, "push", quiet)


def every_consumer_gets_a_copy(patch: pytest.MonkeyPatch) -> None:
    def dispatch(self: MemoryQueue) -> None:
        while self.ready and self.subscribers:
            entry = self.ready.popleft()
            for subscriber in self.subscribers:
                subscriber.push(entry)

    patch.setattr(MemoryQueue, "dispatch", dispatch)


def consumers_outlive_their_queue(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryConsumer, "lost", lambda _: None)


def dead_letters_are_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryNode, "dead_letter", lambda *_: None)


def the_dead_letter_key_is_ignored(patch: pytest.MonkeyPatch) -> None:
    _dead_lettering_as(patch, dead_letter_key=None)


def dead_letters_lose_their_routing_key(patch: pytest.MonkeyPatch) -> None:
    dead_letter = MemoryNode.dead_letter
    patch.setattr(
        MemoryNode, "dead_letter", lambda s, q, entry, r: dead_letter(s, q, replace(entry, routing_key=""), r)
    )


def dead_letters_do_not_tell_why(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(node_module, "with_death", lambda message, _: message)


def the_delivery_limit_comes_one_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryQueue, "_worn_out", lambda s, e: e.returned >= (s.spec.delivery_limit or sys.maxsize))


def the_delivery_limit_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryQueue, "_worn_out", lambda *_: False)


def nothing_expires(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryQueue, "_watch_head", lambda _: None)


def everything_expires_at_once(patch: pytest.MonkeyPatch) -> None:
    def expire_all(self: MemoryQueue) -> None:
        while self.ready and self.ready[0].due is not None:
            self._around.dead_letter(self, self.ready.popleft(), "expired")

    patch.setattr(MemoryQueue, "_watch_head", expire_all)


def the_last_to_come_expires_first(patch: pytest.MonkeyPatch) -> None:
    expire = MemoryQueue._expire

    def backwards(self: MemoryQueue) -> None:
        self.ready.reverse()
        expire(self)

    patch.setattr(MemoryQueue, "_expire", backwards)


def all_consumers_are_active(patch: pytest.MonkeyPatch) -> None:
    init = MemoryQueue.__init__

    def shared(self: MemoryQueue, spec: Queue, around: Any) -> None:
        init(self, replace(spec, single_active_consumer=False), around)

    patch.setattr(MemoryQueue, "__init__", shared)


def the_last_consumer_is_the_active_one(patch: pytest.MonkeyPatch) -> None:
    def first(self: MemoryQueue, subscriber: Any) -> None:
        self.subscribers.appendleft(subscriber)
        self.dispatch()

    patch.setattr(MemoryQueue, "subscribe", first)


def retiring_is_stopping(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryConsumer, "retire", MemoryConsumer.stop)


def a_retired_consumer_goes_on(patch: pytest.MonkeyPatch) -> None:
    async def retire(self: MemoryConsumer) -> None:
        self._bell.ring_all()

    patch.setattr(MemoryConsumer, "retire", retire)


def the_routing_key_is_always_hashed(patch: pytest.MonkeyPatch) -> None:
    chosen = MemoryNode._chosen

    def by_key(self: MemoryNode, exchange: str, key: str, message: Any) -> Any:
        return chosen(self, exchange, key, replace(message, correlation_id=key))

    patch.setattr(MemoryNode, "_chosen", by_key)


def the_hash_changes_with_every_message(patch: pytest.MonkeyPatch) -> None:
    turns = count()
    patch.setattr(node_module, "bucket_of", lambda _value, buckets: next(turns) % buckets)


def everything_falls_into_one_bucket(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(node_module, "bucket_of", lambda _value, _buckets: 0)


def nothing_is_ever_unbound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryNode, "unbind", lambda _self, _binding: None)


def bindings_between_exchanges_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    bind = MemoryNode._bind

    def only_queues(self: MemoryNode, part: Any, source: str) -> None:
        if isinstance(part, Binding):
            bind(self, part, source)

    patch.setattr(MemoryNode, "_bind", only_queues)


def a_mismatch_is_accepted(patch: pytest.MonkeyPatch) -> None:
    declare = MemoryNode.declare

    def lenient(self: MemoryNode, part: Declarable) -> None:
        try:
            declare(self, part)
        except node_module.TopologyMismatch:
            return

    patch.setattr(MemoryNode, "declare", lenient)


def declaring_again_empties_the_queue(patch: pytest.MonkeyPatch) -> None:
    declare = MemoryNode._declare_queue

    def afresh(self: MemoryNode, part: Any) -> None:
        declare(self, part)
        target = self._targets[part.name]
        if isinstance(target, MemoryQueue):
            target.ready.clear()

    patch.setattr(MemoryNode, "_declare_queue", afresh)


def bindings_to_nowhere_are_accepted(patch: pytest.MonkeyPatch) -> None:
    declare = MemoryNode.declare

    def lenient(self: MemoryNode, part: Declarable) -> None:
        with suppress(node_module.NotFound):
            declare(self, part)

    patch.setattr(MemoryNode, "declare", lenient)


def deleting_a_missing_queue_raises(patch: pytest.MonkeyPatch) -> None:
    delete = MemoryNode.delete_queue

    def strict(self: MemoryNode, name: str) -> None:
        self.target(name)
        delete(self, name)

    patch.setattr(MemoryNode, "delete_queue", strict)


def depth_counts_what_consumers_hold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryQueue, "depth", property(lambda self: sum(self.counts)))


def unused_queues_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryQueue, "renew_lease", lambda _: None)


def reading_consumes(patch: pytest.MonkeyPatch) -> None:
    records = MemoryStream.records

    def consumed(self: MemoryStream, start: int, limit: int) -> Sequence[Recorded]:
        found = records(self, start, limit)
        self._first += len(found)
        del self._records[: len(found)]
        return found

    patch.setattr(MemoryStream, "records", consumed)


def the_end_is_the_last_offset(patch: pytest.MonkeyPatch) -> None:
    async def end(self: MemoryBroker, stream: str) -> int:
        return max(self.node.stream(stream).end - 1, 0)

    patch.setattr(MemoryBroker, "end", end)


def next_starts_at_the_beginning(patch: pytest.MonkeyPatch) -> None:
    _reading_from(patch, lambda _: 0)


def an_offset_is_skipped(patch: pytest.MonkeyPatch) -> None:
    _reading_from(patch, lambda start: start + 1 if start else 0)


def a_stream_takes_what_no_queue_gets(patch: pytest.MonkeyPatch) -> None:
    put = MemoryQueue.put
    patch.setattr(
        MemoryQueue,
        "put",
        lambda self, m, exchange, key: None if exchange.endswith("events") else put(self, m, exchange, key),
    )


def closed_readers_wait_on(patch: pytest.MonkeyPatch) -> None:
    async def close(self: MemoryReader) -> None:
        await asyncio.sleep(0)

    patch.setattr(MemoryReader, "close", close)


def a_lost_connection_ends_its_consumers(patch: pytest.MonkeyPatch) -> None:
    def reconnect(self: MemoryConsumer) -> None:
        self._queue.unsubscribe(self)
        self._give_back_all()

    patch.setattr(MemoryConsumer, "reconnect", reconnect)


def a_lost_connection_loses_what_was_held(patch: pytest.MonkeyPatch) -> None:
    def reconnect(self: MemoryConsumer) -> None:
        self._unsettled.clear()
        self._arrived.clear()

    patch.setattr(MemoryConsumer, "reconnect", reconnect)


def _without_refusal(patch: pytest.MonkeyPatch, kind: type[BrokerError]) -> None:
    refusal = node_module.refusal

    def lenient(publication: Publication) -> BrokerError | None:
        error = refusal(publication)
        return None if isinstance(error, kind) else error

    patch.setattr(node_module, "refusal", lenient)


def _topic(patch: pytest.MonkeyPatch, *, star: str, hashes: str) -> None:
    def matches(pattern: str, key: str) -> bool:
        words: Iterable[str] = (star if w == "*" else hashes if w == "#" else re.escape(w) for w in pattern.split("."))
        return re.fullmatch(r"\.".join(words), key) is not None

    patch.setattr(node_module, "topic_matches", matches)


def _as_kind(patch: pytest.MonkeyPatch, kind: str, other: Any) -> None:
    matches = MemoryNode._matches

    def confused(self: MemoryNode, exchange: Exchange, pattern: str, key: str) -> bool:
        seen = replace(exchange, kind=other) if exchange.kind == kind else exchange
        return matches(self, seen, pattern, key)

    patch.setattr(MemoryNode, "_matches", confused)


def _delivered(patch: pytest.MonkeyPatch, **changes: Any) -> None:
    delivery = consumer_module._delivery
    patch.setattr(consumer_module, "_delivery", lambda *args: replace(delivery(*args), **changes))


def _dead_lettering_as(patch: pytest.MonkeyPatch, **changes: Any) -> None:
    dead_letter = MemoryNode.dead_letter

    def changed(self: MemoryNode, queue: MemoryQueue, entry: Entry, reason: Any) -> None:
        declared, queue.spec = queue.spec, replace(queue.spec, **changes)
        dead_letter(self, queue, entry, reason)
        queue.spec = declared

    patch.setattr(MemoryNode, "dead_letter", changed)


def _reading_from(patch: pytest.MonkeyPatch, start: Callable[[int], int]) -> None:
    init = MemoryReader.__init__
    patch.setattr(MemoryReader, "__init__", lambda self, stream, at, **kw: init(self, stream, start(at), **kw))


def _is_mutation(name: str, value: object) -> bool:
    return inspect.isfunction(value) and value.__module__ == __name__ and not name.startswith("_")


MUTATIONS: tuple[Mutation, ...] = tuple(value for name, value in list(vars().items()) if _is_mutation(name, value))
