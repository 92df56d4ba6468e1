"""A step over several queues: each run keeps to one, every one is used, and the number may change under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from brokers.contract import Binding, Exchange, ExchangeBinding, Queue
from brokers.memory import MemoryBroker
from stamp import Hop, RetryLater, Service, Step, Workflow
from stamp.crew import STAND_BACK, TURN
from stamp.errors import DefinitionError
from stamp.layout import step_parts, work_queues
from stamp.middleware import stamped
from stamp.runtime import settled
from stamp.starting import start_run
from stamp.testing import VirtualClock
from stamp.testing.runner import OpenBench

RUNS = 40


class Asked(msgspec.Struct):
    number: int


class Printed(msgspec.Struct):
    number: int


def workflow(shards: int, *, version: int = 1, undo: bool = False) -> Workflow:
    steps = [Step("print", service="press", on=Asked, emits=Printed, shards=shards, retry="3x 1s", undo=undo)]
    return Workflow("BOOK", version=version, start=Asked, steps=steps)


def press(flow: Workflow, done: list[int], *, late: int | None = None, share: tuple[int, int] = (0, 1)) -> Service:
    service = Service("press", concurrency=3, share=share)

    @service.step(flow, "print")
    async def print_(event: Asked, hop: Hop[None]) -> Printed:
        if event.number == late and hop.attempt == 1:
            raise RetryLater("no paper")
        done.append(event.number)
        return Printed(event.number)

    return service


@asynccontextmanager
async def opened() -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker()
    await broker.open()
    yield broker
    await broker.close()


def test_a_step_has_one_queue_of_its_name_unless_told_otherwise() -> None:
    flow = workflow(1)
    assert work_queues("BOOK", flow.step("print")) == ("press.BOOK.print",)
    parts = step_parts(flow, flow.step("print"))
    assert [part.name for part in parts if isinstance(part, Exchange | Queue)] == ["BOOK", "press.BOOK.print"]


def test_a_sharded_step_has_its_queues_behind_an_exchange_of_its_name() -> None:
    flow = workflow(2, undo=True)
    parts = step_parts(flow, flow.step("print"))
    assert parts[1] == Exchange("press.BOOK.print", "x-consistent-hash", hash_on="correlation_id")
    queues = [part for part in parts if isinstance(part, Queue)]
    assert [queue.name for queue in queues] == ["press.BOOK.print.0", "press.BOOK.print.1"]
    assert all(queue.single_active_consumer for queue in queues)
    assert [part.key for part in parts if isinstance(part, Binding)] == ["1", "1"]
    ways_in = [part for part in parts if isinstance(part, ExchangeBinding)]
    assert [(way.source, way.key) for way in ways_in] == [("BOOK", "Asked"), ("BOOK", "undo.print")]
    assert parts[-2:] == ways_in, "bound last: nothing reaches the exchange before its queues"


def test_runs_go_through_all_the_shards_of_a_step() -> None:
    async def scenario() -> None:
        done: list[int] = []
        flow = workflow(4)
        service = press(flow, done)
        async with opened() as broker, service.open(broker=broker, store="memory:", consume=False) as runtime:
            for number in range(RUNS):
                await start_run(service, flow, Asked(number))
            shares = [await broker.depth(queue) for queue in work_queues("BOOK", flow.step("print"))]
            assert (sum(shares), all(shares)) == (RUNS, True), shares
            await runtime.start_consuming()
            await until_done(done, RUNS)
            await settled(runtime)
        assert sorted(done) == list(range(RUNS))

    asyncio.run(scenario())


def test_a_retry_comes_back_to_the_same_shard(bench: OpenBench) -> None:
    flow = workflow(4)
    table = bench(press(flow, [], late=0))
    run_id = table.start(flow, Asked(0))
    table.settle()
    (retry,) = [message for message in table.published if message.exchange.startswith("stamp.delay.")]
    home = [queue for queue in work_queues("BOOK", flow.step("print")) if queue == retry.routing_key]
    assert len(home) == 1
    assert table.run(run_id).status == "completed"


def test_a_held_message_of_a_sharded_step_goes_back_to_it(bench: OpenBench) -> None:
    flow = workflow(4)
    done: list[int] = []
    table = bench(press(flow, done))
    table.fail("print", times=3)
    run_id = table.start(flow, Asked(7))
    table.settle()
    assert table.run(run_id).status == "held", table.run(run_id)
    assert [held.queue for held in table.held] == ["press.BOOK.print"]
    table.release()
    table.settle()
    assert (table.run(run_id).status, done) == ("completed", [7])


@pytest.mark.parametrize(("before", "after"), [(1, 4), (2, 4), (4, 2)])
def test_what_waits_when_the_number_of_shards_changes_is_handled_once(before: int, after: int) -> None:
    async def scenario() -> None:
        done: list[int] = []
        async with opened() as broker:
            old, new = workflow(before), workflow(after)
            await _placed(broker, press(old, []), old, range(RUNS))
            service = press(new, done)
            async with service.open(broker=broker, store="memory:") as runtime:
                for number in range(RUNS, 2 * RUNS):
                    await start_run(service, new, Asked(number))
                await until_done(done, 2 * RUNS)
                await settled(runtime)
            waiting = {name: counts.ready for name, counts in broker.node.queues.items() if counts.ready}
        assert (sorted(done), waiting) == (list(range(2 * RUNS)), {}), "no copy lies in a queue of the old number"

    asyncio.run(scenario())


def test_a_queue_of_the_old_number_may_be_deleted_while_its_step_runs() -> None:
    async def scenario() -> None:
        done: list[int] = []
        async with opened() as broker:
            await _placed(broker, press(workflow(4), []), workflow(4), range(1))
            flow = workflow(2)
            service = press(flow, done)
            async with service.open(broker=broker, store="memory:") as runtime:
                await until_done(done, 1)
                await settled(runtime)
                await broker.delete_queue("press.BOOK.print.3")
                await start_run(service, flow, Asked(1))
                await until_done(done, 2)
            assert "press.BOOK.print.3" not in broker.node.queues

    asyncio.run(scenario())


def test_processes_with_a_share_begin_with_their_own_shards() -> None:
    async def scenario() -> None:
        flow = workflow(4)
        done: list[list[int]] = [[], []]
        async with opened() as broker, AsyncExitStack() as stack:
            for number in (0, 1):
                service = press(flow, done[number], share=(number, 2))
                await stack.enter_async_context(service.open(broker=broker, store="memory:"))
            for number in range(RUNS):
                await start_run(service, flow, Asked(number))
            async with asyncio.timeout(20):
                while len(done[0]) + len(done[1]) < RUNS:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        assert sorted(done[0] + done[1]) == list(range(RUNS))
        assert all(done), "each had its part"

    asyncio.run(scenario())


def test_a_process_stands_in_for_one_that_is_away_and_stands_back_when_it_comes() -> None:
    async def scenario() -> None:
        flow = workflow(2)
        clock = VirtualClock()
        here: list[int] = []
        async with opened() as broker:
            service = press(flow, here, share=(0, 2))
            async with service.open(broker=broker, store="memory:", clock=clock):
                for number in range(RUNS):
                    await start_run(service, flow, Asked(number))
                clock.jump(clock.now() + STAND_BACK)
                await until_done(here, RUNS)
                await _its_owner_takes_over(broker, flow, service, clock)

    asyncio.run(scenario())


async def _its_owner_takes_over(broker: MemoryBroker, flow: Workflow, first: Service, clock: VirtualClock) -> None:
    there: list[int] = []
    owner = press(flow, there, share=(1, 2))
    async with owner.open(broker=broker, store="memory:", clock=clock):
        clock.jump(clock.now() + TURN)
        async with asyncio.timeout(20):
            number = RUNS
            while not there:
                await start_run(first, flow, Asked(number))
                number += 1
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("share", [(2, 2), (-1, 2), (0, 0)])
def test_a_share_is_one_of_so_many(share: tuple[int, int]) -> None:
    with pytest.raises(DefinitionError, match="how many processes"):
        Service("press", share=share)


@pytest.mark.parametrize("shards", [0, -1])
def test_a_step_has_at_least_one_queue(shards: int) -> None:
    with pytest.raises(DefinitionError, match=f"shards={shards}"):
        workflow(shards)


def test_a_queue_of_an_application_is_not_sharded() -> None:
    with pytest.raises(DefinitionError, match="an application owns the queue"):
        Step("print", service="press", on=Asked, queue="theirs", shards=2)


def test_all_versions_of_a_step_have_the_same_number_of_shards() -> None:
    service = press(workflow(4), [])
    with pytest.raises(DefinitionError, match=r"shards=2, and 4 in BOOK v1"):
        service.step(workflow(2, version=2), "print")


def test_a_consumer_of_the_application_says_which_shard_it_has() -> None:
    flow = workflow(4)
    with pytest.raises(DefinitionError, match="say which shard"):
        stamped(press(flow, []), flow, "print", channel=object())


async def _placed(broker: MemoryBroker, service: Service, flow: Workflow, numbers: range) -> None:
    """Runs that wait in the queues of a service that has gone."""
    async with service.open(broker=broker, store="memory:", consume=False):
        for number in numbers:
            await start_run(service, flow, Asked(number))


async def until_done(done: list[int], number: int) -> None:
    async with asyncio.timeout(20):
        while len(done) < number:  # noqa: ASYNC110  the handler sets no event
            await asyncio.sleep(0.005)
