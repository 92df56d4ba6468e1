"""`stamp validate`: the verdict on stamps, frozen schemas and apps, for CI."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from stamp.cli import apps, output, settings
from stamp.cli.command import command
from stamp.cli.decode import input_of
from stamp.cli.problems import NO, OK, Problem, not_found
from stamp.errors import StampError
from stamp.evolution.subset import subset_problems
from stamp.reading.describe import read
from stamp.reading.inputs import specimens
from stamp.reading.lock import LOCK
from stamp.schema.contract import Contract
from stamp.schema.files import frozen

_KINDS = (".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one thing that was looked at."""

    where: str
    kind: str
    valid: bool
    why: str = ""


@command("validate", "stamp validate message.json schemas/workflows", "stamp validate app -o jsonl")
@click.argument("paths", nargs=-1, required=True)
@settings.option("schemas", help="Checks the state of stamps against frozen schemas.")
@settings.output_option()
def validate(*, paths: tuple[str, ...], schemas: str, form: str) -> int:
    """Check PATHS: files with stamps, frozen schemas, folders of both, or an app (a module or a .py file).

    Strict: unlike decode, a stamp of a newer version is not valid here. Exit 1 when anything is invalid.
    """
    verdicts = [verdict for path in paths for verdict in _judged(path, Path(schemas))]
    output.show(
        form,
        "verdicts",
        [asdict(verdict) for verdict in verdicts],
        name=lambda item: str(item["where"]),
        human=lambda: output.table(
            ("VERDICT", "KIND", "WHERE", "WHY"),
            [(output.status(_word(verdict)), verdict.kind, verdict.where, verdict.why) for verdict in verdicts],
        ),
    )
    wrong = sum(not verdict.valid for verdict in verdicts)
    output.talk(f"{len(verdicts) - wrong} valid, {wrong} invalid")
    return NO if wrong or not verdicts else OK


def _word(verdict: Verdict) -> str:
    return "valid" if verdict.valid else "invalid"


def _judged(path: str, schemas: Path) -> Iterator[Verdict]:
    place = Path(path)
    if place.is_dir() and not (place / "__init__.py").is_file():
        files = sorted(file for file in place.rglob("*") if file.suffix in _KINDS and file.name != LOCK)
        for file in files:
            yield from _file(str(file), schemas)
    elif path == "-" or (place.is_file() and place.suffix != ".py"):
        yield from _file(path, schemas)
    elif "/" in path and not place.exists():
        raise not_found(f"there is no file {path}", fix="give files, folders or a module")
    else:
        yield _app(path)


def _app(target: str) -> Verdict:
    try:
        app = apps.load(target)
        for service in app.services.values():
            service.stations()
    except StampError as error:
        return Verdict(target, "app", valid=False, why=str(error))
    except Problem as error:
        if error.code == "E061" and "there is no" in error.what:
            raise
        return Verdict(target, "app", valid=False, why=error.what)
    return Verdict(target, "app", valid=True, why=f"{len(app.workflows)} workflows, {len(app.services)} services")


def _file(name: str, schemas: Path) -> Iterator[Verdict]:
    data = input_of(name)
    document = _document(data)
    if document is not None and str(document.get("$id", "")).startswith("urn:stamp:workflow:"):
        yield _schema(name, document)
        return
    if document is not None and "$schema" in document:
        yield Verdict(name, "schema", valid=True, why="another schema, not judged")
        return
    for specimen in specimens(data, name):
        try:
            reading = read(specimen)
            problem = "; ".join(reading.warnings) or _state_problem(schemas, reading.stamp.values)
        except StampError as error:
            problem = str(error)
        yield Verdict(specimen.where, "stamp", valid=not problem, why=problem)


def _state_problem(schemas: Path, values: Mapping[str, object]) -> str:
    workflow, version = Path(str(values["workflow"])).name, values["version"]
    if not (schemas / "workflows" / workflow / f"{version}.json").is_file() or not isinstance(version, int):
        return ""
    checker = frozen(schemas, workflow, version).state
    return "" if checker.is_valid(values["state"]) else f"state: {checker.explain(values['state'])}"


def _document(data: bytes) -> Mapping[str, object] | None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _schema(name: str, document: Mapping[str, object]) -> Verdict:
    try:
        Contract.load(document)
    except StampError as error:
        return Verdict(name, "schema", valid=False, why=str(error))
    problems = subset_problems(document)
    return Verdict(name, "schema", valid=not problems, why="; ".join(problems[:3]))
