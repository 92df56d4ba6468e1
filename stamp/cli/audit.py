"""`stamp audit`: account for every run; find what is missing and send it again."""

from __future__ import annotations

import asyncio
import getpass
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from brokers.contract import Broker, Publication
from brokers.errors import NotFound
from stamp import journal, parking
from stamp.cli import apps, output, settings
from stamp.cli.apps import App
from stamp.cli.command import command
from stamp.cli.link import connected, no_journal, run_async, unreadable_talk
from stamp.cli.problems import NO, OK, PARTLY, Problem
from stamp.cli.stores import Place, expanded, naming_options, store_option
from stamp.layout import DELAY, HELD
from stamp.model import epoch
from stamp.reading.audit import Account, Book, Evidence, Fate, Page, Unsent, Verdict, agreed, asked, judge, suspects
from stamp.reading.text import ago
from stamp.reading.waiting import Routes

NAME = "stamp-audit"
"""The service in whose name a repair is noted in the journal."""
FATES: tuple[Fate, ...] = ("completed", "compensated", "failed", "held", "in flight", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """What an audit asks, and how long it waits."""

    app: App
    stores: Sequence[Place]
    older_than: float
    pause: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which runs are accounted for; the others are still counted where they wait."""

    workflow: str | None
    oldest: float

    def __call__(self, verdict: Verdict, unsent: Unsent | None) -> bool:
        if verdict.line is not None:
            stamp = verdict.line.record.stamp
            return self.workflow in {None, stamp.workflow} and epoch(stamp.started) >= self.oldest
        return unsent is None or (self.workflow in {None, unsent.workflow} and unsent.at >= self.oldest)


@command(
    "audit",
    "stamp audit --app app",
    "stamp audit --app app --reissue --dry-run -o json",
)
@settings.option("broker")
@store_option
@settings.option("app", help="Knows which event goes to which queue; without it that is learned from the runs.")
@naming_options
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option("--since", metavar="TIME", help="Only runs that started in the last 30s, 5m, 48h, 7d.")
@click.option("--older-than", metavar="TIME", default="60s", show_default=True, help="Missing: not seen for so long.")
@click.option(
    "--pause", metavar="TIME", default="2s", show_default=True, help="What seems missing is looked for again."
)
@click.option("--reissue", is_flag=True, help="Send the last copy of what is missing again.")
@click.option("--limit", type=click.IntRange(1), help="Reissue at most so many, those missing longest.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be sent.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the journal.")
@settings.output_option()
def audit(
    *,
    broker: str,
    store: Sequence[str],
    app: str | None,
    prefix: str | None,
    schema: str | None,
    workflow: str | None,
    since: str | None,
    older_than: str,
    pause: str,
    reissue: bool,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    reason: str,
    form: str,
) -> int:
    """Account for every run that the journal knows: started = completed + compensated + failed + held + in flight +
    missing. -o name prints the missing. Exit 1 when a run is missing, ended twice, or did a step twice.

    Missing: its last message waits in no queue, is in no outbox of the stores given, and has not moved. A handler
    that works longer than --older-than on one message looks the same, so set that above your slowest handler. With
    --store it is also told whether the message was handled.

    --reissue sends the copy that the journal keeps, with its message id. Where it was not lost after all, the inbox
    of the service drops it; a service without a store may do the step twice.
    """
    loaded = apps.optional(app)
    stores = _stores(store, loaded, prefix=prefix, schema=schema)
    looking = Looking(
        app=loaded,
        stores=stores,
        older_than=settings.length("--older-than", older_than),
        pause=settings.length("--pause", pause),
    )
    oldest = time.time() - settings.length("--since", since) if since else 0.0
    wanted = Wanted(workflow=workflow, oldest=oldest)
    account = run_async(_accounted(broker, looking, wanted))
    _show(account, form)
    _talk(account, looking)
    if not reissue:
        return NO if account.missing or account.doubled or account.equivocal else OK
    return _reissued(broker, looking, account.missing[:limit], dry_run=dry_run, yes=yes, reason=reason)


def _stores(urls: Sequence[str], app: App, *, prefix: str | None, schema: str | None) -> list[Place]:
    """The databases named. A service of the app that has none yet has neither inbox nor outbox."""
    found = []
    for url in expanded(urls, app):
        place = Place(url=url, prefix=prefix, schema=schema)
        if url in urls or place.exists():
            found.append(place)
        else:
            output.talk(f"warning: there is no database file {place.name}")
    return found


async def _accounted(url: str, looking: Looking, wanted: Wanted) -> Account:
    async with connected(url) as broker:
        book = Book(Routes.declared(looking.app.workflows.values()))
        await _read_on(broker, book)
        account, evidence = await _look(broker, book, looking)
        if account.missing:
            await asyncio.sleep(looking.pause)
            again, evidence = await _look(broker, book, looking)
            account = agreed(account, again)
    chosen = [one for one in account.verdicts if wanted(one, evidence.unsent.get(one.run))]
    return Account(chosen, unreadable=book.unreadable)


async def _read_on(broker: Broker, book: Book) -> None:
    try:
        async for recorded in journal.recorded(broker, start=book.end):
            book.enter(recorded)
    except NotFound:
        raise no_journal() from None


async def _look(broker: Broker, book: Book, looking: Looking) -> tuple[Account, Evidence]:
    """Depths, inboxes, outboxes, journal, in this order: see `Evidence`."""
    depths = {queue: await _depth(broker, queue) for queue in asked(book)}
    handled: set[tuple[str, str]] = set()
    unsent: dict[str, Unsent] = {}
    for place in looking.stores:
        handled |= await _handled(place, suspects(book, depths))
    for place in looking.stores:
        unsent |= await _unsent(place)
    await _read_on(broker, book)
    evidence = Evidence(depths=depths, handled=handled, unsent=unsent)
    return judge(book, evidence, now=time.time(), older_than=looking.older_than), evidence


async def _depth(broker: Broker, queue: str) -> int | None:
    try:
        return await broker.depth(queue)
    except NotFound:
        return None


async def _handled(place: Place, asked: dict[str, list[str]]) -> set[tuple[str, str]]:
    from stamp.stores import survey  # noqa: PLC0415

    async with place.opened() as store:
        return {(queue, one) for queue, ids in asked.items() for one in await survey.handled(store, queue, ids)}


async def _unsent(place: Place) -> dict[str, Unsent]:
    from stamp.stores import survey  # noqa: PLC0415

    async with place.opened() as store:
        return {row.run: Unsent(row.exchange, row.routing_key, row.at) for row in await survey.unsent(store)}


def _document(verdict: Verdict) -> dict[str, Any]:
    """A missing run as plain values."""
    assert verdict.line is not None
    seen, copy = verdict.line.tip.sighting, verdict.line.copy
    done = seen.stamp.history[-1] if seen.stamp.history else None
    return {
        "run": verdict.run,
        "workflow": seen.stamp.workflow,
        "workflow_version": seen.stamp.version,
        "started": seen.stamp.started,
        "event": seen.stamp.event,
        "seq": seen.stamp.seq,
        "last_hop": None if done is None else {"step": done.step, "service": done.service, "at": done.at},
        "queue": verdict.where,
        "message_id": seen.message_id,
        "seen_s_ago": round(time.time() - seen.at, 3),
        "why": verdict.why,
        "copy": {"exchange": copy.exchange, "routing_key": copy.routing_key} if copy and verdict.healable else None,
    }


def _show(account: Account, form: str) -> None:
    missing = [_document(verdict) for verdict in account.missing]
    counts = {"started": account.started, **{fate.replace(" ", "_"): account.count(fate) for fate in FATES}}
    more = {
        "counts": counts,
        "in_flight": account.places,
        "ended_twice": [{"run": line.run, "ends": line.ends} for line in account.doubled],
        "done_twice": [line.run for line in account.equivocal],
        "unreadable": account.unreadable,
    }
    output.show(
        form,
        "audit",
        missing,
        name=lambda item: str(item["run"]),
        more=more,
        human=lambda: _print(account, missing, counts),
    )


def _print(account: Account, missing: Sequence[dict[str, Any]], counts: dict[str, int]) -> None:
    output.table([name.replace("_", " ").upper() for name in counts], [list(counts.values())])
    _part("in flight", ("RUNS", "WHERE"), [(count, where) for where, count in account.places.items()])
    rows = [
        (item["run"], item["workflow"], _hop(item), item["event"], item["queue"], ago(item["seen_s_ago"]), item["why"])
        for item in missing
    ]
    _part("missing", ("RUN", "WORKFLOW", "LAST HOP", "THEN", "SHOULD BE IN", "SEEN BEFORE", "WHY"), rows)
    ends = [(line.run, ", ".join(f"{end} ({one})" for one, end in line.ends.items())) for line in account.doubled]
    _part("ended twice", ("RUN", "ENDS"), ends)
    _part("did a step twice", ("RUN",), [(line.run,) for line in account.equivocal])


def _part(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        output.data("")
        output.heading(title)
        output.table(headers, rows, indent=2)


def _hop(item: dict[str, Any]) -> str:
    hop = item["last_hop"]
    return "start" if hop is None else f"{hop['step']} ({hop['service']})"


def _talk(account: Account, looking: Looking) -> None:
    sides = " + ".join(f"{account.count(fate)} {fate}" for fate in FATES)
    output.talk(f"{account.started} started = {sides}")
    unreadable_talk(account.unreadable)
    if account.places.get("not known") and not looking.app.workflows:
        output.talk("where some of them go is not known from earlier runs: --app MODULE")
    if account.missing and not looking.stores:
        output.talk("--store also looks into outboxes, and tells what was handled from what never arrived")


def _reissued(url: str, looking: Looking, missing: Sequence[Verdict], *, dry_run: bool, yes: bool, reason: str) -> int:
    going = [verdict for verdict in missing if verdict.healable]
    if going and not dry_run and not yes:
        _confirm(len(going))
    sent = len(going) if dry_run else run_async(_reissue(url, looking.app, going, reason))
    output.talk(f"{sent} {'would be ' if dry_run else ''}sent again{_left(len(missing) - sent)}")
    return OK if sent == len(missing) else PARTLY if sent else NO


def _confirm(count: int) -> None:
    if not sys.stdin.isatty():
        raise Problem(f"{count} messages would be sent again", code="E066", status=2, fix="--yes, or --dry-run first")
    click.confirm(f"Send {count} messages again?", abort=True, err=True)


def _left(count: int) -> str:
    return f"; {count} stay missing: see `stamp explain missing`" if count else ""


async def _reissue(url: str, app: App, going: Sequence[Verdict], reason: str) -> int:
    """Send the copies, each after a notice for the journal; how many went."""
    sent = 0
    async with connected(url) as broker:
        # The journal takes every message, so that the broker calls routed what no work queue took: declare them first.
        await broker.declare([part for service in app.services.values() for part in service.topology()])
        for copy, queue in _copies(going):
            if _known(copy, app) and await _depth(broker, queue) is not None:
                note = f"sent again by {getpass.getuser()}{f': {reason}' if reason else ''}"
                notice = parking.released(copy.message, service=NAME, now=time.time(), note=note)
                await broker.publish_all([notice])
                await broker.publish(Publication(copy.exchange, copy.routing_key, parking.sendable(copy.message)))
                sent += 1
    return sent


def _copies(going: Sequence[Verdict]) -> Iterator[tuple[Page, str]]:
    for verdict in going:
        copy = verdict.line.copy if verdict.line else None
        if copy is not None:
            yield copy, verdict.where


def _known(copy: Page, app: App) -> bool:
    """Only to where it was recorded, and only when its own stamp, and the app if given, know that place."""
    stamp = copy.sighting.stamp
    if app.workflows and (stamp.workflow, stamp.version) not in app.workflows:
        return False
    return copy.exchange in {HELD, stamp.workflow} or copy.exchange.startswith(DELAY)
