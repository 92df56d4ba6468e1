"""`stamp workflows`: the tables of an app."""

from __future__ import annotations

from typing import Any

import click

from stamp.cli import apps, output, settings
from stamp.cli.command import command, epilog
from stamp.cli.problems import NO
from stamp.duration import text
from stamp.layout import work_queue
from stamp.workflow import Step, Workflow


class _ShowByDefault(click.Group):
    """`stamp workflows NEW_TICKET` is `stamp workflows show NEW_TICKET`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = next((word for word in args if not word.startswith("-")), None)
        asks_help = bool(args) and args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if first in self.commands or asks_help else ["show", *args])


@click.group(
    "workflows",
    cls=_ShowByDefault,
    epilog=epilog("stamp workflows --app app", "stamp workflows check --app app"),
    context_settings={"help_option_names": ["-h", "--help"]},
)
def workflows() -> None:
    """The tables of the workflows of an app: `show` (without a word too) and `check`."""


@command("show", "stamp workflows show --app app", "stamp workflows show NEW_TICKET --app app -o json", group=workflows)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@settings.option("app")
@settings.output_option()
def show(*, names: tuple[str, ...], app: str | None, form: str) -> None:
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


@command("check", "stamp workflows check --app app", "stamp workflows check --app app --strict", group=workflows)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@settings.option("app")
@click.option("--strict", is_flag=True, help="Exit 1 for warnings too.")
@settings.output_option()
def check(*, names: tuple[str, ...], app: str | None, strict: bool, form: str) -> int:
    """Tell what the linter finds: undo, pivot, joins, loops, time, the claimed saga pattern.

    An error ends the loading of the app with its code, exit 1. `stamp explain L001` explains a code.
    """
    loaded = apps.required(app)
    found = [loaded.workflow(name) for name in names] or list(loaded.workflows.values())
    findings = [(flow, finding) for flow in found for finding in flow.findings]
    items = [
        {"code": one.code, "workflow": flow.label, "severity": one.severity, "what": one.what, "fix": one.fix}
        for flow, one in findings
    ]

    def human() -> None:
        for item in items:
            output.data(f"{item['severity']}[{item['code']}]: {item['what']}\n  fix: {item['fix']}\n")
        output.talk(f"{len(found)} workflows, {len(items)} warnings")

    output.show(form, "findings", items, name=lambda item: str(item["code"]), human=human)
    return NO if items and strict else 0


def document(workflow: Workflow) -> dict[str, Any]:
    """A table as plain values."""
    return {
        "id": f"{workflow.name}@{workflow.version}",
        "name": workflow.name,
        "version": workflow.version,
        "start": workflow.start.__name__,
        "deadline_s": workflow.deadline,
        "saga": workflow.saga,
        "pattern": workflow.kind.code,
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
        **({"runs": step.runs.label} if step.runs is not None else {}),
        "emits": list(step.outputs),
        "undo": step.undo,
        "pivot": step.pivot,
        "retry": str(step.retry),
        "max_visits": step.max_visits,
        "queue": work_queue(workflow.name, step),
    }


def _print(workflow: Workflow) -> None:
    deadline = f", deadline {text(workflow.deadline)}" if workflow.deadline else ""
    kind = f"saga, {workflow.kind.title}, " if workflow.saga else f"{workflow.kind.title}, "
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
    for step in workflow.steps:
        if step.runs is not None:
            output.data(f"  {step.name} runs {step.runs.label} and waits for its end\n")
