"""`stamp schemas`: freeze the contracts of an app, and hold the code against what was frozen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from stamp.cli import apps, output, settings
from stamp.cli.command import command, group
from stamp.cli.problems import NO, OK, bad_app
from stamp.errors import DefinitionError, SchemaMissing, UnknownWorkflow
from stamp.evolution.compare import compare
from stamp.reading.lock import locked, relock
from stamp.schema.files import comparing, drift, freeze, frozen, versions
from stamp.workflow import Workflow

SHOWN = 5

dir_option = click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="STAMP_SCHEMAS",
    default=lambda: settings.configured(settings.SETTINGS["schemas"]),
    help="The folder of frozen schemas. [STAMP_SCHEMAS; default schemas]",
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was held against another."""

    check: str
    what: str
    ok: bool
    why: str = ""


@group("schemas", "stamp schemas freeze app", "stamp schemas check app")
def schemas() -> None:
    """Frozen schemas: the contract of each version of a workflow, written once from the types in the code."""


@command("freeze", "stamp schemas freeze app", "stamp schemas freeze app:NEW_TICKET --dir schemas", group=schemas)
@click.argument("target", metavar="MODULE[:WORKFLOW]")
@dir_option
@click.option("--force", is_flag=True, help="Write over a frozen version: only while no run of it exists.")
def freeze_command(*, target: str, folder: Path, force: bool) -> None:
    """Write schemas/workflows/NAME/VERSION.json for the workflows of MODULE; a version that was frozen must agree.

    The files and the lock beside them belong in version control.
    """
    for workflow in _workflows(target):
        path = freeze(workflow.derived, folder, overwrite=force)
        output.data(str(path))
    output.talk(f"{relock(folder)} files in the lock")


@command("check", "stamp schemas check app", "stamp schemas check app -o json", group=schemas)
@click.argument("target", metavar="[MODULE[:WORKFLOW]]", required=False)
@settings.option("app", help="The app, when no MODULE is given.")
@dir_option
@settings.output_option()
def check_command(*, target: str | None, app: str | None, folder: Path, form: str) -> int:
    """Hold code against frozen schemas (drift), frozen versions against each other, and files against the lock.

    Every pair of versions is compared; those that are incompatible need an upcast between them. Exit 1 when anything
    fails.
    """
    named = target or app
    known = _workflows(named) if named else []
    checks = [*_drifts(known, folder), *_pairs(known, folder), *_lock(folder)]
    output.show(
        form,
        "schema-checks",
        [asdict(check) for check in checks],
        name=lambda item: str(item["what"]),
        human=lambda: output.table(
            ("CHECK", "WHAT", "VERDICT", "WHY"),
            [(check.check, check.what, output.status("ok" if check.ok else "failed"), check.why) for check in checks],
        ),
    )
    failed = sum(not check.ok for check in checks)
    output.talk(f"{len(checks) - failed} ok, {failed} failed" if checks else f"nothing is frozen in {folder}")
    return NO if failed or not checks else OK


def _workflows(target: str) -> list[Workflow]:
    """The workflows of a module, or one of them by its name in the table or in the code."""
    module, _, name = target.partition(":")
    with comparing():
        found = [flow for (known, _), flow in apps.load(module).workflows.items() if name in {"", known}]
        found = found or list(apps.load(target).workflows.values())
    if not found:
        raise bad_app(f"{target} has no workflow", fix="define one at the top level of the module")
    return found


def _drifts(known: list[Workflow], folder: Path) -> Iterator[Check]:
    for workflow in known:
        try:
            differences = drift(workflow.derived, frozen(folder, workflow.name, workflow.version))
        except SchemaMissing:
            differences = ["not frozen yet: stamp schemas freeze"]
        yield Check("drift", workflow.label, not differences, "; ".join(differences[:SHOWN]))


def _pairs(known: list[Workflow], folder: Path) -> Iterator[Check]:
    """Every pair of versions on disk: a name that comes back with another meaning is found over a gap too."""
    by_version = {(workflow.name, workflow.version): workflow for workflow in known}
    root = folder / "workflows"
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for name in names:
        numbers = versions(folder, name)
        for old in numbers:
            for new in (number for number in numbers if number > old):
                yield _pair(folder, name, old, new, by_version.get((name, new)))


def _pair(folder: Path, name: str, old: int, new: int, workflow: Workflow | None) -> Check:
    what = f"{name} v{old} -> v{new}"
    try:
        changes = compare(frozen(folder, name, old).document, frozen(folder, name, new).document)
    except DefinitionError as error:
        return Check("compatible", what, ok=False, why=error.what)
    breaking = [str(change) for change in changes if change.breaking]
    if not breaking:
        return Check("compatible", what, ok=True, why=f"{len(changes)} compatible changes" if changes else "")
    if workflow is not None and _lifts(workflow, old):
        return Check("compatible", what, ok=True, why=f"upcast over {len(breaking)} breaking changes")
    return Check("compatible", what, ok=False, why="; ".join(breaking[:SHOWN]))


def _lifts(workflow: Workflow, old: int) -> bool:
    """Whether upcasts lead all the way from the old version."""
    try:
        return workflow.upcasters.goal(old, {workflow.version}) == workflow.version
    except UnknownWorkflow:
        return False


def _lock(folder: Path) -> Iterator[Check]:
    for name, problem in locked(folder).items():
        yield Check("lock", name, not problem, problem)
