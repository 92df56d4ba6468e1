"""The draft of a decision record: context, options with their numbers, consequences; the decision is left open."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stamp.comparing import machine
from stamp.comparing.comparison import Comparison
from stamp.comparing.figures import Figures
from stamp.comparing.variants import Impossible
from stamp.workflow import Workflow

CONSEQUENCES: Mapping[str, str] = {
    "stamp": (
        "Nobody has to be asked and nobody has to be up: every service can send a run on, or turn it back, from the "
        "message alone. The history travels in every message and grows with each hop. Where a run stands is read from "
        "the journal, which somebody must keep long enough."
    ),
    "front-controller": (
        "`{owner}` knows where every run stands, in its own database and in the transaction of its own rows. Messages "
        "stay small however long the history is. Every hop costs a report more. While `{owner}` is down steps go on; "
        "status and undo wait for it, and it catches up from its queue."
    ),
    "stateless": (
        "The smallest messages: nothing but identity travels, and nobody keeps a ledger. Handlers can't use state, no "
        "step may run twice in a run, and where a run stands is a question to every participant: one that is down "
        "leaves a gap in the answer."
    ),
    "orchestrator": (
        "One service, `{owner}`, sends every next step: order, status and undo are in one place. Every hop goes "
        "through it, which costs messages and time, and every run waits while it is down: its capacity and its "
        "database are those of the workflow."
    ),
}
"""What follows from choosing each style; `{owner}` is its owner."""

HEADERS = (
    "style",
    "runs/s",
    "p50 ms",
    "p95 ms",
    "messages/run",
    "deliveries/run",
    "stamp B/hop",
    "bytes/hop",
    "rows/run",
    "commits/run",
    "status ms",
    "owner down",
)
BEGIN = "```json stamp-compare"
"""Before the numbers as JSON: what a later comparison can be held against."""


def decision_record(workflow: Workflow, found: Comparison, facts: Mapping[str, Any]) -> str:
    """Markdown, to be completed by whoever decides."""
    parts = [
        f"# Who owns the state of {workflow.name}\n\n- status: **open**\n- date: {facts['machine']['date']}",
        _context(workflow, facts),
        "## Options\n\n" + markdown(found),
        *(_option(one) for one in found.styles),
        "## Decision\n\n_Fill in: which style, and which of the points above decided it._",
        "## When to look again\n\n_Fill in: what would have to change, such as the rate or the length of the table._",
        f"## Numbers\n\n{BEGIN}\n{json.dumps(facts, indent=2, ensure_ascii=False)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _context(workflow: Workflow, facts: Mapping[str, Any]) -> str:
    steps = ", ".join(f"`{step.name}` ({step.service})" for step in workflow.steps)
    versions = ", ".join(f"{name} {number}" for name, number in facts["machine"]["versions"].items())
    return (
        f"## Context\n\n{workflow.label} has {len(workflow.steps)} steps at {len(workflow.services)} services:\n"
        f"{steps}.\n"
        f"{'It can be undone.' if workflow.saga else 'Nothing in it can be undone.'} The same handlers ran "
        f"under each style: {facts['runs']} runs in {facts['rounds']} turns, all started at once, and "
        f"{facts['runs_one_by_one']} one by one, all services in one process, broker `{facts['broker']}`, "
        f"store `{facts['store']}`.\n\nMeasured {machine.line(facts['machine'])}; {versions}."
    )


def markdown(found: Comparison) -> str:
    """The table in Markdown, a row for each style."""
    rows = [HEADERS, ("---",) * len(HEADERS), *(_row(one) for one in found.styles)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(one: Figures | Impossible) -> tuple[str, ...]:
    if isinstance(one, Impossible):
        return (one.name, f"not possible: {one.why.replace('|', '/')}", *[""] * (len(HEADERS) - 2))
    known = one.document()
    return (
        one.name,
        f"{known['runs_per_s']['median']:.0f}",
        f"{known['latency_ms']['p50']:.1f}",
        f"{known['latency_ms']['p95']:.1f}",
        f"{one.a_run('published'):.1f}",
        f"{one.a_run('delivered'):.1f}",
        str(known["bytes_per_hop"]["stamp"]),
        str(known["bytes_per_hop"]["message"]),
        f"{one.rows:.1f}",
        f"{one.a_run('commits'):.1f}",
        f"{known['status']['ms']:.1f}",
        one.verdict,
    )


def _option(one: Figures | Impossible) -> str:
    if isinstance(one, Impossible):
        return f"### {one.name}\n\nNot possible for this workflow: {one.why}."
    seen = one.outage
    text = CONSEQUENCES[one.name].format(owner=one.owner)
    tried = (
        f"Tried on {seen.runs} runs behind their first step, with `{seen.stopped}` stopped: {seen.tried}. "
        f"When it was back the other {seen.ended_later} ended."
    )
    return f"### {one.name}\n\n{text}\n\n{tried}"
