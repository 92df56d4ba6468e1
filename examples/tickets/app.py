"""Wires the example: databases, services in one process, or one service as a process of its own.

python -m tickets.app assignment FOLDER      # the broker's URL is in STAMP_BROKER
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

from brokers.contract import Broker, Declarable
from stamp import Service, journal
from tickets import assignment, notification, resolution, tickets
from tickets.workflow import NEW_TICKET

SERVICES: dict[str, Service] = {
    "tickets": tickets.tickets,
    "assignment": assignment.assignment,
    "resolution": resolution.resolution,
    "notification": notification.notification,
}
TABLES = {
    "tickets": tickets.DDL,
    "assignment": assignment.DDL,
    "resolution": resolution.DDL,
    "notification": notification.DDL,
}


def database(folder: Path, service: str) -> Path:
    """The file of a service's own database."""
    return folder / f"{service}.db"


def store_url(folder: Path, service: str) -> str:
    """The same as a store for `Service.open` and `stamp run --store`."""
    return f"sqlite:///{database(folder, service)}"


def prepare(folder: Path) -> None:
    """Create each service's own tables, as migrations would."""
    for service, tables in TABLES.items():
        with closing(sqlite3.connect(database(folder, service))) as connection:
            connection.executescript(tables)


def topology() -> list[Declarable]:
    """What all services and the journal need on the broker: declared first, it doesn't matter who starts first."""
    parts = [part for service in SERVICES.values() for part in service.topology()]
    return [*dict.fromkeys(parts), *journal.parts([NEW_TICKET.name, *journal.COMMON])]


@asynccontextmanager
async def together(broker: Broker, folder: Path) -> AsyncIterator[None]:
    """All services in this process over one broker object."""
    async with AsyncExitStack() as stack:
        for name, service in SERVICES.items():
            await stack.enter_async_context(service.open(broker=broker, store=store_url(folder, name)))
        yield


async def serve(name: str, folder: Path) -> None:
    """One service until SIGTERM, then drained. Prints `ready` when it consumes."""
    await SERVICES[name].run(
        broker=os.environ["STAMP_BROKER"],
        store=store_url(folder, name),
        ready=lambda: print("ready", flush=True),
    )


def end_with_parent() -> None:
    """Drain when standard input ends: whoever started this process is gone, even if it was killed."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
