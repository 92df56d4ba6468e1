"""The conformance suite bites: a broker that bends one rule fails it."""

from __future__ import annotations

import pytest

from brokers.conformance import FAULT_SCENARIOS, SCENARIOS
from brokers.errors import BrokerError
from tests.brokers.connections import first_failure
from tests.brokers.mutations import MUTATIONS, Mutation

ALL = SCENARIOS + FAULT_SCENARIOS

NOTICED = (AssertionError, BrokerError, TimeoutError)
"""How a scenario fails; anything else says that the mutation is broken, not the promise."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_the_suite_notices_that(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert isinstance(first_failure(ALL, deadline=5), NOTICED)


def test_the_suite_passes_the_broker_as_it_is() -> None:
    assert first_failure(ALL, deadline=60) is None
