"""`stamp tail`: messages as they pass, through the journal or a tap queue of our own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import click

from brokers.contract import Binding, Broker, Queue, Recorded
from brokers.errors import NotFound
from stamp import journal
from stamp.cli import apps, output, settings
from stamp.cli.command import command
from stamp.cli.link import connected, no_journal, run_async
from stamp.cli.problems import usage
from stamp.layout import HELD, JOURNAL
from stamp.reading.text import json_text
from stamp.sighting import Sighting, sight

PAUSE = 0.5
"""Seconds between two looks for a journal that is not there yet."""

TAP_LIFE_MS = 60_000
"""How long a tap queue outlives a command that was killed."""

WIDTHS = (12, 10, 36, 14, 4, 24, 14, 0)
HEADERS = ("AT", "SEEN", "RUN", "WORKFLOW", "SEQ", "EVENT", "FROM", "WHY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which sightings are wanted; `None` and empty let everything pass."""

    workflow: str | None
    run: str | None
    events: Sequence[str]

    def __call__(self, seen: Sighting) -> bool:
        stamp = seen.stamp
        return (
            self.workflow in {None, stamp.workflow}
            and stamp.run.startswith((self.run or "").lower())
            and (not self.events or stamp.event in self.events)
        )


@dataclass(slots=True)
class Printer:
    """Prints sightings one by one; a JSON document is printed at the end."""

    form: str
    limit: int | None
    kept: list[dict[str, Any]] = field(default_factory=list)
    printed: int = 0

    def __call__(self, record: Recorded, seen: Sighting) -> bool:
        """Print one; whether more are wanted."""
        match self.form:
            case "json":
                self.kept.append(document(record, seen))
            case "jsonl":
                output.json_line("seen", document(record, seen))
            case "name":
                output.data(seen.stamp.run)
            case _:
                self._row(seen)
        self.printed += 1
        return self.limit is None or self.printed < self.limit

    def _row(self, seen: Sighting) -> None:
        if not self.printed:
            output.line([output.Styled(header, "1") for header in HEADERS], WIDTHS)
        output.line(_row(seen), WIDTHS)

    def finish(self) -> None:
        """The end of the output."""
        if self.form == "json":
            output.data(json_text(output.document("seen-list", {"items": self.kept}), indent=2))


@command("tail", "stamp tail --workflow NEW_TICKET --limit 3", "stamp tail --from start --limit 3 -o jsonl")
@settings.option("broker")
@settings.option("app", help="With --tap: the workflows to tap.")
@click.option("--workflow", metavar="NAME", help="Only this workflow.")
@click.option("--run", metavar="RUN", help="Only runs whose id starts like this.")
@click.option("--event", "events", metavar="NAME", multiple=True, help="Only these events; may be repeated.")
@click.option("--from", "start", metavar="now|start|OFFSET", default="now", show_default=True, help="Where to begin.")
@click.option("--limit", type=click.IntRange(1), help="End after so many messages.")
@click.option("--tap", is_flag=True, help="Use an own queue, deleted at the end, where there is no journal.")
@settings.output_option()
def tail(
    *,
    broker: str,
    app: str | None,
    workflow: str | None,
    run: str | None,
    events: tuple[str, ...],
    start: str,
    limit: int | None,
    tap: bool,
    form: str,
) -> None:
    """Follow messages with their stamps until Ctrl-C. Reads the journal, so no queue is touched; where there is none
    yet, waits for the first service to start.

    The lines of -o jsonl hold whole stamps: `stamp decode` reads them.
    """
    exchanges = [workflow] if workflow else [flow.name for flow in apps.optional(app).newest()]
    if tap and not exchanges:
        raise usage("which exchanges?", fix="--tap needs --workflow NAME or --app MODULE")
    source = (lambda it: _tapped(it, exchanges)) if tap else (lambda it: following(it, start=_offset(start)))
    printer = Printer(form, limit)
    try:
        run_async(_follow(broker, source, Filter(workflow=workflow, run=run, events=events), printer))
    finally:
        printer.finish()


def _offset(start: str) -> int | None:
    if start == "now":
        return None
    if start == "start":
        return 0
    if not start.isdecimal():
        raise usage(f"--from {start!r}", fix="now, start, or the offset of a record")
    return int(start)


async def _follow(
    url: str, source: Callable[[Broker], AsyncIterator[Recorded]], wanted: Filter, printer: Printer
) -> None:
    async with connected(url) as broker:
        try:
            async with aclosing(source(broker)) as records:  # type: ignore[type-var]
                async for record in records:
                    seen = sight(record.message, record.exchange, record.routing_key)
                    if seen is not None and wanted(seen) and not printer(record, seen):
                        return
        except NotFound:
            raise no_journal() from None


async def following(broker: Broker, *, start: int | None, pause: float = PAUSE) -> AsyncIterator[Recorded]:
    """The journal as it grows; where there is none yet, from the beginning of the one that comes."""
    if not await _there(broker):
        output.talk("there is no journal on this broker yet: waiting for a service to declare it")
        start = start or 0
        while not await _there(broker):  # noqa: ASYNC110  a broker has no event for a new stream
            await asyncio.sleep(pause)
    async with aclosing(journal.following(broker, start=start)) as records:  # type: ignore[type-var]
        async for record in records:
            yield record


async def _there(broker: Broker) -> bool:
    try:
        await broker.end(JOURNAL)
    except NotFound:
        return False
    return True


async def _tapped(broker: Broker, exchanges: Sequence[str]) -> AsyncIterator[Recorded]:
    """What passes from now on, through a queue that nobody else uses."""
    name = f"stamp.tap.{os.urandom(6).hex()}"
    bindings = [Binding(name, exchange) for exchange in (*exchanges, HELD)]
    await broker.declare([Queue(name=name, kind="classic", expires_ms=TAP_LIFE_MS), *bindings])
    output.talk(f"tapping {', '.join(exchanges)} through {name}")
    consumer = await broker.consume(name)
    count = 0
    try:
        while batch := await consumer.receive(100):
            await consumer.ack(batch)
            for delivery in batch:
                yield Recorded(
                    offset=count,
                    message=delivery.message,
                    exchange=delivery.exchange,
                    routing_key=delivery.routing_key,
                )
                count += 1
    finally:
        await consumer.close()
        await broker.delete_queue(name)


def document(record: Recorded, seen: Sighting) -> dict[str, Any]:
    """A sighting as plain values; `headers` and `properties` as in a message dump, the stamp whole."""
    return {
        "offset": record.offset,
        "seen": seen.kind,
        "at": seen.at,
        "exchange": record.exchange,
        "routing_key": record.routing_key,
        "message_id": seen.message_id,
        "type": record.message.type,
        "service": seen.service,
        "attempt": seen.attempt,
        "reason": seen.reason,
        "detail": seen.detail,
        "stamp": seen.stamp.to_dict(),
    }


def _row(seen: Sighting) -> tuple[object, ...]:
    stamp = seen.stamp
    phase = {"forward": "running", "backward": "compensating"}.get(stamp.phase, stamp.phase)
    return (
        datetime.fromtimestamp(seen.at, UTC).strftime("%H:%M:%S") if seen.at else "",
        output.status(phase if seen.kind == "progress" else seen.kind),
        stamp.run,
        stamp.workflow,
        stamp.seq,
        stamp.event,
        seen.service,
        f"{seen.reason}: {seen.detail}" if seen.detail else seen.reason,
    )
