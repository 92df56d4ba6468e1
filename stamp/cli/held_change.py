"""What all commands have in common that change what is held: choosing, asking, pacing, carrying out, telling."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import Any

import click

from brokers.contract import Broker, Publication
from brokers.errors import BrokerError
from stamp import held as parked
from stamp.cli import apps, output, settings
from stamp.cli.apps import App
from stamp.cli.held_pick import Target, Wanted, filters, items_of, services_of, sightings_of, target_of
from stamp.cli.held_view import Item
from stamp.cli.link import connected, no_journal, one_of, records, run_async
from stamp.cli.problems import NO, OK, PARTLY, Problem
from stamp.errors import RepairRefused, StampError
from stamp.held import Held, Move, superseded
from stamp.reading.standing import gone_past
from stamp.sighting import Sighting

SHOWN = 5
"""How many different refusals are told."""

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What such a command was asked."""

    ids: tuple[str, ...]
    broker: str
    service: str | None
    app: str | None
    workflow: str | None
    step: str | None
    code: str | None
    error: str | None
    limit: int | None
    rate: float | None
    dry_run: bool
    yes: bool
    no_journal: bool
    reason: str
    by: str
    form: str

    @property
    def wanted(self) -> Wanted:
        """The filters, without the ids."""
        return Wanted(workflow=self.workflow, step=self.step, code=self.code, error=self.error)


