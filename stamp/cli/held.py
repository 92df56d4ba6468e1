"""`stamp held`: what waits for a deploy or a person, and its way on."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from brokers.contract import Broker
from brokers.errors import NotFound
from stamp import held as parked
from stamp.cli import apps, output, settings
from stamp.cli.apps import App
from stamp.cli.command import command, group
from stamp.cli.held_view import Item, item_of, print_item
from stamp.cli.link import connected, one_of, run_async
from stamp.cli.problems import NO, OK, PARTLY, Problem, not_found, usage
from stamp.held import Held
from stamp.layout import HELD_PREFETCH
from stamp.reading.text import ago

LOOK_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which held messages a command is about; empty lets everything pass."""

    ids: Sequence[str] = ()
    workflow: str | None = None
    step: str | None = None
    code: str | None = None

    def __call__(self, item: Item) -> bool:
        return (
            self.workflow in {None, item.workflow}
            and self.step in {None, item.step}
            and self.code in {None, item.reason}
            and (not self.ids or any(name in self.ids for name in (item.message_id, item.run)))
        )


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose among held messages."""
    for option in (
        click.option("--code", metavar="REASON", help="Only this reason code, such as too-new."),
        click.option("--step", metavar="NAME", help="Only messages of this step."),
        click.option("--workflow", metavar="NAME", help="Only messages of this workflow."),
        settings.option("app", help="All services of an app; knows their queues."),
        settings.option("service", help="Whose held messages."),
        settings.option("broker"),
    ):
        function = option(function)
    return function


@group("held", "stamp held list --service assignment", "stamp held release --service assignment --code too-new --yes")
def held() -> None:
    """Messages that can't go on without a deploy or a person: parked whole, with a reason code."""


@command("list", "stamp held list --service assignment", "stamp held list --app app -o json", group=held)
@filters
@settings.output_option()
def list_held(
    *,
    broker: str,
    service: str | None,
    app: str | None,
    workflow: str | None,
    step: str | None,
    code: str | None,
    form: str,
) -> None:
    """Held messages in groups of one workflow, step and reason, the largest first. -o name prints message ids."""
    wanted = Wanted(workflow=workflow, step=step, code=code)
    items = [item for item in run_async(_items(broker, _services(service, app))) if wanted(item)]
    now = time.time()
    groups = _grouped(items)
    output.show(
        form,
        "held",
        [item.document() for item in items],
        name=lambda item: str(item["message_id"]),
        more={"groups": groups},
        human=lambda: output.table(
            ("COUNT", "SERVICE", "WORKFLOW", "STEP", "REASON", "OLDEST", "DETAIL"),
            [
                (
                    each["count"],
                    each["service"],
                    each["workflow"],
                    each["step"],
                    each["reason"],
                    ago(now - each["oldest"]) if each["oldest"] else "",
                    each["detail"],
                )
                for each in groups
            ],
        ),
    )
    output.talk(f"{len(items)} held" if items else "nothing is held")


@command(
    "show",
    "stamp held show 0190 --service assignment",
    "stamp held show 0190 --service assignment -o json",
    group=held,
)
@click.argument("wanted", metavar="ID")
@settings.option("broker")
@settings.option("service", help="Whose held messages.")
@settings.option("app", help="All services of an app.")
@settings.output_option()
def show_held(*, wanted: str, broker: str, service: str | None, app: str | None, form: str) -> None:
    """One held message, whole: ID is any unique beginning of its message id or of its run's id."""
    loaded = apps.optional(app)
    items = run_async(_items(broker, _services(service, app)))
    chosen = _chosen(items, wanted)
    output.show(
        form,
        "held",
        [item.document() for item in chosen],
        name=lambda item: str(item["message_id"]),
        human=lambda: print_item(chosen[0], loaded.workflows),
    )


