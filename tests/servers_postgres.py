"""The PostgreSQL server that tests talk to. A missing server fails the tests that need it, it never skips them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from stamp.testing.postgres import PostgresCluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a database shared by the whole test run: a private cluster, or the server that POSTGRES_URL names."""
    url = os.environ.get("POSTGRES_URL")
    if url:
        yield url
        return
    with PostgresCluster() as cluster:
        yield cluster.url


@pytest.fixture
def postgres_faults() -> Iterator[PostgresCluster]:
    """A private cluster that this test may kill and restart."""
    with PostgresCluster() as cluster:
        yield cluster
