"""`stamp demo`: the ticket example, on the embedded broker or on RabbitMQ, from files to an account that adds up."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from stamp.cli import problems
from stamp.cli.command import command
from stamp.cli.output import document, heading, status, table, talk
from stamp.cli.progress import Progress
from stamp.cli.settings import output_option
from stamp.reading.text import json_text
from stamp.resources import examples

INPUT = ("tickets.jsonl", "bad.jsonl")
MEMORY = "memory:"


@command("demo", "stamp demo", "stamp demo --broker rabbitmq --keep demo-data")
@click.option(
    "--broker",
    default="memory",
    show_default=True,
    metavar="memory|rabbitmq|URL",
    help="`rabbitmq` is AMQP_URL if that is set, else a private node for the time of the demo.",
)
@click.option(
    "--tickets",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines to read instead of the shipped ones; may be repeated.",
)
@click.option(
    "--keep", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Keep the four databases here."
)
@click.option(
    "--processes/--together",
    default=None,
    help="Each service as its own process (the default on RabbitMQ), or all in this one.",
)
@click.option("--replace", is_flag=True, help="Delete the demo's queues first if the broker has them already.")
@output_option("table", "json")
def demo(
    *, broker: str, files: tuple[Path, ...], keep: Path | None, processes: bool | None, replace: bool, form: str
) -> None:
    """Run support tickets through four services and account for every one of them.

    Each service has a database of its own; the state of a run travels in its messages. The exit code is 0 when
    every run that was started is completed, undone or held, and 1 when one is missing or still under way.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with _broker(broker) as url, _folder(keep) as folder:
        apart = url != MEMORY if processes is None else processes
        if apart and url.startswith(MEMORY):
            raise problems.usage("processes can't share the embedded broker", fix="add --broker rabbitmq")
        played = asyncio.run(_play(list(files) or _shipped(), url, folder, apart=apart, replace=replace))
    _show(played, form)
    sys.exit(problems.OK if played.summary.accounted else problems.NO)


def _shipped() -> list[Path]:
    return [examples() / "tickets" / name for name in INPUT]


def _example(module: str) -> Any:
    """A module of the shipped example, which is imported like a user's own code."""
    home = str(examples())
    if home not in sys.path:
        sys.path.insert(0, home)
    return import_module(f"tickets.{module}")


@contextmanager
def _broker(broker: str) -> Iterator[str]:
    """The broker's URL; a private node lives as long as the block."""
    if broker == "memory":
        yield MEMORY
    elif broker != "rabbitmq":
        yield broker
    elif url := os.environ.get("AMQP_URL"):
        yield url
    else:
        from brokers.node import Node  # noqa: PLC0415  most demos need no node

        talk("starting a private RabbitMQ node")
        with Node() as node:
            click.echo(f"look at it from another terminal: stamp tail --broker {node.url}", err=True)
            yield node.url


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="stamp-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _play(files: list[Path], url: str, folder: Path, *, apart: bool, replace: bool) -> Any:
    from brokers.registry import broker_for  # noqa: PLC0415  loads the adapter

    play = _example("play")
    progress = Progress(sys.stderr, "lines")
    listener = play.Listener(
        rejected=lambda wrong: progress.say(f"rejected {wrong}"), progress=progress, note=progress.say
    )
    broker = broker_for(url)
    await broker.open()
    try:
        async with play.stage(broker, replace=replace):
            return await play.play(files, broker=broker, folder=folder, listener=listener, url=url if apart else None)
    except play.OccupiedError as error:
        raise _occupied(error) from None
    finally:
        progress.done()
        await broker.close()


def _occupied(error: Exception) -> problems.Problem:
    return problems.Problem(
        f"the broker has queues of the demo already: {error}",
        code="E064",
        why="another demo runs there, or one was ended by force; two would take each other's messages",
        fix="use another virtual host, or --replace to delete these queues and what is in them",
    )


def _show(played: Any, chosen: str) -> None:
    if chosen == "json":
        click.echo(json_text(document("demo", played.summary.document()), indent=2))
        return
    for record in played.samples:
        _trace(record)
    _account(played.summary)


def _trace(record: Any) -> None:
    heading(f"{record.run}  {record.workflow} {record.stamp.state['ticket_id']}: {record.stamp.phase}")
    rows = [
        (entry.seq, entry.step, entry.service, status(entry.outcome), f"{entry.ms} ms" if entry.ms else "< 1 ms")
        for entry in record.done
    ]
    table(("", "step", "service", "outcome", "took"), rows, indent=2)
    if record.stamp.error:
        click.echo(f"  why: {record.stamp.error['message']}")
    click.echo()


def _account(summary: Any) -> None:
    heading("account")
    rows = [
        ("lines read", summary.lines, ""),
        ("rejected", summary.rejected, "see above" if summary.rejected else ""),
        ("duplicates absorbed", summary.duplicates, ""),
        ("started", summary.started, ""),
        ("completed", summary.completed, ""),
        *_with_reasons("compensated", summary.compensated, summary.undone),
        *_with_reasons("held", summary.held, summary.parked),
        ("in flight", summary.in_flight, ""),
        ("missing", summary.missing, ""),
        ("seconds", f"{summary.seconds:.1f}", ""),
        ("hops/s", round(summary.hops / summary.seconds), f"{summary.hops} hops"),
    ]
    table(("", "", ""), rows, indent=2)
    verdict = "accounted for" if summary.accounted else "NOT accounted for"
    ends = f"{summary.completed} completed + {summary.compensated} compensated + {summary.held} held"
    click.echo(f"{verdict}: {summary.started} started = {ends}, {summary.missing} missing")


def _with_reasons(word: str, count: int, reasons: Any) -> list[tuple[str, object, str]]:
    first, *rest = [f"{reason} ({times})" for reason, times in sorted(reasons.items())] or [""]
    return [(word, count, first), *(("", "", reason) for reason in rest)]
