"""Topology as a value."""

from __future__ import annotations

import asyncio

import pytest

from brokers.contract import Binding, Exchange, ExchangeBinding, Queue
from brokers.errors import ProtocolMisuse
from brokers.memory import MemoryBroker
from brokers.topology import Topology, check, declare

EVENTS, DEAD = Exchange("events"), Exchange("dead", "fanout")
WORK = Queue(name="work", dead_letter_exchange="dead")
GRAVE = Queue(name="grave")


def test_the_same_part_twice_is_one_part() -> None:
    assert list(Topology([EVENTS, WORK, EVENTS])) == [EVENTS, WORK]


def test_merging_keeps_the_order_and_drops_duplicates() -> None:
    assert list(Topology([EVENTS, WORK]) | Topology([WORK, GRAVE])) == [EVENTS, WORK, GRAVE]


def test_a_conflict_names_both_parts() -> None:
    other = Queue(name="work", ttl_ms=5)
    with pytest.raises(ValueError, match="two parts of one name") as raised:
        Topology([WORK]) | Topology([other])
    assert str(WORK) in str(raised.value)
    assert str(other) in str(raised.value)


def test_a_queue_and_an_exchange_may_share_a_name() -> None:
    assert len(Topology([Exchange("held"), Queue(name="held")])) == 2


def test_exchanges_come_before_queues_and_queues_before_bindings() -> None:
    binding = Binding("work", "events")
    assert Topology([binding, GRAVE, EVENTS]).in_order() == (EVENTS, GRAVE, binding)


def test_dead_letter_targets_come_before_the_queues_that_use_them() -> None:
    grave_bound, work_bound = Binding("grave", "dead"), Binding("work", "events")
    topology = Topology([WORK, work_bound, GRAVE, grave_bound, EVENTS, DEAD])
    assert topology.in_order() == (EVENTS, DEAD, GRAVE, WORK, grave_bound, work_bound)


def test_a_target_named_by_its_queue_comes_first_too() -> None:
    last = Queue(name="last")
    middle = Queue(name="middle", dead_letter_exchange="", dead_letter_key="last")
    first = Queue(name="first", dead_letter_exchange="", dead_letter_key="middle")
    assert Topology([first, middle, last]).in_order() == (last, middle, first)


def test_queues_that_dead_letter_into_each_other_are_all_declared() -> None:
    work = Queue(name="work", dead_letter_exchange="", dead_letter_key="delay")
    delay = Queue(name="delay", dead_letter_exchange="", dead_letter_key="work", ttl_ms=5)
    assert set(Topology([work, delay]).in_order()) == {work, delay}


def test_parts_are_found_by_name() -> None:
    binding = Binding("work", "events", "a.#")
    topology = Topology([EVENTS, WORK, binding])
    assert (topology.exchange("events"), topology.exchange("work")) == (EVENTS, None)
    assert (topology.queue("work"), topology.queue("events")) == (WORK, None)
    assert (topology.bound_to("work"), topology.bound_from("events")) == ((binding,), (binding,))
    assert WORK in topology
    assert GRAVE not in topology


def test_plain_data_leaves_out_defaults_and_reads_back() -> None:
    topology = Topology([EVENTS, DEAD, WORK, GRAVE, Binding("grave", "dead"), ExchangeBinding("dead", "events")])
    assert topology.to_dict() == {
        "exchanges": [{"name": "events"}, {"name": "dead", "kind": "fanout"}],
        "queues": [{"name": "grave"}, {"name": "work", "dead_letter_exchange": "dead"}],
        "bindings": [{"queue": "grave", "exchange": "dead"}],
        "exchange_bindings": [{"exchange": "dead", "source": "events"}],
    }
    assert set(Topology.from_dict(topology.to_dict())) == set(topology)


def test_topologies_of_equal_parts_are_equal() -> None:
    assert Topology([EVENTS, WORK]) == Topology([EVENTS, WORK])
    assert hash(Topology([EVENTS, WORK])) == hash(Topology([EVENTS, WORK]))
    assert Topology([EVENTS]) != Topology([DEAD])


def test_a_topology_is_declared_on_a_broker() -> None:
    async def depths() -> list[int]:
        broker = MemoryBroker()
        await broker.open()
        await declare(broker, Topology([Binding("work", "events"), WORK, EVENTS, GRAVE, DEAD]))
        return [await broker.depth(name) for name in ("work", "grave")]

    assert asyncio.run(depths()) == [0, 0]


@pytest.mark.parametrize(
    "queue",
    [
        Queue(name="q", kind="classic", delivery_limit=3),
        Queue(name="q", kind="classic", at_least_once=True, dead_letter_exchange="x"),
        Queue(name="q", max_age="7D"),
        Queue(name="q", max_bytes=1),
        Queue(name="q", dead_letter_key="k"),
        Queue(name="q", at_least_once=True),
        Queue(name="q", kind="stream", ttl_ms=1),
        Queue(name="q", kind="stream", dead_letter_exchange=""),
    ],
    ids=str,
)
def test_arguments_that_no_broker_takes_together_are_refused(queue: Queue) -> None:
    with pytest.raises(ProtocolMisuse, match="can't be declared"):
        check(queue)
