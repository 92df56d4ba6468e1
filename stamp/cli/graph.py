"""`stamp graph`: a workflow as a drawing."""

from __future__ import annotations

import click

from stamp.cli import apps, output, settings
from stamp.cli.command import command
from stamp.cli.problems import usage
from stamp.reading import graph as drawing

DRAWINGS = {"mermaid": drawing.mermaid, "dot": drawing.dot, "svg": drawing.svg}


@command("graph", "stamp graph NEW_TICKET --app app", "stamp graph --app app -o svg > workflow.svg")
@click.argument("name", required=False)
@settings.option("app")
@settings.output_option(*DRAWINGS, default="mermaid", envvar=None)
def graph(*, name: str | None, app: str | None, form: str) -> None:
    """Draw the workflow NAME (or NAME@VERSION) of an app; NAME may be left out when there is only one."""
    loaded = apps.required(app)
    found = [loaded.workflow(name)] if name else loaded.newest()
    if len(found) != 1:
        raise usage("which workflow?", fix=f"one of: {', '.join(flow.name for flow in found) or 'none'}")
    output.data(DRAWINGS[form](found[0]))
