"""`stamp broker`: a private RabbitMQ node or cluster for development, without root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from brokers import node
from stamp.cli import output, settings
from stamp.cli.command import command, group
from stamp.cli.problems import NO

FOLDER = Path(".stamp") / "broker"

folder_option = click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    show_default=True,
    help="Where the node keeps its files.",
)


@group("broker", "stamp broker up", "stamp broker down")
def broker() -> None:
    """A private RabbitMQ node for development: on free ports of this machine, its files in one folder."""


@command("up", "stamp broker up", "stamp broker up -o name", group=broker)
@folder_option
@click.option("--nodes", type=click.IntRange(1, 7), default=1, show_default=True, help="More than one makes a cluster.")
@settings.output_option()
def up(*, folder: Path, nodes: int, form: str) -> None:
    """Start a node and print its URL; it keeps running until `stamp broker down`. What runs already is left as it is.

    In a shell: export STAMP_BROKER=$(stamp broker up -o name)
    """
    now = node.status(folder)
    if now.urls and now.running == len(now.urls):
        output.talk(f"RabbitMQ runs already in {folder}")
    else:
        output.talk(f"starting RabbitMQ in {folder} (a few seconds, longer on a cold disk)")
    urls = node.up(folder, size=nodes).split(",")
    _show([_document(url, folder, running=True) for url in urls], form)


@command("status", "stamp broker status", "stamp broker status -o json", group=broker)
@folder_option
@settings.output_option()
def status(*, folder: Path, form: str) -> int:
    """Tell whether the node runs, and where. Exit 1 when it does not."""
    now = node.status(folder)
    healthy = bool(now.urls) and now.running == len(now.urls)
    _show([_document(url, folder, running=healthy) for url in now.urls], form)
    output.talk(f"{now.running} of {len(now.urls)} nodes answer" if now.urls else f"nothing was started in {folder}")
    return 0 if healthy else NO


@command("down", "stamp broker down", "stamp broker down --dir .stamp/broker", group=broker)
@folder_option
def down(*, folder: Path) -> None:
    """End what `stamp broker up` started and delete its files, messages included. Nothing there is no error."""
    output.talk(f"stopped, {folder} is empty" if node.down(folder) else f"nothing was started in {folder}")


def _document(url: str, folder: Path, *, running: bool) -> dict[str, Any]:
    # guest:guest is what AMQP clients assume: without it the URL has no secret and works the same.
    return {"url": url.replace("guest:guest@", ""), "folder": str(folder), "running": running}


def _show(items: list[dict[str, Any]], form: str) -> None:
    output.show(
        form,
        "nodes",
        items,
        name=lambda item: str(item["url"]),
        human=lambda: output.table(
            ("STATUS", "URL"),
            [(output.status("running" if item["running"] else "failed"), item["url"]) for item in items],
        ),
    )
