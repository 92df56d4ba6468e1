"""`stamp held`: what waits for a deploy or a person, and its way on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from stamp.cli import apps, output, settings
from stamp.cli.command import command, group
from stamp.cli.held_change import RELEASE, Request, change, changing
from stamp.cli.held_pick import Wanted, filters, items_of, services_of, sightings_of
from stamp.cli.held_repair import amend, drop, skip, undo
from stamp.cli.held_view import Item, Past, print_item
from stamp.cli.link import connected, one_of, run_async
from stamp.reading.text import ago
from stamp.sighting import Sighting


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
    error: str | None,
    form: str,
) -> None:
    """Held messages in groups of one workflow, step, reason and error, the largest first. -o name prints ids."""
    wanted = Wanted(workflow=workflow, step=step, code=code, error=error)
    items = [item for item in run_async(_found(broker, services_of(service, app))) if wanted(item)]
    now = time.time()
    groups = _grouped(items)
    output.show(
        form,
        "held",
        [item.document() for item in items],
        name=lambda item: str(item["message_id"]),
        more={"groups": groups},
        human=lambda: output.table(
            ("COUNT", "SERVICE", "WORKFLOW", "STEP", "REASON", "ERROR", "OLDEST", "DETAIL"),
            [
                (
                    each["count"],
                    each["service"],
                    each["workflow"],
                    each["step"],
                    each["reason"],
                    each["error"],
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
    """One held message, whole: ID is any unique beginning of its message id or of its run's id.

    With a journal also what the hop before it changed, and whether the run has gone past it.
    """
    loaded = apps.optional(app)
    item, seen = run_async(_shown(broker, services_of(service, app), wanted))
    past = Past.of(item, seen)
    output.show(
        form,
        "held",
        [{**item.document(), **past.document()}],
        name=lambda item: str(item["message_id"]),
        human=lambda: print_item(item, past, loaded.workflows),
    )


@command(
    "release",
    "stamp held release --service assignment --code too-new --dry-run",
    "stamp held release --app app --yes --reason 'the printer is back'",
    group=held,
)
@changing
def release(request: Request) -> int:
    """Send held messages on their way again, to the queue they came from, with the same bytes and message ids.

    Choose by ID (of messages or runs, any unique beginning) or by the filters; without both, all of the service.
    Releasing a message twice does no harm: the next inbox drops the second.
    """
    return change(request, RELEASE)


for each in (amend, undo, skip, drop):
    held.add_command(each)


async def _found(url: str, services: Sequence[str]) -> list[Item]:
    async with connected(url) as broker:
        return await items_of(broker, services)


async def _shown(url: str, services: Sequence[str], wanted: str) -> tuple[Item, list[Sighting] | None]:
    """The one held message that is meant, and what the journal has of its run."""
    async with connected(url) as broker:
        items = await items_of(broker, services)
        known = {name for item in items for name in (item.message_id, item.run) if name}
        name = one_of(wanted, known, "held message")
        chosen = next(item for item in items if name in {item.message_id, item.run})
        return chosen, await sightings_of(broker, {chosen.run})


def _grouped(items: Sequence[Item]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        key = (item.service, item.workflow, item.step, item.reason, item.held.error)
        groups.setdefault(key, []).append(item)
    rows: list[dict[str, Any]] = [
        {
            "count": len(members),
            **dict(zip(("service", "workflow", "step", "reason", "error"), key, strict=True)),
            "oldest": min((item.at for item in members if item.at), default=0.0),
            "detail": members[0].held.detail,
        }
        for key, members in groups.items()
    ]
    return sorted(rows, key=lambda row: -int(row["count"]))
