"""`stamp held amend`, `undo`, `skip` and `drop`: what a person decides about runs that can't go on by themselves."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec

from brokers.contract import Publication
from stamp import held as parked
from stamp import parking, repair
from stamp.cli import output, settings
from stamp.cli.command import command
from stamp.cli.held_change import RELEASE, Operation, Request, Scene, change, changing, perform, placed, report
from stamp.cli.held_pick import step_of, versions_of
from stamp.cli.held_view import Item
from stamp.cli.problems import usage
from stamp.codec import SIGNATURE, Codec
from stamp.errors import RepairRefused, Theirs, UnknownWorkflow
from stamp.placing import inside
from stamp.reading.text import json_text
from stamp.repair import Case, Operator
from stamp.schema import Contract, frozen
from stamp.workflow import Workflow

Change = Callable[[Mapping[str, Any]], dict[str, Any]]
"""From a state to the state as it should be."""


@command(
    "amend",
    "stamp held amend 0190 --app app --set expert='\"Ada\"' --reason 'she took over' --dry-run",
    "stamp held amend --app app --code state-invalid --set priority=2 --reason 'was never set' --yes --release",
)
@changing
@settings.option("schemas")
@click.option("--set", "settings_", metavar="PATH=JSON", multiple=True, help="Set a member of the state.")
@click.option("--unset", "unset", metavar="PATH", multiple=True, help="Remove a member of the state.")
@click.option("--state", "file", metavar="FILE", help="The whole state as JSON; - is stdin.")
@click.option("--release", is_flag=True, help="And send it on its way.")
def amend(
    request: Request,
    *,
    schemas: str,
    settings_: tuple[str, ...],
    unset: tuple[str, ...],
    file: str | None,
    release: bool,
) -> int:
    """Change the workflow state in held messages; they stay held until they are released.

    The new state is checked against the schema of the run's version, from the app or the frozen one. Without --set,
    --unset or --state the state of one message opens in $EDITOR. The message gets a new id, and the history an entry
    that says who, why and when.
    """
    edit = _change_of(settings_, unset, file)
    _explained(request)
    folder = Path(schemas)
    operation = Operation("amended", lambda item, scene: _amended(request, item, scene, edit, folder))
    fates = perform(request, operation)
    code = report(request, operation, fates)
    new = [one.message.message_id for fate in fates for one in fate.publications]
    new += [fate.item.message_id for fate in fates if fate.stays]
    if not (release and new) or request.dry_run:
        return code
    plain = Request(**{**_plain(request), "ids": tuple(new)})
    released = perform(plain, RELEASE)
    gone = [fate for fate in released if not fate.refusal]
    output.talk(f"{len(gone)} released")
    return code if len(gone) == len(new) else max(code, 1)


def _plain(request: Request) -> dict[str, Any]:
    """The same request without filters: the ids say what is meant."""
    bare = replace(request, workflow=None, step=None, code=None, error=None, limit=None, yes=True)
    return {name: getattr(bare, name) for name in Request.__dataclass_fields__}


@command(
    "undo",
    "stamp held undo --app app --code failed --step assign --reason 'the customer withdrew' --dry-run",
    "stamp held undo --app app --code undo-failed --reason 'the bank is back' --yes",
)
@changing
@click.option("--partly", is_flag=True, help="The step was partly done: its own undo runs too.")
def undo(request: Request, *, partly: bool) -> int:
    """Turn runs around by hand: as if the step had failed for good, what was done before is undone in reverse order.

    For a held undo it means: try that undo again. There is no way back after a pivot.
    """
    _explained(request)

    def plan(item: Item, scene: Scene) -> Sequence[Publication]:
        case, flow = _case(request, item, scene)
        if case.action == "undo" and not partly:
            return [parked.onward(item.held, placed(item, scene))]
        return repair.turned(case, flow, _operator(request, item, scene), partly=partly)

    return change(request, Operation("turned around", plan, noted=True))


@command(
    "skip",
    "stamp held skip 0190 --app app --payload '{\"ticket_id\": \"T-1\"}' --reason 'told by phone' --dry-run",
    "stamp held skip --app app --code undo-failed --step assign --reason 'freed by hand' --yes",
)
@changing
@click.option("--event", metavar="NAME", help="The event that follows, where the step has a choice.")
@click.option("--payload", metavar="JSON", help="Its payload.")
def skip(request: Request, *, event: str | None, payload: str | None) -> int:
    """Declare a step done by hand: the run goes on with the event that the step would have emitted.

    For a held undo: declare it undone by hand; the run goes on with the next undo, or ends. What was done by hand is
    not undone later. Amend the state first if the step would have changed it.
    """
    _explained(request)
    value = None if payload is None else _json(payload, "--payload")

    def plan(item: Item, scene: Scene) -> Sequence[Publication]:
        case, flow = _case(request, item, scene)
        return repair.skipped(case, flow, _operator(request, item, scene), event=event, payload=value)

    return change(request, Operation("skipped", plan))


@command(
    "drop",
    "stamp held drop 0190 --app app --reason 'a test order' --dry-run",
    "stamp held drop 0190 --app app --reason 'a test order' --yes",
)
@changing
def drop(request: Request) -> int:
    """Give runs up: each ends as `failed`, with a notice that says who and why. Nothing is undone.

    The held message stays readable in the journal; without one it would be gone, so --no-journal must be said.
    """
    _explained(request)
    operation = Operation("dropped", lambda item, scene: _dropped(request, item, scene), needs_journal=True)
    return change(request, operation)


def _explained(request: Request) -> None:
    if not request.reason.strip():
        raise usage("why?", fix="--reason TEXT: it is kept in the history")


def _operator(request: Request, item: Item, scene: Scene) -> Operator:
    known = scene.app.services.get(item.service)
    codec = known.codec if known else Codec()
    return Operator(by=request.by, why=request.reason, service=item.service, now=time.time(), codec=codec)


def _opened(item: Item, scene: Scene) -> Case:
    stamp = repair.opened(item.original)
    step = step_of(item, scene.app)
    if not step:
        raise RepairRefused("it is not known which step it waits for", fix="--app MODULE may know")
    return Case(item.original, stamp, step)


def _case(request: Request, item: Item, scene: Scene) -> tuple[Case, Workflow]:
    """A message with the definition that it is pinned to, trusted. Raises `StampError` for what can't be repaired."""
    case = _opened(item, scene)
    versions = versions_of(scene.app, case.stamp.workflow)
    if not versions:
        raise UnknownWorkflow(f"{case.stamp.workflow} is not known here", fix="--app MODULE")
    stamp, flow = repair.pinned(case.stamp, versions, case.step)
    repair.check_trust(case, _operator(request, item, scene).codec, signed=flow.signed)
    return replace(case, stamp=stamp), flow


