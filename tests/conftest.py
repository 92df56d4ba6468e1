"""Fixtures for all tests."""

from __future__ import annotations

import gc

import pytest

from tests.servers import breakable, mark_server_tests, rabbitmq, rabbitmq_faults
from tests.servers_postgres import postgres, postgres_faults

__all__ = ["breakable", "postgres", "postgres_faults", "rabbitmq", "rabbitmq_faults"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell apart the tests that need a server."""
    mark_server_tests(items)


def pytest_collection_finish() -> None:
    """Thousands of collected tests live as long as the process: no later collection of garbage looks through them."""
    gc.collect()
    gc.freeze()
