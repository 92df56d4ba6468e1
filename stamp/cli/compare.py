"""`stamp compare`: a workflow under the four owners of its state, measured side by side."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from stamp.cli import apps, compare_input, compare_places, problems, settings
from stamp.cli.command import command
from stamp.cli.compare_input import Inputs
from stamp.cli.compare_view import show
from stamp.cli.demo import EXAMPLES
from stamp.cli.link import connected, run_async
from stamp.cli.output import document, talk
from stamp.cli.progress import Progress
from stamp.cli.shipped import MEMORY, broker_url, module
from stamp.comparing import machine
from stamp.comparing.comparison import Comparison, Occupied, Plan
from stamp.comparing.comparison import compare as measure
from stamp.comparing.lab import Urls
from stamp.comparing.record import decision_record
from stamp.comparing.variants import Impossible, Variant, variants
from stamp.reading.text import json_text, masked
from stamp.service import Service
from stamp.workflow import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is compared: a workflow of an app, or that of a shipped example."""

    workflow: Workflow
    services: Mapping[str, Service]
    inputs: Inputs
    tables: Mapping[str, str]
    """Each service's own tables; of an example only."""


@command(
    "compare",
    "stamp compare NEW_TICKET --runs 500",
    "stamp compare COMPLETE_ORDER --broker memory --runs 50 --rounds 1 --adr",
)
@click.argument("workflow")
@settings.option("app", help="Where the workflow is. Without one: the shipped NEW_TICKET and COMPLETE_ORDER.")
@click.option("--runs", type=click.IntRange(1), default=500, show_default=True, help="Of each style, over all turns.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often each style has its turn."
)
@click.option(
    "--broker",
    default="rabbitmq",
    show_default=True,
    metavar="memory|rabbitmq|URL",
    help="`rabbitmq` is AMQP_URL if that is set, else a private node for the time of the command.",
)
@click.option(
    "--store",
    default="sqlite",
    show_default=True,
    metavar="sqlite|postgres|memory|URL",
    help="New databases for each style; `postgres` is POSTGRES_URL if that is set, else a private cluster. A URL has "
    "{style} and {service} in it, for databases that are there already, with the tables of your handlers.",
)
@click.option(
    "--input",
    "file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With an app: lines as `stamp start` takes them, used over and over; {n} stands for the number of the run.",
)
@click.option(
    "--adr",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Write the draft of a decision record with the numbers. [default adr-<workflow>-style.md]",
)
@settings.output_option("table", "json")
def compare(
    *,
    workflow: str,
    app: str | None,
    runs: int,
    rounds: int,
    broker: str,
    store: str,
    file: Path | None,
    adr: str | None,
    form: str,
) -> int:
    """Run WORKFLOW with the same handlers under each owner of its state, and show what each costs.

    The styles take turns on one broker; all services run in this process. At the end each style loses its owner for a
    while: what goes on without it is seen, not assumed. A style that the workflow can't have is shown with the reason.
    What was made on the broker and in databases is deleted again, but for exchanges, which hold nothing. The exit
    code is 1 when a run neither ended nor was held.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    subject = _subject(workflow, app, file, store)
    record = _record_file(adr, subject.workflow)
    styles = variants(subject.workflow, subject.services)
    plan = Plan(runs=runs, rounds=min(rounds, runs))
    possible = [one for one in styles if isinstance(one, Variant)]
    with broker_url(broker) as url, compare_places.places(store, possible, subject.tables) as urls:
        found = run_async(_measured(styles, url, plan=plan, urls=urls, inputs=subject.inputs))
    facts = _facts(subject.workflow, plan, broker, store, found)
    if record is not None:
        record.write_text(decision_record(subject.workflow, found, facts), "utf-8")
        talk(f"wrote {record}: the decision is for you to fill in")
    if form == "json":
        click.echo(json_text(document("compare", facts), indent=2))
    else:
        show(found, _title(facts), machine.line(facts["machine"]))
    return problems.OK if found.complete else problems.NO


def _subject(workflow: str, app: str | None, file: Path | None, store: str) -> Subject:
    if app is None:
        return _example(workflow, file, store)
    loaded = apps.load(app)
    flow = loaded.workflow(workflow)
    for step in flow.steps:
        if step.queue is not None:
            raise problems.usage(
                f"the step {step.name!r} is served by another program, from its queue {step.queue!r}",
                fix="compare a workflow whose steps are all services of the app",
            )
        loaded.service(step.service).station(flow.name, step.name)
    inputs = compare_input.of_schemas(flow) if file is None else compare_input.of_file(file, flow)
    return Subject(workflow=flow, services=loaded.services, inputs=inputs, tables={})


def _example(workflow: str, file: Path | None, store: str) -> Subject:
    examples = {found.workflow.name: found for found in map(module("example").load, EXAMPLES)}
    if workflow not in examples:
        raise problems.not_found(
            f"no shipped example has a workflow {workflow!r}", fix=f"one of {', '.join(examples)}, or --app MODULE"
        )
    example = examples[workflow]
    if file is not None:
        raise problems.usage("a shipped example brings its own input", fix="leave --input out, or name your --app")
    if store not in example.stores:
        raise problems.usage(
            f"the example {example.name} is written for {', '.join(sorted(example.stores))}", fix="leave --store out"
        )
    return Subject(
        workflow=example.workflow,
        services=example.services,
        inputs=compare_input.of_example(example),
        tables=example.tables,
    )


def _record_file(adr: str | None, flow: Workflow) -> Path | None:
    """Where the decision record goes: never over one that is there, because people write in it."""
    if adr is None:
        return None
    path = Path(adr or f"adr-{flow.name.lower().replace('_', '-')}-style.md")
    if path.exists():
        raise problems.usage(f"{path} is there already, and somebody may have written in it", fix="--adr OTHER-FILE")
    return path


async def _measured(
    styles: Sequence[Variant | Impossible], url: str, *, plan: Plan, urls: Urls, inputs: Inputs
) -> Comparison:
    progress = Progress(sys.stderr, "runs")
    try:
        async with connected(url) as broker:
            return await measure(styles, broker, plan=plan, urls=urls, inputs=inputs, note=progress)
    except Occupied as error:
        raise problems.Problem(
            f"the broker has queues of the workflow already: {error}",
            code="E064",
            why="its services run there; a comparison would take their messages and they its",
            fix="use another virtual host, or leave --broker out: then a private node is started",
        ) from None
    finally:
        progress.done()


def _facts(flow: Workflow, plan: Plan, broker: str, store: str, found: Comparison) -> dict[str, Any]:
    return {
        "workflow": flow.name,
        "workflow_version": flow.version,
        "runs": plan.burst * plan.rounds,
        "rounds": plan.rounds,
        "runs_one_by_one": plan.alone * plan.rounds,
        "broker": masked(broker).rstrip(":") if broker != MEMORY else "memory",
        "store": masked(store),
        "processes": 1,
        "machine": machine.facts(),
        "styles": found.documents(),
    }


def _title(facts: Mapping[str, Any]) -> str:
    turns = f"{facts['rounds']} turn{'s' * (facts['rounds'] != 1)}"
    return (
        f"{facts['workflow']} v{facts['workflow_version']}: {facts['runs']} runs a style in {turns}, "
        f"broker {facts['broker']}, store {facts['store']}, one process"
    )
