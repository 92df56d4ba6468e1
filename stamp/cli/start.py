"""`stamp start`: runs from JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import click
import msgspec

from stamp import journal
from stamp.cli import apps, output, settings
from stamp.cli.apps import App
from stamp.cli.command import command
from stamp.cli.decode import input_of
from stamp.cli.link import connected, run_async
from stamp.cli.problems import NO, OK, PARTLY
from stamp.errors import OutputInvalid
from stamp.model import is_uuid
from stamp.nesting import depth_exceeds
from stamp.service import Service
from stamp.starting import LocalTransaction
from stamp.workflow import Workflow

CHUNK = 100
"""Runs that are started in one transaction."""
NESTING = 32
STARTER = "stamp-cli"
"""The service in whose name runs are started when no other is named."""
_MEMBERS = {"event", "state", "run"}


@dataclass(frozen=True, slots=True)
class Order:
    """One run to start."""

    where: str
    event: Any
    state: Any
    run: str | None


@command(
    "start",
    "stamp start NEW_TICKET --app app < ticket.json",
    "stamp start NEW_TICKET --app app --dry-run < tickets.jsonl",
)
@click.argument("workflow")
@click.argument("file", default="-")
@settings.option("broker")
@settings.option("store")
@settings.option("app")
@settings.option("service", help="Start in the name of this service of the app; with --store through its outbox.")
@click.option("--no-journal", is_flag=True, help="As services that run without one.")
@click.option("--dry-run", is_flag=True, help="Only check the input.")
@settings.output_option(default="name", envvar=None)
def start(
    *,
    workflow: str,
    file: str,
    broker: str,
    store: str | None,
    app: str | None,
    service: str | None,
    no_journal: bool,
    dry_run: bool,
    form: str,
) -> int:
    """Start runs of WORKFLOW (NAME or NAME@VERSION) from FILE or stdin, and print their ids.

    The input is one JSON object or one a line: {"event": {...}, "state": {...}, "run": "<UUIDv7>"}. `state` and `run`
    may be left out; the same run id again does no harm. Bad lines are told with their number, the others start:
    then the exit code is 3.
    """
    loaded = apps.required(app)
    flow = loaded.workflow(workflow)
    orders, bad = _read(input_of(file), "stdin" if file == "-" else file, flow)
    started = (
        []
        if dry_run
        else run_async(_start(loaded, flow, orders, url=broker, store=store, name=service, tapped=not no_journal))
    )
    output.show(
        form,
        "started",
        [{"run": run, "workflow": flow.name, "workflow_version": flow.version} for run in started],
        name=lambda item: str(item["run"]),
        human=lambda: output.table(("RUN",), [(run,) for run in started]),
    )
    output.talk(f"{len(orders)} {'would start' if dry_run else 'started'}, {bad} refused")
    return OK if not bad else PARTLY if orders else NO


def _read(data: bytes, name: str, flow: Workflow) -> tuple[list[Order], int]:
    """The orders, and how many lines were refused; each refusal is told on stderr."""
    orders: list[Order] = []
    bad = 0
    for where, text in texts(data, name):
        try:
            orders.append(order(text, where, flow))
        except (OutputInvalid, msgspec.ValidationError) as error:
            bad += 1
            what = error.what if isinstance(error, OutputInvalid) else str(error)
            output.talk(f"error[{OutputInvalid.code}]: {where}: {what}")
        except (ValueError, RecursionError) as error:
            bad += 1
            output.talk(f"error[E064]: {where}: {error}")
    if not orders and not bad:
        output.talk(f"error[E064]: {name} is empty")
        bad = 1
    return orders, bad


def texts(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """One text for each order: the whole input when it is one document, else its lines."""
    text = data.removeprefix(b"\xef\xbb\xbf").strip()
    if b"\n" not in text or _is_one(text):
        yield from ([(name, text)] if text else [])
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield f"{name}:{number}", line.strip()


def _is_one(text: bytes) -> bool:
    if depth_exceeds(text, NESTING):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def order(text: bytes, where: str, flow: Workflow) -> Order:
    """One checked order. Raises `ValueError` or `OutputInvalid`."""
    if depth_exceeds(text, NESTING):
        raise ValueError(f"nested more than {NESTING} levels deep")
    document = _decoded(text)
    if not isinstance(document, dict) or "event" not in document or set(document) - _MEMBERS:
        raise ValueError('not an object with "event", and perhaps "state" and "run"')
    run = document.get("run")
    if run is not None and not (isinstance(run, str) and is_uuid(run) and run[14] == "7"):
        raise ValueError(f"run {run!r} is not a UUIDv7")
    checker = flow.contract.event(flow.start.__name__)
    if not checker.is_valid(document["event"]):
        raise OutputInvalid(f"{flow.start.__name__}: {checker.explain(document['event'])}")
    return Order(where, msgspec.convert(document["event"], flow.start), _state(document.get("state", {}), flow), run)


def _decoded(text: bytes) -> Any:
    """The JSON value. Raises `ValueError`, which names half a surrogate pair for what it is."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(_surrogate(text) or f"not JSON: {error}") from None


def _surrogate(text: bytes) -> str:
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return r"a text holds a lone surrogate (\ud800 to \udfff), which no UTF-8 can carry"
    except (ValueError, RecursionError):
        return ""
    return ""


def _state(state: Any, flow: Workflow) -> Any:
    """The state with the defaults of its type."""
    value = state if flow.state_type in {None, dict} else msgspec.convert(state, flow.state_type)
    plain: Mapping[str, Any] = msgspec.to_builtins(value)
    if not flow.contract.state.is_valid(plain):
        raise OutputInvalid(f"state: {flow.contract.state.explain(plain)}")
    return plain


async def _start(
    app: App, flow: Workflow, orders: Sequence[Order], *, url: str, store: str | None, name: str | None, tapped: bool
) -> list[str]:
    service = app.service(name) if name else Service(STARTER)
    started: list[str] = []
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(connected(url))
        await broker.declare([part for one in app.services.values() for part in one.topology()])
        if tapped:
            await broker.declare(journal.parts([flow.name, *journal.COMMON]))
        opened = store.replace("{service}", service.name) if store and name else None
        await stack.enter_async_context(service.open(broker=broker, store=opened, consume=False, journal=tapped))
        for first in range(0, len(orders), CHUNK):
            async with service.transaction() as tx:
                started += await _chunk(tx, flow, orders[first : first + CHUNK])
    return started


async def _chunk(tx: LocalTransaction, flow: Workflow, orders: Sequence[Order]) -> list[str]:
    return [await tx.start(flow, order.event, state=order.state, run_id=order.run) for order in orders]
