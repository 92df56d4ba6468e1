"""What a play left behind, seen from three sides: rows by direct SQL, the ends in the journal, the audit."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from brokers.contract import Broker, Queue
from brokers.errors import NotFound
from stamp import journal
from stamp.layout import JOURNAL
from stamp.model import ENDED
from stamp.reading import audit
from stamp.reading.audit import Book, Evidence, judge
from stamp.sighting import sight
from tests.faults import orders
from tests.faults.places import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Started = ended, and nothing held, doubled or missing: nothing was lost and nothing was done twice."""

    started: int
    ended: int
    held: int
    doubled: int
    """Rows beyond the first, and runs that ended twice."""
    missing: int
    """Rows that are not there, runs without an end, and what still lies in an outbox or a queue."""

    @classmethod
    def sound(cls, count: int) -> Account:
        """What `count` orders leave behind without any fault."""
        return cls(started=count, ended=count, held=0, doubled=0, missing=0)


async def drawn(broker: Broker, places: Mapping[str, Place], *, tag: str, count: int, since: int) -> Account:
    """Count everything; `since` is where the journal ended before the play began."""
    want = orders.expected(count)
    rows = {name: await place.rows() for name, place in places.items()}
    ends = await terminals(broker, tag, since)
    wrong = [n for n in range(count) if orders.outcome(n) not in {phase for phase, _ in ends.get(n, ())}]
    book = await audited(broker, tag, since)
    left = sum([await place.outbox() for place in places.values()]) + await waiting(broker, work_queues(tag))
    return Account(
        started=sum(1 for _, step, _ in rows["shop"] if step == "order"),
        ended=len(ends),
        held=await waiting(broker, held_queues(tag)),
        doubled=sum((rows[name] - want[name]).total() for name in want)
        + sum(len(each) - 1 for each in ends.values())
        + len(book.doubled),
        missing=sum((want[name] - rows[name]).total() for name in want) + len(wrong) + left + len(book.missing),
    )


async def audited(broker: Broker, tag: str, since: int) -> audit.Account:
    """What `stamp audit` finds of the play: nothing is young any more, and what waits is in the queues."""
    book, name = Book(), orders.full_name("ORDER", tag)
    async for record in journal.recorded(broker, start=since):
        sighting = sight(record.message, record.exchange, record.routing_key)
        if sighting is not None and sighting.stamp.workflow == name:
            book.enter(record)
    depths = {queue: await broker.depth(queue) for queue in queues(tag)}
    return judge(book, Evidence(depths=depths), now=time.time(), older_than=0)


async def terminals(broker: Broker, tag: str, since: int) -> dict[int, set[tuple[str, str]]]:
    """The ends of each order's run: phase and message id, a message that was sent twice counted once."""
    ends: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
    name = orders.full_name("ORDER", tag)
    async for record in journal.recorded(broker, start=since):
        sighting = sight(record.message, record.exchange, record.routing_key) if record.exchange == name else None
        if sighting is not None and sighting.stamp.phase in ENDED:
            ends[sighting.stamp.state["number"]].add((sighting.stamp.phase, sighting.message_id))
    return ends


async def journal_end(broker: Broker) -> int:
    """Where the journal ends now; 0 when there is none yet."""
    try:
        return await broker.end(JOURNAL)
    except NotFound:
        return 0


def queues(tag: str) -> list[str]:
    """Every queue of a play: those of its steps and those of what it holds."""
    flow = orders.workflow(tag)
    made = [
        orders.service(name, flow, tag, books=_NoBooks(), visit=lambda *_: None, batch=1) for name in orders.SERVICES
    ]
    return list(dict.fromkeys(part.name for each in made for part in each.topology() if isinstance(part, Queue)))


def held_queues(tag: str) -> list[str]:
    """Where messages are parked."""
    return [name for name in queues(tag) if name.startswith("stamp.held.")]


def work_queues(tag: str) -> list[str]:
    """Where messages wait for a step."""
    return [name for name in queues(tag) if not name.startswith("stamp.held.")]


async def waiting(broker: Broker, names: Sequence[str]) -> int:
    """Messages ready in these queues."""
    return sum([await broker.depth(name) for name in names])


def table(lines: Sequence[tuple[str, str, Account]]) -> str:
    """Point, store and counts, a line each."""
    heads = ["point", "store", *(field.name for field in fields(Account))]
    cells = [[point, store, *(str(getattr(each, name)) for name in heads[2:])] for point, store, each in lines]
    widths = [max(len(row[at]) for row in [heads, *cells]) for at in range(len(heads))]
    return "\n".join(_line(row, widths) for row in [heads, *cells])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


class _NoBooks:
    async def write(self, tx: object, row: orders.Row) -> None: ...

    async def known(self, tx: object, row: orders.Row) -> bool:
        return False
