"""Which way bytes go: the fast one where the inside of the client library is known, the plain one elsewhere."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from brokers.rabbitmq.wire import PlainWire

if TYPE_CHECKING:
    from brokers.rabbitmq.wire import Wire

KNOWN = ("7.2.",)
"""Beginnings of the aiormq versions that `fastpath` and `tap` were read against."""


def best_wire() -> Wire:
    """The fast wire, unless the installed aiormq is another than those it was read against."""
    if not version("aiormq").startswith(KNOWN):
        return PlainWire()
    from brokers.rabbitmq.fastpath import FastWire  # noqa: PLC0415 - elsewhere it may not even import

    return FastWire()
