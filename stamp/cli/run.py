"""`stamp run`: one or several services in one process, until they are told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

import click

from stamp.cli import apps, output, settings
from stamp.cli.command import command
from stamp.cli.link import connected, serve_async
from stamp.cli.problems import INTERRUPTED, OK, bad_app
from stamp.service import Service


@command(
    "run",
    "stamp run app --broker memory:",
    "stamp run app:assignment --broker memory: --store 'sqlite:///{service}.db'",
)
@click.argument("targets", metavar="MODULE[:SERVICE]...", nargs=-1, required=True)
@settings.option("broker")
@settings.option("store")
@click.option("--no-journal", is_flag=True, help="Don't let the broker record messages in the journal.")
@click.option("-v", "--verbose", is_flag=True, help="Log more than warnings.")
def run(*, targets: tuple[str, ...], broker: str, store: str | None, no_journal: bool, verbose: bool) -> int:
    """Run services until SIGTERM or Ctrl-C; then drain: finish what is in hand, commit, publish, settle, close.

    MODULE:SERVICE names one service (the variable, or a path to it), MODULE all services of a module. Each service
    has a database of its own: {service} in --store stands for its name. With uvloop installed it runs on that.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    services = {name: service for target in targets for name, service in _services(target).items()}
    return serve_async(_serve(list(services.values()), broker, store, journal=not no_journal))


def _services(target: str) -> dict[str, Service]:
    found = apps.load(target).services
    if not found:
        raise bad_app(f"{target} has no service", fix="name one: MODULE:SERVICE")
    return dict(found)


async def _serve(services: Sequence[Service], url: str, store: str | None, *, journal: bool) -> int:
    stop = asyncio.Event()
    caught: list[int] = []
    _on_signal(stop, caught)
    try:
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(connected(url))
            runtimes = [
                await stack.enter_async_context(
                    service.open(broker=broker, store=_store(store, service.name), journal=journal)
                )
                for service in services
            ]
            output.talk(f"running {', '.join(service.name for service in services)} on {url}; Ctrl-C or SIGTERM drains")
            async with asyncio.TaskGroup() as group:
                for runtime in runtimes:
                    group.create_task(runtime.until(stop))
            output.talk("draining")
    finally:
        _ignore_signals()
    output.talk("stopped")
    return INTERRUPTED if signal.SIGINT in caught else OK


def _store(template: str | None, service: str) -> str | None:
    return template.replace("{service}", service) if template else None


def _on_signal(stop: asyncio.Event, caught: list[int]) -> None:
    def asked(number: int) -> None:
        caught.append(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked, number)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError):
            asyncio.get_running_loop().remove_signal_handler(number)
