"""Exchanges, queues and bindings as one value that can be merged, compared, exported and declared."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

from brokers.contract import Binding, Broker, Declarable, Exchange, ExchangeBinding, Queue
from brokers.errors import ProtocolMisuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_Key: TypeAlias = tuple[str, ...]


class Topology:
    """An ordered collection of parts without duplicates; immutable.

    Two parts of one name with other arguments are a `ValueError` that names both.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Iterable[Declarable] = ()) -> None:
        self._parts: Mapping[_Key, Declarable] = _merged(parts)

    def __or__(self, other: Topology) -> Topology:
        """Both together: the parts of this one, then what only the other has."""
        return Topology((*self, *other))

    def __iter__(self) -> Iterator[Declarable]:
        return iter(self._parts.values())

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, part: object) -> bool:
        return part in self._parts.values()

    def __eq__(self, other: object) -> bool:
        return self._parts == other._parts if isinstance(other, Topology) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._parts.values()))

    def __repr__(self) -> str:
        return f"Topology({list(self)!r})"

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """In the order in which they came."""
        return tuple(part for part in self if isinstance(part, Exchange))

    @property
    def queues(self) -> tuple[Queue, ...]:
        """In the order in which they came."""
        return tuple(part for part in self if isinstance(part, Queue))

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """In the order in which they came."""
        return tuple(part for part in self if isinstance(part, Binding))

    @property
    def exchange_bindings(self) -> tuple[ExchangeBinding, ...]:
        """In the order in which they came."""
        return tuple(part for part in self if isinstance(part, ExchangeBinding))

    def exchange(self, name: str) -> Exchange | None:
        """The exchange of that name, or `None`."""
        return next((part for part in self.exchanges if part.name == name), None)

    def queue(self, name: str) -> Queue | None:
        """The queue of that name, or `None`."""
        return next((part for part in self.queues if part.name == name), None)

    def bound_to(self, queue: str) -> tuple[Binding, ...]:
        """The bindings that lead into this queue."""
        return tuple(part for part in self.bindings if part.queue == queue)

    def bound_from(self, exchange: str) -> tuple[Binding, ...]:
        """The bindings that lead out of this exchange."""
        return tuple(part for part in self.bindings if part.exchange == exchange)

    def in_order(self) -> tuple[Declarable, ...]:
        """Every part so that none is used before it exists.

        Exchanges, then queues (dead-letter targets before the queues that use them), then bindings, those of
        dead-letter targets first: with at-least-once dead-lettering RabbitMQ tries a target that is not there yet
        again only after 180 s (https://www.rabbitmq.com/docs/quorum-queues#dead-lettering).
        """
        queues = _targets_first(self)
        place = {queue.name: place for place, queue in enumerate(queues)}
        bindings = sorted(self.bindings, key=lambda binding: place.get(binding.queue, -1))
        # What is bound behind an exchange comes before the way into it: no message finds the exchange empty.
        return (*self.exchanges, *queues, *bindings, *self.exchange_bindings)

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Plain data in declaration order; arguments at their default are left out."""
        parts = self.in_order()
        kinds: tuple[tuple[str, type[Declarable]], ...] = (
            ("exchanges", Exchange),
            ("queues", Queue),
            ("bindings", Binding),
            ("exchange_bindings", ExchangeBinding),
        )
        return {name: [_plain(part) for part in parts if isinstance(part, kind)] for name, kind in kinds}

    @classmethod
    def from_dict(cls, data: Mapping[str, Iterable[Mapping[str, Any]]]) -> Topology:
        """What `to_dict` gave, as a topology again."""
        return cls(
            [
                *(Exchange(**part) for part in data.get("exchanges", ())),
                *(Queue(**part) for part in data.get("queues", ())),
                *(Binding(**part) for part in data.get("bindings", ())),
                *(ExchangeBinding(**part) for part in data.get("exchange_bindings", ())),
            ]
        )


async def declare(broker: Broker, topology: Topology) -> None:
    """Create what is missing, targets before users. Raises `TopologyMismatch` naming the part that differs."""
    await broker.declare(topology.in_order())


def check(part: Declarable) -> None:
    """Raise `ProtocolMisuse` for arguments that no broker takes together."""
    match part:
        case Queue():
            flaw = _flaw(part)
        case Exchange() if part.hash_on is not None and part.kind != "x-consistent-hash":
            flaw = "hash_on belongs to exchanges of the kind x-consistent-hash"
        case _:
            flaw = None
    if flaw is not None:
        raise ProtocolMisuse(f"{part} can't be declared: {flaw}")


def _flaw(queue: Queue) -> str | None:
    if queue.kind != "quorum" and (queue.delivery_limit is not None or queue.at_least_once):
        return "delivery_limit and at_least_once belong to quorum queues"
    if queue.kind != "stream" and (queue.max_age is not None or queue.max_bytes is not None):
        return "max_age and max_bytes belong to streams"
    if queue.dead_letter_exchange is None and (queue.dead_letter_key is not None or queue.at_least_once):
        return "dead_letter_key and at_least_once need a dead_letter_exchange"
    consumed = (queue.ttl_ms, queue.dead_letter_exchange, queue.expires_ms, queue.single_active_consumer or None)
    if queue.kind == "stream" and any(argument is not None for argument in consumed):
        return "ttl_ms, dead-lettering, expires_ms and single_active_consumer do not belong to streams"
    return None


def _merged(parts: Iterable[Declarable]) -> dict[_Key, Declarable]:
    merged: dict[_Key, Declarable] = {}
    for part in parts:
        known = merged.setdefault(_key(part), part)
        if known != part:
            raise ValueError(f"two parts of one name: {known} and {part}")
    return merged


def _key(part: Declarable) -> _Key:
    match part:
        case Exchange():
            return ("exchange", part.name)
        case Queue():
            return ("queue", part.name)
        case Binding():
            return ("binding", part.queue, part.exchange, part.key)
        case ExchangeBinding():
            return ("exchange binding", part.exchange, part.source, part.key)


def _targets_first(topology: Topology) -> list[Queue]:
    ordered: dict[str, Queue] = {}
    visiting: set[str] = set()

    def visit(queue: Queue) -> None:
        if queue.name in visiting:  # a cycle (work -> delay -> work) has no order; either may come first
            return
        visiting.add(queue.name)
        for target in _targets(topology, queue):
            visit(target)
        ordered[queue.name] = queue

    for queue in topology.queues:
        visit(queue)
    return list(ordered.values())


def _targets(topology: Topology, queue: Queue) -> list[Queue]:
    if queue.dead_letter_exchange is None:
        return []
    if queue.dead_letter_exchange == "":
        names = [queue.dead_letter_key or ""]
    else:
        names = [binding.queue for binding in topology.bound_from(queue.dead_letter_exchange)]
    return [target for name in names if (target := topology.queue(name)) is not None]


def _plain(part: Declarable) -> dict[str, Any]:
    defaults = {name: field.default for name, field in part.__dataclass_fields__.items()}
    return {name: value for name, value in asdict(part).items() if value != defaults[name]}
