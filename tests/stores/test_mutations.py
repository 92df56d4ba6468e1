"""The conformance suite bites: a store that bends one rule fails it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from stamp.stores.conformance import (
    CONCURRENT_LEDGER_SCENARIOS,
    LEDGER_SCENARIOS,
    SCENARIOS,
    PlaceFactory,
    Scenario,
    run_scenario,
)
from tests.stores.ledger_mutations import (
    MEMORY_LEDGER_MUTATIONS,
    POSTGRES_LEDGER_MUTATIONS,
    SQLITE_LEDGER_MUTATIONS,
)
from tests.stores.mutations import MEMORY_MUTATIONS, SQLITE_MUTATIONS, Mutation
from tests.stores.places import memory_place, postgres_places, sqlite_places

DEADLINE = 2.0


def first_failure(factory: PlaceFactory, scenarios: Sequence[Scenario] = SCENARIOS) -> str | None:
    """The name of the first scenario that fails; `None` when all pass."""
    for scenario in scenarios:
        try:
            asyncio.run(run_scenario(scenario, factory, deadline=DEADLINE))
        except Exception:
            return scenario.name
    return None


# A mutant may leave anything behind; what the collector finds of it later is not a finding.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("mutation", MEMORY_MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_the_suite_notices_in_memory_that(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert first_failure(memory_place) is not None


@pytest.mark.parametrize("mutation", SQLITE_MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_the_suite_notices_on_sqlite_that(mutation: Mutation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mutation(monkeypatch)
    assert first_failure(sqlite_places(tmp_path)) is not None


@pytest.mark.parametrize("mutation", MEMORY_LEDGER_MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_the_suite_notices_in_a_ledger_in_memory_that(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert first_failure(memory_place, LEDGER_SCENARIOS) is not None


@pytest.mark.parametrize("mutation", SQLITE_LEDGER_MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_the_suite_notices_in_a_ledger_on_sqlite_that(
    mutation: Mutation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mutation(monkeypatch)
    assert first_failure(sqlite_places(tmp_path), LEDGER_SCENARIOS) is not None


@pytest.mark.parametrize("mutation", POSTGRES_LEDGER_MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_the_suite_notices_in_a_ledger_on_postgres_that(
    mutation: Mutation, monkeypatch: pytest.MonkeyPatch, postgres: str
) -> None:
    mutation(monkeypatch)
    scenarios = CONCURRENT_LEDGER_SCENARIOS + LEDGER_SCENARIOS
    assert first_failure(postgres_places(postgres), scenarios) is not None


def test_the_suite_passes_the_memory_store_as_it_is() -> None:
    assert first_failure(memory_place, SCENARIOS + LEDGER_SCENARIOS) is None


def test_there_are_enough_mutations() -> None:
    assert len(MEMORY_MUTATIONS) + len(SQLITE_MUTATIONS) >= 15
