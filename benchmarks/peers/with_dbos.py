"""The ticket chain on DBOS: a workflow of four steps, each step's result written to PostgreSQL. There is no broker."""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# The library lies in an environment of its own.
from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from dbos import DBOS

from benchmarks.peers.watch import Task, Watch, task, tell
from benchmarks.texts import problem

TOGETHER = 64
"""Workflows under way at a time: as many as a batch of ours has deliveries."""

Ticket = dict[str, str]


@DBOS.step()
async def opened(ticket: Ticket) -> Ticket:
    """The first of four."""
    return ticket


@DBOS.step()
async def assigned(ticket: Ticket) -> Ticket:
    """The second."""
    return ticket


@DBOS.step()
async def resolved(ticket: Ticket) -> Ticket:
    """The third."""
    return ticket


@DBOS.step()
async def notified(ticket: Ticket) -> Ticket:
    """The last."""
    return ticket


@DBOS.workflow()
async def tickets(ticket: Ticket) -> Ticket:
    """Four steps, one after the other."""
    return await notified(await resolved(await assigned(await opened(ticket))))


async def carry(work: Task) -> dict[str, float]:
    """A few workflows to warm up, then all of them."""
    turn = asyncio.Semaphore(TOGETHER)
    await _all(turn, 20)
    watch = Watch(work)
    await _all(turn, work.runs)
    return watch.stop()


async def _all(turn: asyncio.Semaphore, runs: int) -> None:
    await asyncio.gather(*(_one(turn, number) for number in range(runs)))


async def _one(turn: asyncio.Semaphore, number: int) -> Any:
    async with turn:
        handle = await DBOS.start_workflow_async(tickets, {"ticket_id": f"T-{number:06d}", "problem": problem(number)})
        return await handle.get_result()


def main() -> None:
    """Launch, measure, take down."""
    work = task()
    name = f"tickets{time.time_ns() % 1_000_000}"
    DBOS(config={"name": name, "system_database_url": work.url, "log_level": "ERROR"})
    DBOS.launch()
    try:
        sample = asyncio.run(carry(work))
    finally:
        DBOS.destroy()
    tell(sample, "dbos", "psycopg", "SQLAlchemy")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
