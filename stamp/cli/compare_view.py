"""What `stamp compare` shows: two tables with a row for each style, and how they were taken."""

from __future__ import annotations

import click

from stamp.cli.output import heading, table
from stamp.comparing.comparison import Comparison
from stamp.comparing.figures import Figures, quantile
from stamp.comparing.variants import Impossible
from stamp.reading.text import safe
from stamp.style import Stamped

HOPS = (
    "STYLE",
    "RUNS/S",
    "P50 MS",
    "P95 MS",
    "MSGS/RUN",
    "DELIV/RUN",
    "STAMP B/HOP",
    "BYTES/HOP",
    "ROWS/RUN",
    "TX/RUN",
    "ENDS",
)
OWNERS = ("STYLE", "OWNER", "STATUS MS", "A STATUS TAKES", "WHEN IT IS DOWN", "TRIED")
NOTES = (
    "runs/s, msgs, bytes, rows: all runs of a turn started at once. p50, p95: runs one by one, from commit to end.",
    "msgs: published and confirmed. deliv: delivered to services; the journal gets a copy of each message besides.",
    "rows: inserted or changed by the toolkit; each outbox row is deleted once more. tx: commits of the services.",
    "all services ran in this process: compare the rows, and measure your own deployment for absolute numbers.",
)


def show(found: Comparison, title: str, where: str) -> None:
    """Print the comparison for people."""
    heading(title)
    click.echo(safe(where))
    table(HOPS, [_hops(one) for one in found.styles])
    click.echo()
    table(OWNERS, [_owner(one) for one in found.measured])
    click.echo()
    for line in NOTES:
        click.echo(line)
    for one in found.measured:
        if one.missing:
            click.echo(f"{one.name}: {one.missing} runs did not end")


def _hops(one: Figures | Impossible) -> tuple[object, ...]:
    if isinstance(one, Impossible):
        return (one.name, *["-"] * (len(HOPS) - 2), f"not possible: {safe(one.why)}")
    document = one.document()
    rate, size = document["runs_per_s"], document["bytes_per_hop"]
    return (
        one.name,
        f"{rate['median']:.0f}"
        if len(one.turns) == 1
        else f"{rate['median']:.0f} ({rate['min']:.0f}..{rate['max']:.0f})",
        f"{quantile(one.latencies, 0.5):.1f}",
        f"{quantile(one.latencies, 0.95):.1f}",
        f"{one.a_run('published'):.1f}",
        f"{one.a_run('delivered'):.1f}",
        size["stamp"],
        size["message"],
        f"{one.rows:.1f}",
        f"{one.a_run('commits'):.1f}",
        ", ".join(f"{number} {word}" for word, number in one.ends.most_common()),
    )


def _owner(one: Figures) -> tuple[object, ...]:
    return (
        one.name,
        one.owner or "nobody",
        f"{one.asked('ms'):.1f}",
        takes(one),
        one.verdict,
        f"{one.outage.stopped} stopped: {one.outage.tried}",
    )


def takes(one: Figures) -> str:
    """What an answer takes, in words."""
    messages, rows = round(one.asked("messages")), round(one.asked("rows"))
    if one.name == Stamped.name:
        return f"{messages} messages of the journal read"
    return f"{messages} messages, {rows} row{'s' * (rows != 1)} read"
