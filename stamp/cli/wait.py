"""`stamp wait`: until runs end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import click

from brokers.contract import Broker
from brokers.errors import NotFound
from stamp import journal
from stamp.cli import output, settings
from stamp.cli.command import command
from stamp.cli.link import connected, no_journal, one_of, records, run_async, sightings
from stamp.cli.listing import document
from stamp.cli.problems import NO, NOT_FOUND, OK, not_found
from stamp.ledger import Record, apply
from stamp.model import is_uuid
from stamp.sighting import sight

DONE = {"completed"}


@command("wait", "stamp wait 0190", "stamp start NEW_TICKET --app app -o name < tickets.jsonl | xargs stamp wait")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@settings.option("broker")
@click.option("--timeout", metavar="TIME", default="60s", show_default=True, help="Give up after 30s, 5m, 2h.")
@settings.output_option()
def wait(*, runs: tuple[str, ...], broker: str, timeout: str, form: str) -> int:
    """Wait until each RUN (any unique beginning of its id) ends or is held.

    Exit 0 when all completed, 1 when one did not (compensated, failed, held, or still running at the timeout), 4 when
    one is not known. A whole id that is not known yet is waited for.
    """
    limit = settings.length("--timeout", timeout)
    found, unknown = run_async(_wait(broker, runs, limit))
    now = time.time()
    output.show(
        form,
        "runs",
        [document(record, {}, now) for record in found.values()],
        name=lambda item: str(item["run"]),
        human=lambda: output.table(
            ("RUN", "STATUS", "EVENT", "SEQ"),
            [
                (run, output.status(record.status(now)), record.stamp.event, record.stamp.seq)
                for run, record in found.items()
            ],
        ),
    )
    if unknown:
        output.talk(str(not_found(f"not seen within {timeout}: {', '.join(unknown)}", fix="stamp list")))
        return NOT_FOUND
    return OK if all(record.status(now) in DONE for record in found.values()) else NO


async def _wait(url: str, wanted: Sequence[str], limit: float) -> tuple[dict[str, Record], list[str]]:
    async with connected(url) as broker:
        known = records(await sightings(broker))
        runs = [run if is_uuid(run) else one_of(run, known, "run") for run in wanted]
        rows = {run: known[run] for run in runs if run in known}
        if not _settled(rows, runs):
            await _until(broker, rows, runs, limit)
        return rows, [run for run in runs if run not in rows]


async def _until(broker: Broker, rows: dict[str, Record], runs: Sequence[str], limit: float) -> None:
    """Follow the journal from its beginning, so that nothing is missed between looking and following."""
    try:
        async with asyncio.timeout(limit):
            async for record in journal.following(broker, start=0):
                seen = sight(record.message, record.exchange, record.routing_key)
                if seen is not None and seen.stamp.run in runs:
                    rows[seen.stamp.run] = apply(rows.get(seen.stamp.run), seen)
                    if _settled(rows, runs):
                        return
    except TimeoutError:
        return
    except NotFound:
        raise no_journal() from None


def _settled(rows: Mapping[str, Record], runs: Sequence[str]) -> bool:
    return all(run in rows and (rows[run].ended or rows[run].held) for run in runs)