def _amended(request: Request, item: Item, scene: Scene, edit: Change, schemas: Path) -> Sequence[Publication]:
    case, operator = _opened(item, scene), _operator(request, item, scene)
    flow = scene.app.workflows.get((case.stamp.workflow, case.stamp.version))
    signed = _signed(case, flow)
    repair.check_trust(case, operator.codec, signed=signed)
    contract = _contract(case, flow, schemas)
    if flow is not None:
        case = replace(case, stamp=inside(flow, case.stamp, flow.step(case.step)))
    state = edit(case.stamp.state)
    if state == case.stamp.state:
        return []
    message = repair.amended(case, contract, state, operator, signed=signed)
    return [parked.again(item.held, message, service=item.service)]


def _signed(case: Case, flow: Workflow | None) -> bool:
    if flow is None and SIGNATURE in case.message.headers:
        raise RepairRefused("the message is signed", fix="--app MODULE, whose services have the keys")
    return flow is not None and flow.signed


def _contract(case: Case, flow: Workflow | None, schemas: Path) -> Contract:
    stamp = case.stamp
    return frozen(schemas, stamp.workflow, stamp.version) if flow is None else flow.contract


def _dropped(request: Request, item: Item, scene: Scene) -> Sequence[Publication]:
    """The run's end; for what carries no readable stamp a notice is all that there is to say."""
    try:
        case = _opened(item, scene)
    except Theirs:
        why = f"dropped by {request.by}: {request.reason}"
        return [parking.released(item.held.message, service=item.service, now=time.time(), note=why)]
    flows = versions_of(scene.app, case.stamp.workflow)
    if not flows and not item.step:
        raise RepairRefused("its workflow is not known here", fix="--app MODULE")
    operator = _operator(request, item, scene)
    signed = any(flow.signed for flow in flows.values())
    repair.check_trust(case, operator.codec, signed=signed)
    return [repair.dropped(case, case.stamp.workflow, operator, signed=signed)]


