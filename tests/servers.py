"""The RabbitMQ servers that tests talk to. A missing server fails the tests that need it, it never skips them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from brokers.node import Node

PLUGINS = ("rabbitmq_consistent_hash_exchange",)
"""What the tests of sharded steps need; a server named by AMQP_URL must have it too."""


class Server(Protocol):
    """Something that answers at a URL."""

    @property
    def url(self) -> str: ...


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that somebody else started."""

    url: str


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Server]:
    """A RabbitMQ node shared by the whole test run, or the server that AMQP_URL names."""
    url = os.environ.get("AMQP_URL")
    if url:
        yield RunningServer(url)
        return
    with Node(plugins=PLUGINS) as node:
        yield node


@pytest.fixture(scope="session")
def rabbitmq_faults() -> Iterator[Node]:
    """A private node that tests may kill, restart and starve; it runs again when a test is done with it."""
    with Node() as node:
        yield node


@pytest.fixture
def breakable(rabbitmq_faults: Node) -> Iterator[Node]:
    """The node for fault tests, running, with its connections closed and its alarms off afterwards."""
    rabbitmq_faults.start()
    yield rabbitmq_faults
    rabbitmq_faults.start()


def mark_server_tests(items: list[pytest.Item]) -> None:
    """Mark each test by the servers that its fixtures name, so that `make test-fast` can leave it out."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        for server in ("rabbitmq", "postgres"):
            if any(name.startswith(server) for name in names):
                item.add_marker(getattr(pytest.mark, server))
