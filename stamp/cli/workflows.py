"""`stamp workflows`: the tables of an app."""

from __future__ import annotations

from typing import Any

import click

from stamp.cli import apps, output, settings
from stamp.cli.command import command
from stamp.duration import text
from stamp.layout import work_queue
from stamp.workflow import Step, Workflow


@command("workflows", "stamp workflows --app app", "stamp workflows NEW_TICKET --app app -o json")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@settings.option("app")
@settings.output_option()
def workflows(*, names: tuple[str, ...], app: str | None, form: str) -> None:
    """Show the tables of the workflows of an app: steps, services, events, undo, pivot, retry.

    NAME is a workflow, or NAME@VERSION; without one all versions of all are shown.
    """
    loaded = apps.required(app)
    found = [loaded.workflow(name) for name in names] or list(loaded.workflows.values())

    def human() -> None:
        for number, workflow in enumerate(found):
            if number:
                output.data("\n")
            _print(workflow)

    output.show(form, "workflows", [document(flow) for flow in found], name=lambda item: str(item["id"]), human=human)


def document(workflow: Workflow) -> dict[str, Any]:
    """A table as plain values."""
    return {
        "id": f"{workflow.name}@{workflow.version}",
        "name": workflow.name,
        "version": workflow.version,
        "start": workflow.start.__name__,
        "deadline_s": workflow.deadline,
        "saga": workflow.saga,
        "signed": workflow.signed,
        "services": list(workflow.services),
        "steps": [_step(workflow, step) for step in workflow.steps],
    }


def _step(workflow: Workflow, step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "service": step.service,
        "on": step.event,
        **({"all": list(step.events), "missing": step.missing} if step.joins else {}),
        **({"each": True} if step.each else {}),
        **({"timeout_s": step.timeout} if step.timeout is not None else {}),
        "emits": list(step.outputs),
        "undo": step.undo,
        "pivot": step.pivot,
        "retry": str(step.retry),
        "max_visits": step.max_visits,
        "queue": work_queue(workflow.name, step),
    }


def _print(workflow: Workflow) -> None:
    deadline = f", deadline {text(workflow.deadline)}" if workflow.deadline else ""
    kind = "saga, " if workflow.saga else ""
    output.heading(f"{workflow.label}  ({kind}starts with {workflow.start.__name__}{deadline})")
    output.table(
        ("STEP", "SERVICE", "ON", "EMITS", "UNDO", "PIVOT", "RETRY", "QUEUE"),
        [
            (
                step.name,
                step.service,
                step.consumes,
                " or ".join(step.outputs) or "-",
                "yes" if step.undo else "-",
                "yes" if step.pivot else "-",
                step.retry,
                work_queue(workflow.name, step),
            )
            for step in workflow.steps
        ],
        indent=2,
    )
