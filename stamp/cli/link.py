"""What commands that talk to a broker share: the connection, the event loop, what the journal shows."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, TypeVar, cast

import click

from brokers.contract import Broker
from brokers.errors import NotFound
from brokers.registry import broker_for
from stamp import journal
from stamp.cli import output
from stamp.cli.problems import NO, Problem, not_found
from stamp.ledger import Record, project
from stamp.sighting import Sighting, sight, unreadable

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end; Ctrl-C cancels it."""
    return asyncio.run(work)


def serve_async(work: Coroutine[Any, Any, T]) -> T:
    """`run_async` for what runs for long: on uvloop where it is installed."""
    with asyncio.Runner(loop_factory=_quick_loop()) as runner:
        return runner.run(work)


def _quick_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        uvloop: Any = import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Broker]:
    """An open broker: the one that a program gave in the click context, else a connection to `url`."""
    given = click.get_current_context().obj
    if hasattr(given, "publish_all"):
        broker = cast("Broker", given)
        await broker.open()
        yield broker
        return
    quieten_client()
    broker = broker_for(url)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


def quieten_client() -> None:
    """What the AMQP client logs, passwords included, is said by our own errors; STAMP_DEBUG lets it through."""
    for name in () if os.environ.get("STAMP_DEBUG") else ("aiormq", "aio_pika"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())


async def sightings(broker: Broker) -> list[Sighting]:
    """Everything with a stamp that the journal holds now. Raises `Problem` when there is no journal."""
    return (await survey(broker))[0]


async def survey(broker: Broker) -> tuple[list[Sighting], int]:
    """`sightings`, and how many messages carry a stamp that can't be read."""
    seen: list[Sighting] = []
    lost = 0
    try:
        async for record in journal.recorded(broker):
            sighting = sight(record.message, record.exchange, record.routing_key)
            if sighting is not None:
                seen.append(sighting)
            else:
                lost += unreadable(record.message)
    except NotFound:
        raise no_journal() from None
    return seen, lost


def unreadable_talk(count: int) -> None:
    """A remark on what a command could not count."""
    if count:
        output.talk(f"warning: {count} unreadable: messages in the journal whose stamp can't be read are not counted")


def no_journal() -> Problem:
    """The journal was switched off, or no service has ever run on this broker."""
    return Problem(
        "there is no journal on this broker",
        code="E065",
        status=NO,
        why="services declare it when they start, unless they run with journal=False",
        fix="start a service once, or look at a queue directly (stamp peek --touch, stamp tail --tap)",
    )


def of_run(seen: Iterable[Sighting], wanted: str) -> list[Sighting]:
    """The sightings of the run that `wanted` is the id or a unique prefix of. Raises `Problem`."""
    listed = list(seen)
    run = one_of(wanted, {sighting.stamp.run for sighting in listed}, "run")
    return [sighting for sighting in listed if sighting.stamp.run == run]


def one_of(wanted: str, known: Iterable[str], what: str) -> str:
    """The one id that starts with `wanted`. Raises `Problem` for none and for several."""
    found = sorted({name for name in known if name.startswith(wanted.lower())})
    if wanted.lower() in found:
        return wanted.lower()
    if not found:
        raise not_found(f"no {what} starts with {wanted!r}", fix="stamp list shows the runs that the journal knows")
    if len(found) > 1:
        shown = ", ".join(found[:3])
        raise Problem(
            f"{len(found)} {what}s start with {wanted!r}: {shown}", code="E063", fix="give more characters of the id"
        )
    return found[0]


def records(seen: Iterable[Sighting]) -> dict[str, Record]:
    """One row a run."""
    return project(seen)
