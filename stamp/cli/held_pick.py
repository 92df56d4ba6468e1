"""Which held messages a command is about, and what is known of the places they came from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from brokers.contract import Broker
from brokers.errors import NotFound
from stamp import held as parked
from stamp import journal
from stamp.cli import apps, output, settings
from stamp.cli.apps import App
from stamp.cli.held_view import Item, item_of
from stamp.cli.problems import Problem, not_found, usage
from stamp.held import Held
from stamp.layout import HELD_PREFETCH, work_queue
from stamp.sighting import Sighting, sight
from stamp.workflow import Workflow

LOOK_SECONDS = 30.0

Target = Callable[[Held], tuple[str, str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which held messages a command is about; empty lets everything pass."""

    ids: Sequence[str] = ()
    workflow: str | None = None
    step: str | None = None
    code: str | None = None
    error: str | None = None

    def __call__(self, item: Item) -> bool:
        return (
            self.workflow in {None, item.workflow}
            and self.step in {None, item.step}
            and self.code in {None, item.reason}
            and self.error in {None, item.held.error}
            and (not self.ids or any(name in self.ids for name in (item.message_id, item.run)))
        )


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose among held messages."""
    for option in (
        click.option("--error", metavar="TYPE", help="Only messages whose handler raised this type."),
        click.option("--code", metavar="REASON", help="Only this reason code, such as too-new."),
        click.option("--step", metavar="NAME", help="Only messages of this step."),
        click.option("--workflow", metavar="NAME", help="Only messages of this workflow."),
        settings.option("app", help="All services of an app; knows their queues and tables."),
        settings.option("service", help="Whose held messages."),
        settings.option("broker"),
    ):
        function = option(function)
    return function


def services_of(service: str | None, app: str | None) -> list[str]:
    """The services named, or all of the app. Raises `Problem` when neither was given."""
    loaded = apps.optional(app)
    if service:
        return [service]
    if not loaded.services:
        raise usage("whose held messages?", fix="--service NAME, or --app MODULE for all its services")
    return list(loaded.services)


async def items_of(broker: Broker, services: Sequence[str]) -> list[Item]:
    """What is held for these services, oldest first. A service without a held queue has nothing held."""
    found: list[Item] = []
    for service in services:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                listed = await parked.listed(broker, service)
        except NotFound:
            if len(services) == 1:
                raise not_found(
                    f"there is no held queue of {service!r}", why="no service of that name has run here"
                ) from None
            continue
        except TimeoutError:
            raise _busy(service) from None
        if len(listed) >= HELD_PREFETCH:
            output.talk(f"warning: only the first {HELD_PREFETCH} held messages of {service} are looked at")
        found += [item_of(service, one) for one in listed]
    return found


def _busy(service: str) -> Problem:
    return Problem(
        f"somebody else looks at the held messages of {service!r}", code="E067", status=1, fix="try again in a moment"
    )


async def sightings_of(broker: Broker, runs: Collection[str], beginnings: Sequence[str] = ()) -> list[Sighting] | None:
    """What the journal holds of these runs, and of runs and messages with these beginnings; `None` without one.

    Only messages about them are opened: a journal is long.
    """
    starts = tuple(beginnings)
    found: list[Sighting] = []
    try:
        async for record in journal.recorded(broker):
            run = record.message.correlation_id or ""
            if run in runs or (starts and (run.startswith(starts) or record.message.message_id.startswith(starts))):
                seen = sight(record.message, record.exchange, record.routing_key)
                found += [] if seen is None else [seen]
    except NotFound:
        return None
    return found


async def target_of(broker: Broker, app: App, service: str, items: Sequence[Item]) -> Target:
    """Where messages go: own queues by name, and what was unroutable to the exchange of a workflow of the app."""
    known = app.services.get(service)
    own = (
        parked.own_station(known.stations(), known.participant().beside)
        if known
        else parked.own_queue(await _existing(broker, service, items))
    )
    exchanges = {flow.name for flow in app.workflows.values()}

    def target(one: Held) -> tuple[str, str] | None:
        item = item_of(service, one)
        if not one.queue and item.workflow in exchanges and item.key:
            return (item.workflow, item.key)
        return own(one)

    return target


async def _existing(broker: Broker, service: str, items: Sequence[Item]) -> list[str]:
    """The service's queues that the notes name and that exist: a note alone never decides where a message goes."""
    named = dict.fromkeys(item.held.queue for item in items)
    found = []
    for name in (name for name in named if name.startswith(f"{service}.")):
        try:
            await broker.depth(name)
        except NotFound:
            continue
        found.append(name)
    return found


def versions_of(app: App, workflow: str) -> Mapping[int, Workflow]:
    """The versions of a workflow that the app knows."""
    return {version: flow for (name, version), flow in app.workflows.items() if name == workflow}


def step_of(item: Item, app: App) -> str:
    """The step that a held message waits for: by its type, its queue, or the table; empty when none tells."""
    if item.held.message.type.startswith("undo:"):
        return item.held.message.type.removeprefix("undo:")
    flows = list(versions_of(app, item.workflow).values())
    base, _, number = item.held.queue.rpartition(".")
    queues = {item.held.queue, *([base] if number.isdecimal() else [])}  # a shard is the step's queue and a number
    by_queue = [step.name for flow in flows for step in flow.steps if work_queue(flow.name, step) in queues]
    if by_queue or item.step or item.stamp is None:
        return next(iter(by_queue), item.step)
    consumers = [step.name for flow in flows for step in flow.steps if step.event == item.stamp.event]
    return next(iter(consumers), "")
