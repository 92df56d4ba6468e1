"""The embedded broker against the suite that every adapter passes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from brokers.clock import SystemClock
from brokers.conformance import FAULT_SCENARIOS, SCENARIOS, BrokerFactory, Scenario, run_scenario
from brokers.contract import Broker
from brokers.memory import MemoryBroker, MemoryNode


def connections() -> BrokerFactory:
    node = MemoryNode(SystemClock())

    @asynccontextmanager
    async def connect() -> AsyncIterator[Broker]:
        broker = MemoryBroker(node=node)
        await broker.open()
        yield broker
        await broker.close()

    return connect


async def cut(broker: Broker) -> None:
    assert isinstance(broker, MemoryBroker)
    await broker.cut()


@pytest.mark.parametrize("scenario", SCENARIOS + FAULT_SCENARIOS, ids=str)
def test_the_embedded_broker_keeps_the_contract(scenario: Scenario) -> None:
    asyncio.run(run_scenario(scenario, connections(), cut=cut, deadline=5))
