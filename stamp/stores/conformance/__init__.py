"""The suite that every store adapter passes: each sentence about stores in `stamp.ports` as a scenario.

    from stamp.stores.conformance import SCENARIOS, Scenario, run_scenario

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
    def test_my_store_keeps_the_contract(scenario: Scenario) -> None:
        asyncio.run(run_scenario(scenario, my_place))

`my_place()` is an async context manager that gives a `Place`: an empty database, store objects on it, and the few
statements of a user that the scenarios need. `CONCURRENT_SCENARIOS` are for stores that have several transactions
open at once. Scenarios are plain asserts with one deadline each; they need no test framework. Each ends with a
look for leaks: transactions left open, connections left behind.
"""

from stamp.stores.conformance import (
    concurrent,
    foreseeing,
    hijacks,
    inbox,
    joins,
    lifetime,
    outbox,
    relaying,
    savepoints,
    together,
)
from stamp.stores.conformance.runner import Scenario, run_scenario, scenarios_of
from stamp.stores.conformance.site import Place, PlaceFactory, UserRows

SCENARIOS: tuple[Scenario, ...] = (
    *scenarios_of(together),
    *scenarios_of(savepoints),
    *scenarios_of(hijacks),
    *scenarios_of(inbox),
    *scenarios_of(foreseeing),
    *scenarios_of(outbox),
    *scenarios_of(joins),
    *scenarios_of(relaying),
    *scenarios_of(lifetime),
)
CONCURRENT_SCENARIOS: tuple[Scenario, ...] = scenarios_of(concurrent)

__all__ = ["CONCURRENT_SCENARIOS", "SCENARIOS", "Place", "PlaceFactory", "Scenario", "UserRows", "run_scenario"]
