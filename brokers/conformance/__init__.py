"""The suite that every broker adapter passes: each sentence of `brokers.contract` as a scenario.

    from brokers.conformance import SCENARIOS, Scenario, run_scenario

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
    def test_my_broker_keeps_the_contract(scenario: Scenario) -> None:
        asyncio.run(run_scenario(scenario, my_factory))

`my_factory()` is an async context manager that gives an open broker; entered twice it gives two
connections to one node. The node may be shared: every scenario uses names of its own and deletes its queues.
`FAULT_SCENARIOS` also need `cut=`, a coroutine function that breaks a broker's connections from outside.
Scenarios are plain asserts with one deadline each; they need no test framework.
"""

from brokers.conformance import (
    consuming,
    dead_letters,
    declaring,
    faults,
    hashing,
    publishing,
    routing,
    streams,
    taking_turns,
)
from brokers.conformance.runner import Scenario, run_scenario, scenarios_of
from brokers.conformance.site import BrokerFactory, Cut

SCENARIOS: tuple[Scenario, ...] = (
    *scenarios_of(publishing),
    *scenarios_of(routing),
    *scenarios_of(consuming),
    *scenarios_of(dead_letters),
    *scenarios_of(declaring),
    *scenarios_of(taking_turns),
    *scenarios_of(hashing, needs="hash_exchanges"),
    *scenarios_of(streams, needs="streams"),
)
FAULT_SCENARIOS: tuple[Scenario, ...] = scenarios_of(faults)

__all__ = ["FAULT_SCENARIOS", "SCENARIOS", "BrokerFactory", "Cut", "Scenario", "run_scenario"]