def _change_of(assignments: Sequence[str], removals: Sequence[str], file: str | None) -> Change:
    if file is not None:
        if assignments or removals:
            raise usage("--state is the whole state", fix="leave out --set and --unset")
        with click.open_file(file) as stream:
            whole = _object(stream.read(), file)
        return lambda _: whole
    if not assignments and not removals:
        return _edited
    pairs = [_assignment(text) for text in assignments]

    def change_state(state: Mapping[str, Any]) -> dict[str, Any]:
        after: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(state))
        for path, value in pairs:
            _put(after, path, value)
        for path in removals:
            _remove(after, path)
        return after

    return change_state


def _assignment(text: str) -> tuple[str, Any]:
    path, equals, value = text.partition("=")
    if not (path and equals):
        raise usage(f"--set {text}", fix="--set PATH=JSON, such as --set expert='\"Ada\"'")
    return path, _json(value, f"--set {path}")


def _json(text: str, where: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise usage(f"{where}: {text!r} is not JSON: {error}", fix="texts need quotes: '\"Ada\"'") from None


def _object(text: str, where: str) -> dict[str, Any]:
    value = _json(text, where)
    if not isinstance(value, dict):
        raise usage(f"{where}: the state is a JSON object", fix='{"member": ...}')
    return value


def _edited(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state after somebody had it in an editor."""
    if not (sys.stdin.isatty() or os.environ.get("EDITOR") or os.environ.get("VISUAL")):
        raise usage("what shall the state be?", fix="--set PATH=JSON, --state FILE, or an $EDITOR")
    text = click.edit(json_text(state, indent=2), extension=".json")
    return dict(state) if text is None else _object(text, "the editor's text")


def _put(state: dict[str, Any], path: str, value: Any) -> None:
    node, last = _walked(state, path)
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value


def _remove(state: dict[str, Any], path: str) -> None:
    node, last = _walked(state, path)
    if isinstance(node, list):
        del node[int(last)]
    else:
        node.pop(last, None)


def _walked(state: dict[str, Any], path: str) -> tuple[Any, str]:
    """The object or array that holds the last member of a dotted path. Raises `RepairRefused`."""
    *outer, last = path.split(".")
    node: Any = state
    for name in outer:
        node = _member(node, name, path)
    if isinstance(node, list):
        _member(node, last, path)
    elif not isinstance(node, dict):
        raise RepairRefused(f"the state has no {path!r}", fix="members are separated by dots: customer.address.0")
    return node, last


def _member(node: Any, name: str, path: str) -> Any:
    if isinstance(node, dict) and name in node:
        return node[name]
    if isinstance(node, list) and re.fullmatch("[0-9]{1,9}", name) and int(name) < len(node):
        return node[int(name)]
    raise RepairRefused(f"the state has no {path!r}", fix="members are separated by dots: customer.address.0")
