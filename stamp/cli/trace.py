"""`stamp trace`: one run in time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from stamp.cli import apps, output, settings
from stamp.cli.command import command
from stamp.cli.decode import child_of
from stamp.cli.link import connected, of_run, records, run_async, sightings
from stamp.cli.listing import document
from stamp.ledger import Record
from stamp.reading import sequence
from stamp.reading.changes import ABSENT, Change
from stamp.reading.describe import Flows, flow_of
from stamp.reading.text import ago, json_text
from stamp.reading.timeline import Moment, Timeline, timeline
from stamp.sighting import Sighting


@command("trace", "stamp trace 0190", "stamp trace 0190 -o mermaid")
@click.argument("run")
@settings.option("broker")
@settings.option("app", help="Knows the steps that remain.")
@settings.output_option("table", "json", "jsonl", "name", "mermaid", "svg")
def trace(*, run: str, broker: str, app: str | None, form: str) -> None:
    """Show one RUN (any unique beginning of its id) from the journal: each hop with waiting and working apart, what it
    changed in the state, retries and detours; then the steps that remain and what would be undone.
    """
    flows = apps.optional(app).workflows
    everything = run_async(_sightings(broker))
    seen = of_run(everything, run)
    row = records(seen)[seen[0].stamp.run]
    children = records([one for one in everything if (one.stamp.parent or {}).get("run") == row.run])
    line = timeline(seen)
    if form == "mermaid":
        output.data(sequence.mermaid(line))
    elif form == "svg":
        output.data(sequence.svg(line, f"{row.workflow} v{row.stamp.version} · {row.run}"))
    else:
        _show(row, line, flows, form, list(children.values()))


async def _sightings(url: str) -> list[Sighting]:
    async with connected(url) as broker:
        return await sightings(broker)


def _show(row: Record, line: Timeline, flows: Flows, form: str, children: Sequence[Record]) -> None:
    now = time.time()
    about = {
        "run": document(row, flows, now),
        **({"children": [one.run for one in children]} if children else {}),
        "elapsed_ms": round(line.took * 1000),
        "work_ms": round(line.work * 1000),
        "wait_ms": round(line.wait * 1000),
    }
    output.show(
        form,
        "trace",
        [moment.document() for moment in line.moments],
        name=lambda item: str(item.get("step", item["what"])),
        more=about,
        human=lambda: _print(row, line, flows, now, children),
    )


def _print(row: Record, line: Timeline, flows: Flows, now: float, children: Sequence[Record]) -> None:
    output.table(
        ("", ""),
        [
            ("run", row.run),
            ("workflow", f"{row.workflow} v{row.stamp.version}"),
            ("status", output.status(row.status(now))),
            *_relatives(row, children),
            ("took", f"{ago(line.took)}: {ago(line.work)} of work, {ago(line.wait)} of waiting"),
        ],
    )
    output.table(
        ("SEQ", "AT", "WHAT", "STEP", "SERVICE", "WAIT", "WORK", "TRY", "CHANGED"),
        [_row(moment) for moment in line.moments],
    )
    flow = flow_of(row.stamp, flows)
    known = flow is not None or row.stamp.phase != "forward"
    ahead = " → ".join(row.remaining(flow)) or "nothing" if known else "unknown (give --app MODULE)"
    output.heading(f"REMAINING  {ahead}")
    undo = " → ".join(row.to_undo) or "nothing"
    output.heading(f"ENDED  {row.status(now)}" if row.ended else f"WOULD UNDO  {undo}")


def _relatives(row: Record, children: Sequence[Record]) -> list[tuple[str, str]]:
    """Whose child the run is, and the runs that its own steps started."""
    parent = child_of(row.stamp)
    runs = [("runs", f"{one.run} ({one.workflow}, step {(one.stamp.parent or {}).get('step')})") for one in children]
    return [*([("child of", parent)] if parent else []), *runs]


def _row(moment: Moment) -> tuple[object, ...]:
    return (
        moment.seq,
        _clock(moment.at),
        output.status(moment.what),
        moment.step,
        moment.service,
        "" if moment.wait is None else ago(moment.wait),
        "" if moment.work is None else ago(moment.work),
        moment.attempt if moment.attempt > 1 else "",
        _changed(moment),
    )


def _clock(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def _changed(moment: Moment) -> str:
    if moment.detail:
        return "; ".join(filter(None, (moment.detail, _changes(moment.changes or ()))))
    if moment.changes is None:
        return "(not seen)" if moment.what in {"started", "ok", "undone"} else ""
    return _changes(moment.changes)


def _changes(changes: Sequence[Change]) -> str:
    return ", ".join(_one(change) for change in changes)


def _one(change: Change) -> str:
    if change.before is ABSENT:
        return f"+{change.path}={json_text(change.after)}"
    if change.after is ABSENT:
        return f"-{change.path}"
    return f"{change.path}: {json_text(change.before)} → {json_text(change.after)}"
