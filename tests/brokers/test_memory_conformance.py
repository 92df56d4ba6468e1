"""The embedded broker against the suite that every adapter passes."""

import asyncio

import pytest

from brokers.clock import SystemClock
from brokers.conformance import FAULT_SCENARIOS, SCENARIOS, Scenario, run_scenario
from tests.brokers.connections import connections, cut


@pytest.mark.parametrize("scenario", SCENARIOS + FAULT_SCENARIOS, ids=str)
def test_the_embedded_broker_keeps_the_contract(scenario: Scenario) -> None:
    asyncio.run(run_scenario(scenario, connections(SystemClock()), cut=cut, deadline=5))
