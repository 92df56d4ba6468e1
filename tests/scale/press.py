"""A process with one sharded step, for tests that end it: `python -m tests.scale.press`.

The step notes the page of each message in the order in which its transactions commit.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from sqlite3 import connect
from uuid import NAMESPACE_OID, uuid5

import msgspec

from brokers.contract import Publication
from stamp import Hop, Service, Step, Workflow
from stamp.beginning import begin
from stamp.codec import Codec
from stamp.ids import run_id
from stamp.layout import work_queues
from stamp.outgoing import publications
from tests.faults.child import end_with_parent

VARIABLE = "STAMP_SCALE_PRESS"
READY = "ready"
SHARDS = 4


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Names and places of one press."""

    tag: str
    broker: str
    database: str
    share: tuple[int, int]


class Asked(msgspec.Struct):
    book: int
    page: int


class Printed(msgspec.Struct):
    book: int
    page: int


def workflow(tag: str) -> Workflow:
    """One step; the service's name carries the tag too, so that tests on one broker don't meet."""
    step = Step("print", service=f"press-{tag}", on=Asked, emits=Printed, shards=SHARDS)
    return Workflow(f"BOOK-{tag}", version=1, start=Asked, steps=[step])


def shards(tag: str) -> list[str]:
    """The queues of the step."""
    flow = workflow(tag)
    return list(work_queues(flow.name, flow.step("print")))


def press(tag: str, share: tuple[int, int] = (0, 1)) -> Service:
    """The service, with small batches, so that many of them are under way when its process ends."""
    flow = workflow(tag)
    service = Service(f"press-{tag}", batch=2, share=share)

    @service.step(flow, "print")
    async def print_(event: Asked, hop: Hop[None]) -> Printed:
        row = (event.book, event.page, os.getpid())
        await hop.tx.execute("INSERT INTO page (book, page, pid) VALUES (?, ?, ?)", row)
        return Printed(event.book, event.page)

    return service


def order(tag: str, books: int, pages: int, now: float) -> list[Publication]:
    """All pages of all books in turn; those of one book are messages of one run."""
    flow, codec = workflow(tag), Codec()
    runs = [run_id(now, uuid5(NAMESPACE_OID, f"{tag} {book}").bytes[:10]) for book in range(books)]
    found = []
    for page in range(pages):
        for book, run in enumerate(runs):
            decision = begin(flow, Asked(book, page), run=run, state={}, now=now)
            (first,) = publications(decision, flow, codec, service="reader", now=now, trace={})
            message = replace(first.message, message_id=str(uuid5(NAMESPACE_OID, f"{run} {page}")))
            found.append(replace(first, message=message))
    return found


def prepare(database: Path) -> None:
    """The table for the pages. There is no unique constraint on it: doubling would show."""
    with closing(connect(database)) as db:
        db.execute("CREATE TABLE page (number INTEGER PRIMARY KEY, book INTEGER, page INTEGER, pid INTEGER)")


def printed(database: Path) -> list[tuple[int, int, int]]:
    """Book, page and process of every row, in the order of the commits."""
    with closing(connect(database, timeout=10)) as db:
        return db.execute("SELECT book, page, pid FROM page ORDER BY number").fetchall()


async def main(plan: Plan) -> None:
    """Serve until SIGTERM."""
    store = f"sqlite:///{plan.database}"
    await press(plan.tag, plan.share).run(broker=plan.broker, store=store, ready=lambda: print(READY, flush=True))


if __name__ == "__main__":
    end_with_parent()
    sys.exit(asyncio.run(main(msgspec.json.decode(os.environ[VARIABLE], type=Plan))))
