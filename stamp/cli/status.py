"""`stamp status`: where one run stands, from the journal or from the services themselves."""

from __future__ import annotations

import time
from typing import Any

import click

from brokers.contract import Broker
from stamp.cli import apps, output, settings
from stamp.cli.command import command
from stamp.cli.link import connected, of_run, records, run_async, sightings
from stamp.cli.listing import document
from stamp.cli.problems import NO, NOT_FOUND, OK, Problem, not_found, usage
from stamp.inquiry import Picture, ask
from stamp.ledger import Record
from stamp.model import is_uuid, timestamp
from stamp.notes import Jotting
from stamp.reading.describe import Flows, flow_of
from stamp.reading.text import ago, json_text
from stamp.style import Stamped
from stamp.workflow import Workflow


@command("status", "stamp status 0190", "stamp status 0190 --ask --app app --timeout 5s")
@click.argument("run")
@settings.option("broker")
@settings.option("app", help="Knows the steps that remain, and whom to ask.")
@click.option("--ask", "asking", is_flag=True, help="Ask the services: the run's owner, or else all that take part.")
@click.option("--workflow", metavar="NAME", help="With --ask: the run's workflow, where the journal does not tell.")
@click.option("--timeout", metavar="TIME", default="2s", show_default=True, help="With --ask: how long to wait.")
@settings.output_option("table", "json", "name")
def status(
    *, run: str, broker: str, app: str | None, asking: bool, workflow: str | None, timeout: str, form: str
) -> int:
    """Tell where one RUN (any unique beginning of its id) stands, and what is ahead.

    The journal tells it without disturbing anybody. --ask goes to the services: a front controller or an orchestrator
    answers from its ledger; in a stateless workflow every participant says what it did, and those who did not answer
    in time are named. Exit 1 when somebody did not answer.
    """
    if not asking:
        return _from_journal(run, broker, app, form)
    loaded = apps.required(app)
    flow = None if workflow is None else loaded.workflow(workflow)
    picture = run_async(_asked(run, broker, loaded.workflows, flow, settings.length("--timeout", timeout)))
    if isinstance(picture.workflow.style, Stamped):
        output.talk(f"{picture.workflow.label} owns its state itself: nobody needs to be asked, the journal tells")
        return _from_journal(picture.run, broker, app, form)
    if picture.status is None and not picture.silent:
        raise not_found(f"nobody who was asked has heard of run {picture.run}", fix="stamp list shows the known runs")
    output.show(form, "status", [_document(picture)], name=lambda item: str(item["run"]), human=lambda: _print(picture))
    return _outcome(picture)


def _from_journal(run: str, broker: str, app: str | None, form: str) -> int:
    flows = apps.optional(app).workflows
    row = run_async(_recorded(run, broker))
    now = time.time()
    output.show(
        form,
        "status",
        [document(row, flows, now)],
        name=lambda item: str(item["run"]),
        human=lambda: _tell(row, flows, now),
    )
    return OK


async def _recorded(run: str, url: str) -> Record:
    async with connected(url) as broker:
        seen = of_run(await sightings(broker), run)
        return records(seen)[seen[0].stamp.run]


async def _asked(run: str, url: str, flows: Flows, flow: Workflow | None, timeout: float) -> Picture:
    async with connected(url) as broker:
        if flow is None or not is_uuid(run):
            run, flow = await _named(broker, run, flows, flow)
        wanted = () if isinstance(flow.style, Stamped) else None
        return await ask(broker, flow, run, timeout=timeout, wanted=wanted)


async def _named(broker: Broker, run: str, flows: Flows, flow: Workflow | None) -> tuple[str, Workflow]:
    """The whole id and the workflow, by the journal. Raises `Problem` that says how to do without."""
    try:
        seen = of_run(await sightings(broker), run)
    except Problem as problem:
        raise usage(
            f"the journal does not tell which run {run!r} is: {problem}",
            fix="give the whole id, and --workflow NAME",
        ) from None
    found = flow or flow_of(seen[0].stamp, flows)
    if found is None:
        raise not_found(f"the app does not know {seen[0].stamp.workflow}", fix="--app with the module that defines it")
    return seen[0].stamp.run, found


def _outcome(picture: Picture) -> int:
    if picture.silent:
        return NO
    return OK if picture.status is not None else NOT_FOUND


def _document(picture: Picture) -> dict[str, Any]:
    standing = picture.standing
    return {
        "run": picture.run,
        "workflow": picture.workflow.name,
        "status": picture.status,
        "remaining": list(picture.remaining),
        "answered": sorted(picture.answers),
        "silent": list(picture.silent),
        "ledger": None if standing is None else {name: getattr(standing, name) for name in standing.__struct_fields__},
        "steps": [_step(one) for one in picture.steps],
        "says": {name: answer.says for name, answer in picture.answers.items() if answer.says is not None},
        "errors": {name: answer.error for name, answer in picture.answers.items() if answer.error},
    }


def _step(one: Jotting) -> dict[str, Any]:
    entry = one.read()
    said = {name: getattr(entry, name) for name in ("seq", "step", "service", "outcome", "at")}
    return {**said, "undone": one.undone}


def _tell(row: Record, flows: Flows, now: float) -> None:
    found = document(row, flows, now)
    remaining = found["remaining"]
    output.table(
        ("", ""),
        [
            ("run", row.run),
            ("workflow", f"{row.workflow} v{row.stamp.version}"),
            ("status", output.status(row.status(now))),
            ("event", row.stamp.event),
            ("done", _words(entry.step for entry in row.done)),
            ("remaining", "unknown (give --app MODULE)" if remaining is None else _words(remaining)),
            ("would undo", _words(row.to_undo)),
            ("last seen", f"{ago(now - row.latest.at)} ago"),
        ],
    )


def _print(picture: Picture) -> None:
    rows = [
        ("run", picture.run),
        ("workflow", picture.workflow.label),
        ("status", output.status(picture.status or "unknown")),
        ("remaining", _words(picture.remaining)),
        ("answered", _words(sorted(picture.answers))),
        ("silent", _words(picture.silent)),
    ]
    standing = picture.standing
    if standing is not None:
        rows += [
            ("done", _words(standing.done)),
            ("would undo", _words(standing.to_undo)),
            ("tries", str(standing.attempts)),
            ("last heard", timestamp(standing.updated)),
            ("why", standing.held or standing.error),
        ]
    output.table(("", ""), rows)
    if picture.steps:
        output.table(("SEQ", "STEP", "SERVICE", "OUTCOME", "AT"), [_row(one) for one in picture.steps])
    for name, answer in sorted(picture.answers.items()):
        if answer.says is not None or answer.error:
            click.echo(f"{name} says: {json_text(answer.says) if answer.says is not None else answer.error}")


def _row(one: Jotting) -> tuple[object, ...]:
    entry = one.read()
    outcome = "undone" if one.undone else entry.outcome
    return entry.seq, entry.step, entry.service, output.status(outcome), one.undone or entry.at


def _words(names: Any) -> str:
    return " → ".join(names) or "nothing"
