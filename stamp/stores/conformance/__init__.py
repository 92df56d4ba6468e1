"""The suite that every store adapter passes: each sentence about stores in `stamp.ports` as a scenario.

    from stamp.stores.conformance import SCENARIOS, Scenario, run_scenario

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
    def test_my_store_keeps_the_contract(scenario: Scenario) -> None:
        asyncio.run(run_scenario(scenario, my_place))

`my_place()` is an async context manager that gives a `Place`: an empty database, store objects on it, and the few
statements of a user that the scenarios need. `CONCURRENT_SCENARIOS` are for stores that have several transactions
open at once, `LEDGER_SCENARIOS` for those that offer `Bookkeeping` and `Books`, and `CONCURRENT_LEDGER_SCENARIOS` for
those that do both. Scenarios are plain asserts with one deadline each; they need no test framework. Each ends with a
look for leaks: transactions left open, connections left behind.
"""

from stamp.stores.conformance import (
    concurrent,
    concurrent_ledgers,
    foreseeing,
    hijacks,
    inbox,
    joins,
    ledgers,
    lifetime,
    listing,
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
LEDGER_SCENARIOS: tuple[Scenario, ...] = (*scenarios_of(ledgers), *scenarios_of(listing))
CONCURRENT_SCENARIOS: tuple[Scenario, ...] = scenarios_of(concurrent)
CONCURRENT_LEDGER_SCENARIOS: tuple[Scenario, ...] = scenarios_of(concurrent_ledgers)

__all__ = [
    "CONCURRENT_LEDGER_SCENARIOS",
    "CONCURRENT_SCENARIOS",
    "LEDGER_SCENARIOS",
    "SCENARIOS",
    "Place",
    "PlaceFactory",
    "Scenario",
    "UserRows",
    "run_scenario",
]
