"""A tap on the exchanges: a stream that sees every message, at no cost to the services.

Services only declare it; RabbitMQ copies. Reading it changes nothing, so any number of tools may look.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from brokers.contract import Binding, Broker, Declarable, Recorded
from stamp.layout import HELD, JOURNAL, journal_parts

MAX_AGE = "7D"
MAX_BYTES = 2_000_000_000
BATCH = 200

COMMON = (HELD,)
"""Exchanges of every service that the journal taps, next to those of the workflows."""


def parts(exchanges: Iterable[str]) -> list[Declarable]:
    """The stream and its bindings."""
    return journal_parts(exchanges, max_age=MAX_AGE, max_bytes=MAX_BYTES)


def taps(exchanges: Iterable[str]) -> list[Declarable]:
    """Bindings alone, for exchanges that come into being later (the rungs of the delay ladder)."""
    return [Binding(JOURNAL, exchange) for exchange in exchanges]


async def recorded(broker: Broker, *, start: int = 0) -> AsyncIterator[Recorded]:
    """Everything in the journal up to now, from offset `start`; ends where the stream ended when it was called.

    Raises `NotFound` when there is no journal.
    """
    end = await broker.end(JOURNAL)
    if end <= start:
        return
    reader = await broker.read(JOURNAL, start=start)
    try:
        while batch := await reader.receive(BATCH):
            for record in batch:
                if record.offset >= start:
                    yield record
                if record.offset >= end - 1:
                    return
    finally:
        await reader.close()


async def following(broker: Broker, *, start: int | None = None) -> AsyncIterator[Recorded]:
    """The journal as it grows, from an offset or from now on, until the caller stops."""
    reader = await broker.read(JOURNAL, start="next" if start is None else start)
    try:
        while batch := await reader.receive(BATCH):
            for record in batch:
                yield record
    finally:
        await reader.close()