@dataclass(frozen=True, slots=True)
class Scene:
    """What was seen before anything changes."""

    app: App
    chosen: Sequence[Item]
    done: Mapping[Key, str]
    """What has been done already, in words."""
    targets: Mapping[str, Target]
    journal: bool
    tapped: frozenset[str] = frozenset()
    """The runs whose messages the journal takes: their ends have to reach it."""
    gone: Sequence[str] = ()
    """What was asked for and is not held any more, in words."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of change. `plan` says what is sent in a message's place; nothing, when it is as it should be.

    It raises a `StampError` that says why nothing can be done.
    """

    past: str
    """As in "3 released"."""
    plan: Callable[[Item, Scene], Sequence[Publication]]
    noted: bool = False
    """Whether the journal is told by a notice; what is sent speaks for itself otherwise."""
    needs_journal: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes, or became, of one chosen message."""

    item: Item
    publications: Sequence[Publication] = ()
    done: str = ""
    """What has been done already, in words."""
    stays: bool = False
    """Done, and held for what comes next."""
    refusal: str = ""

    @property
    def key(self) -> Key:
        return key_of(self.item.held, self.item.service)

    def outcome(self, past: str) -> str:
        """One word for tables."""
        return "refused" if self.refusal else "already done" if self.done else past


def key_of(held: Held, service: str) -> Key:
    """One event may be held for two steps of a service: the message id alone does not tell them apart."""
    return (service, held.message.message_id, held.queue)


def changing(function: Callable[..., int]) -> Callable[..., int]:
    """The options of a changing command, handed to it as one `Request`."""
    names = [field.name for field in fields(Request)]

    @wraps(function)
    def call(**given: Any) -> int:
        return function(Request(**{name: given.pop(name) for name in names}), **given)

    wrapped: Callable[..., Any] = call
    for option in (
        settings.output_option(),
        click.option("--by", metavar="NAME", envvar="STAMP_BY", default=_user, help="Who does it. [STAMP_BY; you]"),
        click.option("--reason", metavar="TEXT", default="", help="Why; kept in the history or the journal."),
        click.option("--no-journal", is_flag=True, help="Don't look there for what is done already."),
        click.option("--yes", is_flag=True, help="Don't ask; take out what is done already."),
        click.option("--dry-run", is_flag=True, help="Only tell what would be."),
        click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="At most N a second."),
        click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest."),
        filters,
        click.argument("ids", metavar="[ID]...", nargs=-1),
    ):
        wrapped = option(wrapped)
    return wrapped


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def change(request: Request, operation: Operation) -> int:
    """Choose, ask, carry out, tell; the exit code."""
    return report(request, operation, perform(request, operation))


def perform(request: Request, operation: Operation) -> list[Fate]:
    """Choose, ask and carry out; what became of each chosen message. A dry run only plans."""
    scene = run_async(_seen(request))
    if operation.needs_journal and scene.chosen and not (scene.journal or request.no_journal):
        raise no_journal()
    for words in scene.gone:
        output.talk(words)
    fates = [_fate(item, scene, operation) for item in scene.chosen]
    going = [fate for fate in fates if not (fate.refusal or fate.stays) and (request.yes or not fate.done)]
    if request.dry_run or not going:
        return fates
    if not request.yes:
        _confirm(len(going), operation)
    return run_async(_carried_out(request, operation, fates, going))


async def _seen(request: Request) -> Scene:
    app = apps.optional(request.app)
    services = services_of(request.service, request.app)
    async with connected(request.broker) as broker:
        items = await items_of(broker, services)
        names, missing = _resolved(request.ids, items)
        wanted = replace(request.wanted, ids=names)
        chosen = [] if request.ids and not names else [item for item in items if wanted(item)][: request.limit]
        runs = {item.run for item in chosen}
        seen = None if request.no_journal else await sightings_of(broker, runs, missing)
        gone = [_elsewhere(name, seen or []) for name in missing]
        mine = {service: [item for item in chosen if item.service == service] for service in services}
        targets = {service: await target_of(broker, app, service, own) for service, own in mine.items() if own}
    tapped = frozenset(one.stamp.run for one in seen or [] if one.kind == "progress")
    return Scene(app, chosen, _done(chosen, items, seen or []), targets, seen is not None, tapped, gone)


def _resolved(ids: Sequence[str], items: Sequence[Item]) -> tuple[list[str], list[str]]:
    """The full ids that are meant, and the beginnings of what is not held."""
    known = {name for item in items for name in (item.message_id, item.run) if name}
    held = [name for name in ids if any(one.startswith(name.lower()) for one in known)]
    return [one_of(name, known, "message") for name in held], [name.lower() for name in ids if name not in held]


def _elsewhere(name: str, seen: Sequence[Sighting]) -> str:
    """Where something is that is not held any more. Raises `Problem` when the journal does not know it either."""
    runs = {one.stamp.run for one in seen if one.stamp.run.startswith(name) or one.message_id.startswith(name)}
    run = one_of(name if name in runs else next(iter(runs), name), runs, "held message")
    return f"{name}: already done, not held here any more; the run is {records(seen)[run].status(time.time())}"


def _done(chosen: Sequence[Item], items: Sequence[Item], seen: Sequence[Sighting]) -> dict[Key, str]:
    """What needs nothing any more: the run went past it, or an amended message stands for it."""
    old = superseded([item.held for item in items])
    by_run: dict[str, list[Sighting]] = {}
    for sighting in seen:
        by_run.setdefault(sighting.stamp.run, []).append(sighting)
    found = {}
    for item in chosen:
        words = "an amended message stands for it" if item.message_id in old else ""
        if not words and item.stamp is not None:
            words = gone_past(by_run.get(item.run, []), item.stamp)
        if words:
            found[key_of(item.held, item.service)] = words
    return found


def _fate(item: Item, scene: Scene, operation: Operation) -> Fate:
    done = scene.done.get(key_of(item.held, item.service))
    if done:
        return Fate(item, done=done)
    try:
        publications = operation.plan(item, scene)
        if item.run in scene.tapped:
            publications = [replace(one, mandatory=True) for one in publications]
    except StampError as error:
        return Fate(item, refusal=str(error))
    return Fate(item, publications) if publications else Fate(item, done="it is like this", stays=True)


def _confirm(count: int, operation: Operation) -> None:
    if not sys.stdin.isatty():
        what = f"{count} messages would be {operation.past}"
        raise Problem(what, code="E066", status=2, fix="--yes, or --dry-run first")
    click.confirm(f"{count} messages will be {operation.past}. Go on?", abort=True, err=True)


async def _carried_out(
    request: Request, operation: Operation, fates: Sequence[Fate], going: Sequence[Fate]
) -> list[Fate]:
    errors: dict[Key, BrokerError | None] = {}
    async with connected(request.broker) as broker:
        for service in dict.fromkeys(fate.item.service for fate in going):
            mine = {fate.key: fate for fate in going if fate.item.service == service}
            errors |= await _at_service(broker, request, operation, service, mine)
    return [_became(fate, fate in going, errors) for fate in fates]


async def _at_service(
    broker: Broker, request: Request, operation: Operation, service: str, mine: Mapping[Key, Fate]
) -> dict[Key, BrokerError | None]:
    def plan(found: Sequence[Held]) -> list[Move]:
        """A second copy of a message is taken out with the first: it would only be dropped by the next inbox."""
        seen: set[Key] = set()
        moves = []
        for held in found:
            key = key_of(held, service)
            if key in mine:
                moves.append(_move(held, mine[key], request, operation, copy=key in seen))
                seen.add(key)
        return moves

    async def pace() -> None:
        await asyncio.sleep(1 / (request.rate or 1))

    outcomes = await parked.carry_out(
        broker, service, plan, now=time.time(), pace=pace if request.rate is not None else None
    )
    kept = {key_of(move.held, service): error for move, error in outcomes}
    return kept | {key_of(move.held, service): error for move, error in outcomes if error is not None}


def _move(held: Held, fate: Fate, request: Request, operation: Operation, *, copy: bool) -> Move:
    said = f"{request.reason} (by {request.by})" if request.reason else f"by {request.by}"
    if copy:
        return Move(held, (), f"another copy of it went; {said}")
    if fate.done:
        return Move(held, (), f"already done: {fate.done}; {said}")
    return Move(held, fate.publications, said if operation.noted else None)


def _became(fate: Fate, went: bool, errors: Mapping[Key, BrokerError | None]) -> Fate:
    """The fate of a message after the attempt."""
    if not went:
        return fate
    if fate.key not in errors:
        return Fate(fate.item, done="somebody else took it out")
    error = errors[fate.key]
    return fate if error is None else Fate(fate.item, refusal=str(error))


def report(request: Request, operation: Operation, fates: Sequence[Fate]) -> int:
    """Show what became of the messages: data of those that went, words about the others; the exit code."""
    gone = [fate for fate in fates if not fate.refusal]
    output.show(
        request.form,
        operation.past,
        [{**fate.item.document(), "outcome": fate.outcome(operation.past), "done": fate.done} for fate in gone],
        name=lambda item: str(item["message_id"]),
        human=lambda: output.table(
            ("MESSAGE", "RUN", "QUEUE", "REASON", "OUTCOME"),
            [
                (
                    fate.item.message_id,
                    fate.item.run,
                    fate.item.held.queue or fate.item.exchange,
                    fate.item.reason,
                    f"already done: {fate.done}" if fate.done else operation.past,
                )
                for fate in gone
            ],
        ),
    )
    _tell(request, operation, fates)
    return OK if len(gone) == len(fates) else PARTLY if gone else NO


def _tell(request: Request, operation: Operation, fates: Sequence[Fate]) -> None:
    would = "would be " if request.dry_run else ""
    same = sum(fate.stays for fate in fates)
    done = sum(bool(fate.done) for fate in fates) - same
    went = sum(not fate.done and not fate.refusal for fate in fates)
    words = f"{went} {would}{operation.past}"
    if done:
        words += f"; {done} already done{f', {would}taken out' if request.yes else ' (--yes takes them out)'}"
    if same:
        words += f"; {same} already so"
    output.talk(words)
    refusals = Counter(fate.refusal for fate in fates if fate.refusal)
    for refusal, count in refusals.most_common(SHOWN):
        output.talk(f"error[E012]: {count} stay held: {refusal}")
    if len(refusals) > SHOWN:
        output.talk(f"and {len(refusals) - SHOWN} other refusals")


def placed(item: Item, scene: Scene) -> tuple[str, str]:
    """Exchange and routing key of the place that a held message came from. Raises `RepairRefused`."""
    goal = scene.targets[item.service](item.held)
    if goal is None:
        raise RepairRefused("it is not known where it belongs", fix="--app MODULE may know")
    return goal


def release_plan(item: Item, scene: Scene) -> Sequence[Publication]:
    """The original, to where it came from."""
    return [parked.onward(item.held, placed(item, scene))]


RELEASE = Operation("released", release_plan, noted=True)
