"""Every adapter against the one suite."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stamp.stores.conformance import (
    CONCURRENT_LEDGER_SCENARIOS,
    CONCURRENT_SCENARIOS,
    LEDGER_SCENARIOS,
    SCENARIOS,
    Scenario,
    run_scenario,
)
from tests.stores.places import memory_place, postgres_places, sqlite_places

ONE_AT_A_TIME = SCENARIOS + LEDGER_SCENARIOS
ALL = ONE_AT_A_TIME + CONCURRENT_SCENARIOS + CONCURRENT_LEDGER_SCENARIOS
WAYS = ("session", "connection")


def test_the_suite_has_at_least_thirty_scenarios_and_each_name_once() -> None:
    assert len(SCENARIOS) >= 30
    assert len({scenario.name for scenario in ALL}) == len(ALL)


@pytest.mark.parametrize("scenario", ONE_AT_A_TIME, ids=str)
def test_the_memory_store_keeps_the_contract(scenario: Scenario) -> None:
    asyncio.run(run_scenario(scenario, memory_place))


@pytest.mark.parametrize("scenario", ONE_AT_A_TIME, ids=str)
def test_the_sqlite_store_keeps_the_contract(scenario: Scenario, tmp_path: Path) -> None:
    asyncio.run(run_scenario(scenario, sqlite_places(tmp_path)))


@pytest.mark.parametrize("scenario", ALL, ids=str)
def test_the_postgres_store_keeps_the_contract(scenario: Scenario, postgres: str) -> None:
    asyncio.run(run_scenario(scenario, postgres_places(postgres)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scenario", ONE_AT_A_TIME, ids=str)
def test_the_sqlalchemy_store_keeps_the_contract_on_sqlite(scenario: Scenario, way: str, tmp_path: Path) -> None:
    asyncio.run(run_scenario(scenario, sqlite_places(tmp_path, sqlalchemy=way)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scenario", ALL, ids=str)
def test_the_sqlalchemy_store_keeps_the_contract_on_postgres(scenario: Scenario, way: str, postgres: str) -> None:
    asyncio.run(run_scenario(scenario, postgres_places(postgres, sqlalchemy=way)))