@command(
    "release",
    "stamp held release --service assignment --code too-new --dry-run",
    "stamp held release --app app --yes --reason 'the printer is back'",
    group=held,
)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filters
@click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest.")
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--reason", "note", metavar="TEXT", default="", help="Why; kept in the journal.")
@settings.output_option()
def release_held(
    *,
    ids: tuple[str, ...],
    broker: str,
    service: str | None,
    app: str | None,
    workflow: str | None,
    step: str | None,
    code: str | None,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    note: str,
    form: str,
) -> int:
    """Send held messages on their way again, to the queue they came from, with the same bytes and message ids.

    Choose by ID (of messages or runs, any unique beginning) or by the filters; without both, all of the service.
    Releasing a message twice does no harm: the next inbox drops the second.
    """
    services = _services(service, app)
    items = run_async(_items(broker, services))
    names = [
        one_of(name, {known for item in items for known in (item.message_id, item.run)}, "message") for name in ids
    ]
    wanted = Wanted(ids=names, workflow=workflow, step=step, code=code)
    going = [item for item in items if wanted(item)][:limit]
    if going and not dry_run and not yes:
        _confirm(len(going))
    gone = going if dry_run else run_async(_release(broker, apps.optional(app), going, note))
    _show_released(gone, form)
    output.talk(f"{len(gone)} {'would be ' if dry_run else ''}released" + _left(len(going) - len(gone)))
    return OK if len(gone) == len(going) else PARTLY if gone else NO


def _confirm(count: int) -> None:
    if not sys.stdin.isatty():
        raise Problem(f"{count} messages would be released", code="E066", status=2, fix="--yes, or --dry-run first")
    click.confirm(f"Release {count} messages?", abort=True, err=True)


def _left(count: int) -> str:
    if not count:
        return ""
    return f"; {count} stay held: it is not known where they belong (--app MODULE may know)"


def _show_released(gone: Sequence[Item], form: str) -> None:
    output.show(
        form,
        "released",
        [item.document() for item in gone],
        name=lambda item: str(item["message_id"]),
        human=lambda: output.table(
            ("MESSAGE", "RUN", "QUEUE", "REASON"),
            [(item.message_id, item.run, item.held.queue or item.exchange, item.reason) for item in gone],
        ),
    )


def _services(service: str | None, app: str | None) -> list[str]:
    loaded = apps.optional(app)
    if service:
        return [service]
    if not loaded.services:
        raise usage("whose held messages?", fix="--service NAME, or --app MODULE for all its services")
    return list(loaded.services)


async def _items(url: str, services: Sequence[str]) -> list[Item]:
    """What is held for these services, oldest first. A service without a held queue has nothing held."""
    found: list[Item] = []
    async with connected(url) as broker:
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


def _grouped(items: Sequence[Item]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        groups.setdefault((item.service, item.workflow, item.step, item.reason), []).append(item)
    rows: list[dict[str, Any]] = [
        {
            "count": len(members),
            "service": key[0],
            "workflow": key[1],
            "step": key[2],
            "reason": key[3],
            "oldest": min((item.at for item in members if item.at), default=0.0),
            "detail": members[0].held.detail,
        }
        for key, members in groups.items()
    ]
    return sorted(rows, key=lambda row: -len(groups[row["service"], row["workflow"], row["step"], row["reason"]]))


def _chosen(items: Sequence[Item], wanted: str) -> list[Item]:
    name = one_of(wanted, {known for item in items for known in (item.message_id, item.run) if known}, "held message")
    return [item for item in items if name in {item.message_id, item.run}][:1]


async def _release(url: str, app: App, going: Sequence[Item], note: str) -> list[Item]:
    gone: list[Item] = []
    async with connected(url) as broker:
        for service in dict.fromkeys(item.service for item in going):
            mine = {item.message_id: item for item in going if item.service == service}
            target = await _target(broker, app, service, list(mine.values()))

            def wanted(one: Held, mine: dict[str, Item] = mine) -> bool:
                return one.message.message_id in mine

            async with asyncio.timeout(LOOK_SECONDS):
                went = await parked.release(broker, service, wanted, target, now=time.time(), note=note)
            gone += [mine[one.message.message_id] for one in went]
    return gone


async def _target(
    broker: Broker, app: App, service: str, items: Sequence[Item]
) -> Callable[[Held], tuple[str, str] | None]:
    """Where messages go: own queues by name, and what was unroutable to the exchange of a workflow of the app."""
    known = app.services.get(service)
    names = [station.queue for station in known.stations()] if known else await _existing(broker, service, items)
    own = parked.own_queue(names)
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
