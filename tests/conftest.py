"""Fixtures for all tests."""

from __future__ import annotations

import pytest

from tests.servers import breakable, mark_server_tests, rabbitmq, rabbitmq_faults
from tests.servers_postgres import postgres, postgres_faults

__all__ = ["breakable", "postgres", "postgres_faults", "rabbitmq", "rabbitmq_faults"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell apart the tests that need a server."""
    mark_server_tests(items)
