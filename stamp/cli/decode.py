"""`stamp decode`: stamps in any output, for people."""

from __future__ import annotations

import os.path
import sys
from collections.abc import Sequence
from typing import Any

import click

from stamp.cli import output, settings
from stamp.cli.command import command
from stamp.cli.problems import NO, PARTLY, not_found, problem_of
from stamp.errors import StampError
from stamp.model import Stamp
from stamp.reading.describe import Flows, Reading, read
from stamp.reading.inputs import SIZE_LIMIT, Specimen, specimens
from stamp.reading.text import json_text


def input_of(name: str) -> bytes:
    """The bytes of a file, or of stdin for `-`. Raises `Problem` when it can't be read."""
    if name == "-":
        return sys.stdin.buffer.read(SIZE_LIMIT + 1)
    try:
        with open(name, "rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise not_found(f"{name} can't be read: {error.strerror}", fix="give a file, or - for stdin") from None


@command("decode", "stamp decode message.json", "stamp decode - -o json < message.json")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@settings.option("app", help="Knows the steps that remain.")
@settings.option("schemas", help="Checks the state against the frozen schema.")
@settings.output_option()
def decode(*, files: tuple[str, ...], app: str | None, schemas: str, form: str) -> int:
    """Show the stamps in FILEs, or in stdin.

    Reads a bare stamp, a message dump with properties and headers, the output of rabbitmqadmin get (old and v2), an
    array of the management API, lines of `stamp tail -o jsonl`, and base64 of any of these; several at once. A stamp
    of a newer version is shown as far as it can be read.
    """
    flows = _flows(app)
    found = [specimen for name in files or ("-",) for specimen in specimens(input_of(name), name)]
    readings = _readings(found, schemas)
    _show(readings, flows, form)
    for reading in readings:
        for warning in reading.warnings:
            output.talk(f"warning: {reading.where}: {warning}")
    if len(readings) == len(found):
        return 0
    return PARTLY if readings else NO


def _flows(app: str | None) -> Flows:
    if not app:
        return {}
    from stamp.cli import apps  # noqa: PLC0415  what is alone with a file needs no app

    return apps.load(app).workflows


def _readings(found: Sequence[Specimen], schemas: str) -> list[Reading]:
    readings = []
    for specimen in found:
        try:
            reading = read(specimen)
            _check_state(reading, schemas)
        except StampError as error:
            problem = problem_of(error)
            problem.what = f"{specimen.where}: {problem.what}"
            click.echo(str(problem), err=True)
            continue
        readings.append(reading)
    return readings


def _check_state(reading: Reading, schemas: str) -> None:
    """Tell when the state breaks its frozen schema, where there is one; reading goes on."""
    workflow, version = os.path.basename(reading.stamp.workflow), reading.stamp.version
    if not os.path.isfile(os.path.join(schemas, "workflows", workflow, f"{version}.json")):
        return
    from pathlib import Path  # noqa: PLC0415  only where there is a frozen schema

    from stamp.schema.files import frozen  # noqa: PLC0415

    checker = frozen(Path(schemas), workflow, version).state
    if not checker.is_valid(reading.stamp.state):
        output.talk(f"warning: {reading.where}: state: {checker.explain(reading.stamp.state)}")


def _show(readings: Sequence[Reading], flows: Flows, chosen: str) -> None:
    documents = [reading.document(flows) for reading in readings]

    def human() -> None:
        for number, reading in enumerate(readings):
            if number:
                output.data("\n")
            print_reading(reading, flows)

    output.show(chosen, "reading", documents, name=lambda item: str(item["stamp"].get("run", "?")), human=human)


def print_reading(reading: Reading, flows: Flows) -> None:
    """Everything about one stamp, for people."""
    stamp = reading.stamp
    facts: list[tuple[str, Any]] = [
        ("run", stamp.run),
        ("workflow", f"{stamp.workflow} v{stamp.version}"),
        ("status", output.status(reading.status)),
        ("event", stamp.event),
        ("seq", str(stamp.seq)),
        ("started", stamp.values.get("started")),
        ("deadline", stamp.deadline),
        ("branch", stamp.branch),
        ("owner", stamp.owner),
        ("child of", child_of(stamp)),
        ("error", _error(stamp.error)),
        ("message", _message(reading)),
        ("held", _held(reading)),
    ]
    output.table(("", ""), [fact for fact in facts if fact[1]])
    _print_state(stamp.state)
    _print_history(reading)
    _print_ahead(reading, flows)


def _error(error: dict[str, Any] | None) -> str:
    return f"{error.get('type', '')}: {error.get('message', '')}" if error else ""


def child_of(stamp: Stamp) -> str:
    """The run and step that started this one and wait for its end; empty when nobody does."""
    parent = stamp.parent or {}
    return f"{parent.get('run')} ({parent.get('workflow')}, step {parent.get('step')})" if parent else ""


def _message(reading: Reading) -> str:
    about = reading.properties
    parts = [f"{name} {about[name]}" for name in ("type", "message_id", "exchange", "routing_key") if about.get(name)]
    return ", ".join(parts)


def _held(reading: Reading) -> str:
    headers = reading.properties.get("headers", {})
    reason, detail = headers.get("stamp_held_reason"), headers.get("stamp_held_detail", "")
    return f"{reason}: {detail}" if reason else ""


def _print_state(state: dict[str, Any]) -> None:
    output.heading("STATE" if state else "STATE  (empty)")
    if state:
        output.table(("", ""), [(name, json_text(value)) for name, value in state.items()], indent=2)


def _print_history(reading: Reading) -> None:
    folded = f"  ({reading.stamp.folded} earlier hops are folded)" if reading.stamp.folded else ""
    output.heading(f"HISTORY{folded}" if reading.history or folded else "HISTORY  (no hop has finished)")
    if reading.history:
        output.table(
            ("SEQ", "STEP", "SERVICE", "OUTCOME", "AT", "WORK", "ATTEMPT", "EMITS", "BY HAND"),
            [
                (
                    entry.seq,
                    entry.step,
                    entry.service,
                    output.status(entry.outcome),
                    entry.at,
                    f"{entry.ms or 0} ms",
                    entry.attempt,
                    entry.emits,
                    f"{entry.by}: {entry.why or ''}" if entry.by else "",
                )
                for entry in reading.history
            ],
            indent=2,
        )


def _print_ahead(reading: Reading, flows: Flows) -> None:
    ahead = reading.remaining(flows)
    if ahead is None:
        output.heading("REMAINING  unknown (give --app MODULE)")
    else:
        output.heading(f"REMAINING  {' → '.join(ahead) or 'nothing'}")
    if not reading.to_undo:
        output.heading("WOULD UNDO  nothing")
        return
    output.heading("WOULD UNDO")
    output.table(("", ""), [(entry.step, json_text(entry.keep or {})) for entry in reading.to_undo], indent=2)
