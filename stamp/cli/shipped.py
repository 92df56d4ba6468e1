"""What commands that play shipped examples share: the examples' modules, and a broker for the time of a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from stamp.cli.output import talk
from stamp.resources import examples

MEMORY = "memory:"


def module(name: str) -> Any:
    """A module that the shipped examples share; they are imported like a user's own code."""
    home = str(examples())
    if home not in sys.path:
        sys.path.insert(0, home)
    return import_module(f"common.{name}")


@contextmanager
def broker_url(broker: str) -> Iterator[str]:
    """The URL of `memory`, `rabbitmq` or a URL; a private node lives as long as the block."""
    if broker == "memory":
        yield MEMORY
    elif broker != "rabbitmq":
        yield broker
    elif url := os.environ.get("AMQP_URL"):
        yield url
    else:
        from brokers.node import Node  # noqa: PLC0415  a named broker needs no node

        talk("starting a private RabbitMQ node")
        with Node() as node:
            click.echo(f"look at it from another terminal: stamp tail --broker {node.url}", err=True)
            yield node.url
