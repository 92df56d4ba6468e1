"""`stamp list`: runs by status, from the journal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import click

from stamp.cli import apps, output, settings
from stamp.cli.command import command
from stamp.cli.link import connected, records, run_async, survey, unreadable_talk
from stamp.ledger import Record, Status
from stamp.model import epoch
from stamp.reading.describe import Flows, flow_of
from stamp.reading.text import ago

STATUSES: tuple[str, ...] = get_args(Status)


@command("list", "stamp list", "stamp list --status held --since 1h -o name")
@settings.option("broker")
@settings.option("app", help="Knows the steps that remain.")
@click.option("--status", "wanted", type=click.Choice(STATUSES), multiple=True, help="Only these; may be repeated.")
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option("--since", metavar="TIME", help="Only runs that started in the last 30s, 5m, 48h, 7d.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the newest.")
@settings.output_option()
def list_runs(
    *,
    broker: str,
    app: str | None,
    wanted: tuple[str, ...],
    workflow: str | None,
    since: str | None,
    limit: int | None,
    form: str,
) -> None:
    """List the runs that the journal knows, oldest first, with their status, and count them.

    A status is derived: running, retrying, overdue, compensating, completed, compensated, failed, held.
    """
    flows = apps.optional(app).workflows
    now = time.time()
    oldest = now - settings.length("--since", since) if since else 0.0
    found, lost = run_async(_records(broker))
    rows = [
        record
        for record in found
        if (not wanted or record.status(now) in wanted)
        and workflow in {None, record.workflow}
        and epoch(record.stamp.started) >= oldest
    ]
    rows.sort(key=lambda record: record.stamp.started)
    counts: Counter[str] = Counter(record.status(now) for record in rows)
    shown = rows[-limit:] if limit else rows
    _show(shown, flows, now, {"counts": dict(counts), "unreadable": lost}, form)
    unreadable_talk(lost)


async def _records(url: str) -> tuple[list[Record], int]:
    async with connected(url) as broker:
        seen, lost = await survey(broker)
        return list(records(seen).values()), lost


def document(record: Record, flows: Flows, now: float) -> dict[str, Any]:
    """A row as plain values."""
    stamp = record.stamp
    flow = flow_of(stamp, flows)
    return {
        "run": record.run,
        "status": record.status(now),
        "workflow": stamp.workflow,
        "workflow_version": stamp.version,
        "event": stamp.event,
        "branches": [
            {"branch": head.branch, "event": head.stamp.event, "phase": head.stamp.phase, "seq": head.stamp.seq}
            for head in record.current
            if head.branch
        ],
        "seq": stamp.seq,
        "started": stamp.started,
        "deadline": stamp.deadline,
        "last_seen": record.latest.at,
        "attempt": record.latest.attempt,
        "reason": record.held.reason if record.held else "",
        "detail": record.held.detail if record.held else "",
        "remaining": list(record.remaining(flow)) if flow or stamp.phase != "forward" else None,
        "undo": list(record.to_undo),
        "error": stamp.error,
        "equivocal": record.equivocal,
    }


def _show(rows: Sequence[Record], flows: Flows, now: float, sums: Mapping[str, Any], form: str) -> None:
    items = [document(record, flows, now) for record in rows]
    output.show(
        form,
        "runs",
        items,
        name=lambda item: str(item["run"]),
        more=sums,
        human=lambda: output.table(
            ("RUN", "STATUS", "WORKFLOW", "EVENT", "SEQ", "AGE", "WHY"),
            [
                (
                    record.run,
                    output.status(record.status(now)),
                    f"{record.workflow} v{record.stamp.version}",
                    record.stamp.event,
                    record.stamp.seq,
                    ago(now - epoch(record.stamp.started)),
                    _why(record),
                )
                for record in rows
            ],
        ),
    )
    counts: Mapping[str, int] = sums["counts"]
    total = sum(counts.values())
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts.get(status)]
    output.talk(f"{total} runs: {', '.join(parts)}" if total else "no runs")


def _why(record: Record) -> str:
    if record.held:
        return f"{record.held.reason}: {record.held.detail}"
    error = record.stamp.error
    return f"{error.get('type', '')}: {error.get('message', '')}" if error else ""
