"""RabbitMQ keeps the broker contract, by the plain path and by the fast one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from brokers.conformance import FAULT_SCENARIOS, SCENARIOS, BrokerFactory, Scenario, run_scenario
from brokers.contract import Broker
from brokers.node import Node
from brokers.rabbitmq import RabbitBroker
from tests.servers import Server

PATHS = pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])


def factory(url: str, *, fast: bool) -> BrokerFactory:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Broker]:
        broker = RabbitBroker(url, fast=fast)
        await broker.open()
        try:
            yield broker
        finally:
            await broker.close()

    def made() -> AbstractAsyncContextManager[Broker]:
        return opened()

    return made


@PATHS
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_rabbitmq_keeps_the_contract(rabbitmq: Server, scenario: Scenario, fast: bool) -> None:
    asyncio.run(run_scenario(scenario, factory(rabbitmq.url, fast=fast)))


@PATHS
@pytest.mark.parametrize("scenario", FAULT_SCENARIOS, ids=str)
def test_rabbitmq_survives_a_connection_that_the_broker_closes(
    rabbitmq_faults: Node, scenario: Scenario, fast: bool
) -> None:
    async def cut(broker: Broker) -> None:
        await asyncio.to_thread(rabbitmq_faults.ctl, "close_all_connections", "a test cuts them")

    asyncio.run(run_scenario(scenario, factory(rabbitmq_faults.url, fast=fast), cut=cut))
