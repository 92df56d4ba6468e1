"""Steps that run another workflow over real servers: RabbitMQ between the services, SQLite or PostgreSQL under them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from brokers.registry import broker_for
from stamp.events import Event, RunEnded
from stamp.ports import Store
from stamp.starting import start_run
from stamp.stores.postgres import PostgresStore
from stamp.stores.sqlite import SQLiteStore
from tests.servers import Server
from tests.testing.family import BACK, FORTH, ORDERED, Family, family

RUNS = 20
StoreFor = Callable[[str], Store]


async def played(house: Family, broker: str, store: StoreFor, *, runs: int = RUNS) -> list[str]:
    """The outcomes of the outer runs, each service with tables and a connection of its own."""
    ended: list[str] = []
    over = asyncio.Event()

    def note(fact: Event) -> None:
        if isinstance(fact, RunEnded) and fact.workflow == house.outer.name:
            ended.append(fact.outcome)
            if len(ended) == runs:
                over.set()

    async with AsyncExitStack() as stack:
        for service in house.all:
            service.observers.append(note)
            tables = store(service.name)
            await tables.open()
            stack.push_async_callback(tables.close)
            await stack.enter_async_context(service.open(broker=broker, store=tables))
        for _ in range(runs):
            await start_run(house.services["shop"], house.outer, ORDERED)
        async with asyncio.timeout(60):
            await over.wait()
    await deleted(broker, house)
    return ended


async def deleted(url: str, house: Family) -> None:
    """The queues go with the test: the next family declares its own."""
    broker = broker_for(url)
    await broker.open()
    for name in {part.name for one in house.all for part in one.topology() if type(part).__name__ == "Queue"}:
        await broker.delete_queue(name)
    await broker.close()


PAIRS = [("stamp", "stamp"), ("orchestrator", "stamp"), ("stamp", "orchestrator"), ("front-controller", "stateless")]


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
@pytest.mark.parametrize(
    ("refuse", "end", "calls"),
    [("", "completed", FORTH), ("ship", "compensated", [*FORTH[:-1], *BACK])],
    ids=["forth", "back"],
)
def test_children_run_over_sqlite(  # noqa: PLR0917
    rabbitmq: Server, tmp_path: Path, outer: str, inner: str, refuse: str, end: str, calls: list[str]
) -> None:
    house = family(outer, inner, refuse={refuse})
    ended = asyncio.run(played(house, rabbitmq.url, lambda name: SQLiteStore(f"sqlite:///{tmp_path / name}.db")))
    assert Counter(ended) == {end: RUNS}
    assert Counter(house.calls) == dict.fromkeys(calls, RUNS)


def test_children_are_taken_back_over_postgres(rabbitmq: Server, postgres: str) -> None:
    house = family("orchestrator", "front-controller", refuse={"ship"})
    schema = "child_{}"
    ended = asyncio.run(
        played(house, rabbitmq.url, lambda name: PostgresStore(postgres, schema=schema.format(name.replace("-", "_"))))
    )
    assert Counter(ended) == {"compensated": RUNS}
    assert Counter(house.calls) == dict.fromkeys([*FORTH[:-1], *BACK], RUNS)
