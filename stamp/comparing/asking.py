"""What it costs to ask where a run stands: of the journal, of its owner, or of everybody."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from stamp import journal
from stamp.comparing.lab import Lab
from stamp.inquiry import ask
from stamp.ledger import project
from stamp.sighting import sight
from stamp.style import Stamped


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, and its price."""

    complete: bool
    """Whether somebody knew the run and nobody who was asked kept silent."""
    partly: bool
    """Whether at least somebody knew it."""
    ms: float
    messages: int
    """Sent for it; of the journal, read for it."""
    rows: int
    """Read in databases."""


async def answers(lab: Lab, runs: Iterable[str], *, since: int, timeout: float) -> list[Answer]:
    """Ask for each run in turn. The journal is read from the offset `since`, where this turn began."""
    return [await _answer(lab, run, since, timeout) for run in runs]


async def _answer(lab: Lab, run: str, since: int, timeout: float) -> Answer:
    before, began = lab.counts["rows_read"], time.perf_counter()
    if isinstance(lab.variant.style, Stamped):
        known, messages = await _of_journal(lab, run, since)
        complete = partly = known
    else:
        picture = await ask(lab.broker, lab.variant.workflow, run, timeout=timeout)
        partly = picture.status is not None
        complete = partly and not picture.silent
        messages = 1 + len(picture.answers)
    ms = (time.perf_counter() - began) * 1000
    rows = lab.counts["rows_read"] - before
    return Answer(complete=complete, partly=partly, ms=ms, messages=messages, rows=rows)


async def _of_journal(lab: Lab, run: str, since: int) -> tuple[bool, int]:
    """A stream has no index: all of it is read for one run."""
    read, seen = 0, []
    async for record in journal.recorded(lab.broker, start=since):
        read += 1
        seen.append(sight(record.message, record.exchange, record.routing_key))
    return run in project(one for one in seen if one is not None and one.stamp.run == run), read
