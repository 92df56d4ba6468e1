"""`stamp peek`: what waits in a queue, without touching it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import click

from brokers.contract import Broker, Delivery
from brokers.errors import NotFound
from stamp.cli import apps, output, settings
from stamp.cli.command import command
from stamp.cli.link import connected, run_async, sightings
from stamp.cli.problems import not_found
from stamp.reading.text import ago
from stamp.reading.waiting import Routes, known_queues, waiting
from stamp.sighting import Sighting, sight

TOUCH_SECONDS = 5.0
COST = (
    "--touch takes messages from the queue and gives them back: each look spends one of their redeliveries, marks "
    "them redelivered, may change their order, and keeps them from consumers for a moment"
)


@command("peek", "stamp peek assignment.NEW_TICKET.assign", "stamp peek assignment.NEW_TICKET.assign -o json")
@click.argument("queue")
@settings.option("broker")
@settings.option("app", help="Knows which event goes to which queue; without it that is learned from earlier runs.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many, the oldest.")
@click.option("--touch", is_flag=True, help="Read the queue itself. Costs redeliveries and order.")
@settings.output_option()
def peek(*, queue: str, broker: str, app: str | None, limit: int, touch: bool, form: str) -> None:
    """Show what waits in QUEUE without touching it.

    Worked out from the journal: messages that were routed to the queue and that no later stamp of their run has
    followed. A message that a handler has in hand right now counts as waiting. Messages without a stamp are only
    seen by --touch.
    """
    routes = Routes.declared(apps.optional(app).workflows.values())
    if touch:
        output.talk(f"warning: {COST}")
    found = run_async(_touched(broker, queue, limit) if touch else _untouched(broker, queue, routes))
    found.sort(key=lambda seen: seen.at)
    _show(found[:limit], form)
    output.talk(f"{len(found)} waiting" + (f", the oldest {limit} are shown" if len(found) > limit else ""))


async def _untouched(url: str, queue: str, routes: Routes) -> list[Sighting]:
    async with connected(url) as broker:
        seen = await sightings(broker)
        routes.observe(seen)
        found = waiting(seen, queue, routes)
        if not found:
            await _check_exists(broker, queue, routes)
        return found


async def _check_exists(broker: Broker, queue: str, routes: Routes) -> None:
    """Nothing waits: tell that from a queue that does not exist, and from one that nothing is known about."""
    try:
        depth = await broker.depth(queue)
    except NotFound:
        known = ", ".join(known_queues(routes)) or "none seen yet"
        raise not_found(f"there is no queue {queue!r}", fix=f"one of: {known}") from None
    if depth:
        output.talk(f"warning: the broker counts {depth} messages there; give --app, or they carry no stamp")


async def _touched(url: str, queue: str, limit: int) -> list[Sighting]:
    async with connected(url) as broker:
        expected = min(await broker.depth(queue), limit)
        consumer = await broker.consume(queue, prefetch=limit)
        found: list[Delivery] = []
        try:
            async with asyncio.timeout(TOUCH_SECONDS):
                while len(found) < expected:
                    found.extend(await consumer.receive(expected - len(found)))
        except TimeoutError:
            output.talk("warning: a consumer was faster; some messages were not seen")
        finally:
            await consumer.close()
    seen = [sight(delivery.message, delivery.exchange, delivery.routing_key) for delivery in found]
    strange = sum(sighting is None for sighting in seen)
    if strange:
        output.talk(f"warning: {strange} messages carry no readable stamp")
    return [sighting for sighting in seen if sighting is not None]


def document(seen: Sighting, now: float) -> dict[str, Any]:
    """A waiting message as plain values."""
    return {
        "run": seen.stamp.run,
        "message_id": seen.message_id,
        "waits": "delayed" if seen.kind == "retry" else "held" if seen.kind == "held" else "waiting",
        "since": seen.at or None,
        "age_s": round(max(now - seen.at, 0.0), 3) if seen.at else None,
        "attempt": seen.attempt,
        "reason": seen.reason,
        "stamp": seen.stamp.to_dict(),
    }


def _show(found: Sequence[Sighting], form: str) -> None:
    now = time.time()
    items = [document(seen, now) for seen in found]
    output.show(
        form,
        "waiting",
        items,
        name=lambda item: str(item["run"]),
        human=lambda: output.table(
            ("RUN", "WAITS", "EVENT", "SEQ", "TRY", "FOR", "MESSAGE"),
            [
                (
                    seen.stamp.run,
                    output.status(str(item["waits"])),
                    seen.stamp.event,
                    seen.stamp.seq,
                    seen.attempt,
                    ago(now - seen.at) if seen.at else "unknown",
                    seen.message_id,
                )
                for seen, item in zip(found, items, strict=True)
            ],
        ),
    )
