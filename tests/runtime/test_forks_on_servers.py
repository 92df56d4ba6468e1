"""Forks, joins and their timers over real servers: RabbitMQ between the services, PostgreSQL under the join."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from stamp.events import Event, RunEnded
from stamp.starting import start_run
from stamp.stores.postgres import PostgresStore
from stamp.workflow import Workflow
from tests.servers import Server
from tests.testing.orders import ORDERED, STATE, House, dynamic, static

RUNS = 5


async def played(house: House, broker: str, store: str, *, schema: str, runs: int = RUNS) -> list[str]:
    """The outcomes of runs, each service with tables of its own."""
    ended: list[str] = []
    over = asyncio.Event()

    def note(fact: Event) -> None:
        if isinstance(fact, RunEnded):
            ended.append(fact.outcome)
            if len(ended) == runs:
                over.set()

    async with AsyncExitStack() as stack:
        for service in house.all:
            service.observers.append(note)
            tables = PostgresStore(store, schema=f"{schema}_{service.name}")
            await tables.open()
            stack.push_async_callback(tables.close)
            await stack.enter_async_context(service.open(broker=broker, store=tables))
        for _ in range(runs):
            await start_run(house.services["shop"], house.flow, ORDERED, state=STATE)
        async with asyncio.timeout(60):
            await over.wait()
    return ended


@pytest.mark.parametrize(
    ("flow", "schema"), [(static(), "static"), (dynamic(), "dynamic")], ids=lambda value: getattr(value, "name", "")
)
def test_runs_fork_and_join(rabbitmq: Server, postgres: str, flow: Workflow, schema: str) -> None:
    house = House(flow)
    ended = asyncio.run(played(house, rabbitmq.url, postgres, schema=f"fork_{schema}"))
    assert ended == ["completed"] * RUNS
    assert house.calls.count("ship") == RUNS


def test_failed_branches_turn_their_runs_once(rabbitmq: Server, postgres: str) -> None:
    house = House(dynamic(), refuse={"pick:b"})
    ended = asyncio.run(played(house, rabbitmq.url, postgres, schema="fork_failed"))
    assert ended == ["compensated"] * RUNS
    assert sorted(house.calls) == sorted(
        ["check", "pick:a", "pick:c", "undo pick:a", "undo pick:c", "undo check"] * RUNS
    )


def test_a_joins_timer_comes_back_over_the_delay_ladder(rabbitmq: Server, postgres: str) -> None:
    house = House(static(timeout=0.8, missing="proceed"))
    del house.services["warehouse"]
    ended = asyncio.run(played(house, rabbitmq.url, postgres, schema="fork_timer", runs=1))
    assert ended == ["completed"]
    assert house.joined[0].missing == (1,)
