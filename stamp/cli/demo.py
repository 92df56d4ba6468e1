"""`stamp demo`: an example on a broker and on databases of your choice, from files to an account that adds up."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import click

from stamp.cli import problems
from stamp.cli.command import command
from stamp.cli.link import quieten_client
from stamp.cli.output import document, heading, status, table, talk
from stamp.cli.progress import Progress
from stamp.cli.settings import output_option
from stamp.cli.shipped import MEMORY, broker_url, module
from stamp.reading.text import json_text, safe
from stamp.style import Stamped, Style

EXAMPLES = ("tickets", "orders")
STYLES = (*(style.name for style in get_args(Style)), "mixed")
STYLE = "STAMP_EXAMPLE_STYLE"
"""Read by the examples when they define their workflow, here and in every process of theirs."""
SHOWN = 10


@command("demo", "stamp demo", "stamp demo --example orders --keep demo-data")
@click.option(
    "--example",
    type=click.Choice(EXAMPLES),
    default=EXAMPLES[0],
    show_default=True,
    help="Support tickets through four services, or orders through five, with payment and stock side by side.",
)
@click.option(
    "--style",
    type=click.Choice(STYLES),
    envvar=STYLE,
    default=Stamped.name,
    help="Who owns the state of a run: the stamp in its messages, the service that takes the input in, a service that "
    "does nothing else, or nobody. The handlers are the same. `mixed` (of the orders) is two styles: a desk owns the "
    f"order and runs a workflow whose messages own themselves. [{STYLE}; default {Stamped.name}]",
)
@click.option(
    "--broker",
    default="memory",
    show_default=True,
    metavar="memory|rabbitmq|URL",
    help="`rabbitmq` is AMQP_URL if that is set, else a private node for the time of the demo.",
)
@click.option(
    "--store",
    default="sqlite",
    show_default=True,
    metavar="sqlite|postgres|URL",
    help="`postgres` is POSTGRES_URL if that is set, else a private cluster for the time of the demo. On a server that "
    "is named, each service gets a database that stays.",
)
@click.option(
    "--input",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines to read instead of the shipped ones; may be repeated.",
)
@click.option(
    "--keep", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Keep the SQLite databases here."
)
@click.option(
    "--processes/--together",
    default=None,
    help="Each service as its own process (the default on RabbitMQ), or all in this one.",
)
@click.option(
    "--replace", is_flag=True, help="Delete the demo's queues first if the broker has them already, and its databases."
)
@output_option("table", "json")
def demo(
    *,
    example: str,
    style: str,
    broker: str,
    store: str,
    files: tuple[Path, ...],
    keep: Path | None,
    processes: bool | None,
    replace: bool,
    form: str,
) -> None:
    """Run an example and account for everything that came in.

    Each service has a database of its own; --style says who owns the state of a run. The exit code is 0 when every
    run that was started is completed, undone or held and the databases agree with that, and 1 when one is missing or
    still under way, or the books don't balance.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    os.environ[STYLE] = style
    shown = module("example").load(example)
    if _kind(store) not in shown.stores:
        raise problems.usage(f"the example {example} is written for {', '.join(shown.stores)}", fix="leave --store out")
    with broker_url(broker) as url, _databases(store, keep, shown) as databases:
        apart = url != MEMORY if processes is None else processes
        if apart and url.startswith(MEMORY):
            raise problems.usage("processes can't share the embedded broker", fix="add --broker rabbitmq")
        played = asyncio.run(_play(shown, list(files), url, databases, apart=apart, replace=replace))
    _show(played, form)
    sys.exit(problems.OK if played.summary.accounted and played.summary.balanced else problems.NO)


def _kind(store: str) -> str:
    return "postgres" if store.startswith("postgres") else "sqlite"


