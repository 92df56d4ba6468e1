"""The ledger of an owner over several queues: each run keeps to one, and the owner's processes have their parts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import msgspec
import pytest

from brokers.contract import ExchangeBinding, Publication, Queue
from brokers.memory import MemoryBroker
from stamp import Hop, Service, Step, Workflow
from stamp.crew import STAND_BACK
from stamp.errors import DefinitionError
from stamp.events import RunEnded
from stamp.layout import ledger_parts, ledger_queues
from stamp.starting import start_run
from stamp.stores.memory import MemoryDatabase, MemoryStore
from stamp.style import FrontController, Orchestrator, Style
from stamp.testing import VirtualClock
from stamp.testing.runner import OpenBench

RUNS = 40
PATIENCE = 20.0


class Asked(msgspec.Struct):
    number: int


class Printed(msgspec.Struct):
    number: int


def workflow(style: Style) -> Workflow:
    steps = [
        Step("print", service="press", on=Asked, emits=Printed),
        Step("post", service="press", on=Printed),
    ]
    return Workflow("BOOK", version=1, start=Asked, steps=steps, style=style)


def press(flow: Workflow) -> Service:
    service = Service("press")

    @service.step(flow, "print")
    async def print_(event: Asked, hop: Hop[None]) -> Printed:
        return Printed(event.number)

    @service.step(flow, "post")
    async def post(event: Printed, hop: Hop[None]) -> None: ...

    return service


def desk(flow: Workflow, share: tuple[int, int], ended: list[str]) -> Service:
    def note(fact: object) -> None:
        if isinstance(fact, RunEnded):
            ended.append(f"process {share[0]}")

    service = Service("desk", share=share, observers=[note])
    service.owns(flow)
    return service


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  it has no event for this
            await asyncio.sleep(0.005)


def test_a_sharded_ledger_has_its_queues_behind_an_exchange_of_its_name() -> None:
    flow = workflow(Orchestrator("desk", shards=2))
    assert ledger_queues(flow) == ("desk.BOOK.ledger.0", "desk.BOOK.ledger.1")
    parts = ledger_parts(flow)
    queues = [part for part in parts if isinstance(part, Queue) and "ledger" in part.name]
    assert all(queue.single_active_consumer for queue in queues)
    ways_in = [part for part in parts if isinstance(part, ExchangeBinding)]
    assert ("desk.BOOK.ledger", "BOOK", "report.#") in [(way.exchange, way.source, way.key) for way in ways_in]
    assert parts[-len(ways_in) :] == ways_in, "bound last: no report reaches the exchange before its queues"


def test_a_ledger_has_one_queue_or_more() -> None:
    with pytest.raises(DefinitionError, match="shards=0"):
        FrontController("desk", shards=0)


@pytest.mark.parametrize("style", [FrontController("desk", shards=4), Orchestrator("desk", shards=4)], ids=str)
def test_two_processes_of_an_owner_have_their_parts_of_the_runs(style: Style) -> None:
    async def scenario() -> None:
        flow, database, ended = workflow(style), MemoryDatabase(), list[str]()
        service = press(flow)
        broker = MemoryBroker()
        await broker.open()
        stores = [MemoryStore(database=database) for _ in range(2)]
        for store in stores:
            await store.open()
        one, other = (desk(flow, (number, 2), ended) for number in range(2))
        async with (
            service.open(broker=broker, store="memory:"),
            one.open(broker=broker, store=stores[0]),
            other.open(broker=broker, store=stores[1]),
        ):
            for number in range(RUNS):
                await start_run(service, flow, Asked(number))
            await until(lambda: len(ended) == RUNS)
        assert Counter(ended).keys() == {"process 0", "process 1"}
        assert await stores[0].counts() == {"completed": RUNS}
        await broker.close()

    asyncio.run(scenario())


def test_another_process_stands_in_for_one_that_is_away() -> None:
    async def scenario() -> None:
        flow, ended, clock = workflow(Orchestrator("desk", shards=4)), list[str](), VirtualClock()
        service, broker = press(flow), MemoryBroker(clock=clock)
        await broker.open()
        only = desk(flow, (0, 2), ended)
        async with (
            service.open(broker=broker, store="memory:", clock=clock),
            only.open(broker=broker, store="memory:", clock=clock),
        ):
            for number in range(RUNS):
                await start_run(service, flow, Asked(number))
            await until(lambda: 0 < len(ended) < RUNS and not broker.node.queues["desk.BOOK.ledger.0"].ready)
            clock.jump(clock.now() + STAND_BACK + 1)
            await until(lambda: len(ended) == RUNS)
        await broker.close()

    asyncio.run(scenario())


def test_a_report_that_contradicts_another_is_held_and_goes_back_to_its_shard(bench: OpenBench) -> None:
    flow = workflow(Orchestrator("desk", shards=2))
    here = bench(press(flow), desk(flow, (0, 1), []))
    run = here.start(flow, Asked(1))
    here.settle()
    (honest,) = here.published.of_type("report:print")
    text = honest.message.headers["stamp"].replace('"service":"press"', '"service":"forger"')
    forged = replace(honest.message, message_id=str(uuid4()), headers={**honest.message.headers, "stamp": text})
    here.call(here.broker.publish(Publication("BOOK", honest.routing_key, forged)))
    here.settle()
    assert [(one.reason, one.queue) for one in here.held] == [("equivocation", "desk.BOOK.ledger")]
    assert [one.reason for one in here.release()] == ["equivocation"]
    here.settle()
    assert ([one.reason for one in here.held], here.run(run).status) == (["equivocation"], "completed")
