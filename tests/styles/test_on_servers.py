"""The styles over real servers: owners with PostgreSQL, and two processes' worth of owner on RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import pytest

from stamp import Service, Workflow
from stamp.events import Event, RunEnded
from stamp.starting import start_run
from stamp.stores.postgres import PostgresStore
from stamp.style import Style
from stamp.testing.runner import OpenBench
from tests.servers import Server
from tests.styles.stages import DESK, ORCHESTRATED, OWN, SHOP, STATELESS, Plain, Stage, label, sent
from tests.styles.tables import line
from tests.testing.orders import ORDERED, STATE, static

RUNS = 40
UNDONE = {"": [], "tell": ["ship", "charge", "check"], "reserve": ["charge", "check"]}


@pytest.mark.parametrize("style", [SHOP, ORCHESTRATED, STATELESS], ids=label)
@pytest.mark.parametrize(("make", "refused"), [(static, ""), (line, "tell"), (static, "reserve")])
def test_runs_go_forward_and_back_on_postgres(
    bench: OpenBench, postgres: str, style: Style, make: Callable[[], Workflow], refused: str
) -> None:
    house, schema = Plain(make().styled(style), refuse={refused}), f"styles_{uuid4().hex[:8]}"
    table = bench(*house.all, store=lambda name: PostgresStore(postgres, schema=f"{schema}_{name}"))
    stage, undone = Stage(house, table).play(), UNDONE[refused]
    assert (stage.status, stage.undone) == ("compensated" if refused else "completed", undone)
    stage.agrees()
    for message in sent(stage):
        stage.table.redeliver(message)
    stage.table.settle()
    assert (stage.undone, stage.table.held) == (undone, ())
    stage.agrees()


@pytest.mark.parametrize("style", [DESK, OWN], ids=label)
def test_two_owners_on_one_database_share_the_runs(rabbitmq: Server, postgres: str, style: Style) -> None:
    ended = asyncio.run(shared(Plain(line().styled(style), refuse={"ship"}), rabbitmq.url, postgres))
    assert [outcome for _, outcome in ended] == ["compensated"] * RUNS
    assert {who for who, _ in ended} == {"first", "second"}


async def shared(house: Plain, broker: str, store: str) -> list[tuple[str, str]]:
    """Which of two processes' worth of owner told the end of each run."""
    ended: list[tuple[str, str]] = []
    over, owner, schema = asyncio.Event(), house.flow.style.owner or "", f"styles_{uuid4().hex[:8]}"

    def noting(who: str) -> Callable[[Event], None]:
        def note(fact: Event) -> None:
            if isinstance(fact, RunEnded):
                ended.append((who, fact.outcome))
                over.set() if len(ended) == RUNS else None

        return note

    twin = Plain(house.flow, refuse=house.refuse).services[owner]
    house.services[owner].observers.append(noting("first"))
    twin.observers.append(noting("second"))
    async with AsyncExitStack() as stack:
        for service in [*house.all, twin]:
            tables = PostgresStore(store, schema=f"{schema}_{service.name}")
            await stack.enter_async_context(opened(service, broker, tables))
        for _ in range(RUNS):
            await start_run(house.services["shop"], house.flow, ORDERED, state=STATE)
        async with asyncio.timeout(60):
            await over.wait()
    return ended


@asynccontextmanager
async def opened(service: Service, broker: str, store: PostgresStore) -> AsyncIterator[None]:
    await store.open()
    try:
        async with service.open(broker=broker, store=store):
            yield
    finally:
        await store.close()