@contextmanager
def _databases(store: str, keep: Path | None, example: Any) -> Iterator[Any]:
    """Where the services keep their rows; a private cluster and a temporary folder live as long as the block."""
    databases = module("databases")
    if _kind(store) == "sqlite":
        with _folder(keep) as folder:
            yield databases.SQLiteFiles(folder)
    elif url := store if "://" in store else os.environ.get("POSTGRES_URL"):
        yield databases.PostgresServer(url, example.name)
    else:
        from stamp.testing.postgres import PostgresCluster  # noqa: PLC0415  most demos need no cluster

        talk("starting a private PostgreSQL cluster")
        with PostgresCluster() as cluster:
            yield databases.PostgresServer(cluster.url, example.name)


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


async def _play(example: Any, files: list[Path], url: str, databases: Any, *, apart: bool, replace: bool) -> Any:
    from brokers.registry import broker_for  # noqa: PLC0415  loads the adapter

    play = module("play")
    progress = Progress(sys.stderr, "lines")
    listener = play.Listener(
        rejected=lambda wrong: progress.say(f"rejected {wrong}"), progress=progress, note=progress.say
    )
    quieten_client()
    broker = broker_for(url)
    await broker.open()
    try:
        async with play.stage(example, broker, replace=replace):
            if replace:
                await databases.clear(example.ddl)
            return await play.play(
                example,
                files or example.files,
                broker=broker,
                databases=databases,
                listener=listener,
                url=url if apart else None,
            )
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
    for key, record in played.samples:
        _trace(record, key)
    _answers(played.answers)
    _account(played.summary)
    _books(played.summary)
    _verdict(played.summary)


def _trace(record: Any, key: str) -> None:
    heading(f"{record.run}  {record.workflow} {key}: {record.stamp.phase}")
    rows = [
        (entry.seq, entry.step, entry.service, status(entry.outcome), f"{entry.ms} ms" if entry.ms else "< 1 ms")
        for entry in record.done
    ]
    table(("", "step", "service", "outcome", "took"), rows, indent=2)
    if record.stamp.error:
        click.echo(f"  why: {record.stamp.error['message']}")
    click.echo()


def _answers(pictures: Any) -> None:
    """What the services said of those runs when they were asked over the broker."""
    for picture in pictures:
        heading(f"asked for {picture.run}")
        table(
            ("", ""),
            [
                ("answered", ", ".join(sorted(picture.answers)) or "nobody"),
                ("status", status(picture.status or "unknown")),
                ("done", " → ".join(entry.step for entry in _done(picture)) or "nothing"),
            ],
            indent=2,
        )
        click.echo()


def _done(picture: Any) -> Any:
    """The hops of the ledger of who owns the run, else the steps that still stand by what the participants say."""
    return picture.standing.history if picture.standing is not None else picture.done


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


def _books(summary: Any) -> None:
    """What was asked of the databases, and what follows from the answers."""
    if not summary.books:
        return
    click.echo()
    heading("books")
    for asked, claims in groupby(summary.books, key=lambda claim: claim.asked):
        click.echo(f"  {safe(asked)}")
        for claim in claims:
            table(("", ""), [(status("ok" if claim.holds else "failed"), claim.text)], indent=4)
            if not claim.holds:
                click.echo(f"      against it: {json_text(claim.against[:SHOWN])}")


def _verdict(summary: Any) -> None:
    verdict = "accounted for" if summary.accounted else "NOT accounted for"
    ends = f"{summary.completed} completed + {summary.compensated} compensated + {summary.held} held"
    click.echo(f"{verdict}: {summary.started} started = {ends}, {summary.missing} missing")
    if summary.books:
        right = sum(claim.holds for claim in summary.books)
        words = "the books are balanced" if summary.balanced else "the books are NOT balanced"
        click.echo(f"{words}: {right} of {len(summary.books)} claims hold")


def _with_reasons(word: str, count: int, reasons: Any) -> list[tuple[str, object, str]]:
    first, *rest = [f"{reason} ({times})" for reason, times in sorted(reasons.items())] or [""]
    return [(word, count, first), *(("", "", reason) for reason in rest)]
