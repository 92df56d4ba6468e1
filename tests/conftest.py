"""Fixtures for all tests."""

from __future__ import annotations

import pytest

from tests.servers import breakable as breakable
from tests.servers import mark_server_tests
from tests.servers import rabbitmq as rabbitmq
from tests.servers import rabbitmq_faults as rabbitmq_faults
from tests.servers_postgres import postgres as postgres
from tests.servers_postgres import postgres_faults as postgres_faults


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell apart the tests that need a server."""
    mark_server_tests(items)
