"""A small app for the tests of the command line: a desk with three services, and files to feed it."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from brokers.contract import Broker
from brokers.memory import MemoryBroker
from stamp import journal
from stamp.cli import main
from stamp.ledger import Record, apply, project
from stamp.sighting import sight

APP = """
import os
import msgspec

from stamp import Fail, Hop, Service, Step, Workflow


class Ticket(msgspec.Struct, kw_only=True):
    ticket_id: str
    expert: str | None = None


class TicketCreated(msgspec.Struct):
    ticket_id: str
    problem: str


class TicketAssigned(msgspec.Struct):
    ticket_id: str


class LetterPrinted(msgspec.Struct):
    ticket_id: str


class NotificationSent(msgspec.Struct):
    ticket_id: str


NEW_TICKET = Workflow(
    "NEW_TICKET",
    version=1,
    state=Ticket,
    start=TicketCreated,
    deadline="48h",
    steps=[
        Step("assign", service="assignment", on=TicketCreated, emits=TicketAssigned, undo=True, retry="1x"),
        Step("print", service="printing", on=TicketAssigned, emits=LetterPrinted, pivot=True, retry="1x"),
        Step("notify", service="notification", on=LetterPrinted, emits=NotificationSent, retry="1x"),
    ],
)

assignment = Service("assignment")
printing = Service("printing")
notification = Service("notification")
BROKEN = {"printer": False, "phone": "DESK_PHONE_BROKEN" in os.environ}


@assignment.step(NEW_TICKET, "assign")
async def assign(event: TicketCreated, hop: Hop[Ticket]) -> TicketAssigned:
    hop.state.expert = "Ada"
    hop.keep(expert="Ada")
    return TicketAssigned(event.ticket_id)


@assignment.undo(NEW_TICKET, "assign")
async def unassign(hop: Hop[Ticket]) -> None:
    hop.state.expert = None


@printing.step(NEW_TICKET, "print")
async def print_letter(event: TicketAssigned, hop: Hop[Ticket]) -> LetterPrinted:
    if BROKEN["printer"]:
        raise Fail("no paper")
    return LetterPrinted(event.ticket_id)


@notification.step(NEW_TICKET, "notify")
async def notify(event: LetterPrinted, hop: Hop[Ticket]) -> NotificationSent:
    if BROKEN["phone"]:
        raise Fail("nobody answers \\x1b[31m")
    return NotificationSent(event.ticket_id)
"""

RUN = "019a3c5e-7b1d-7c2a-9f00-1234567890ab"
ENTRY = {
    "seq": 1,
    "step": "assign",
    "service": "assignment",
    "at": "2026-01-02T03:04:06.000Z",
    "outcome": "ok",
    "ms": 12,
    "undo": True,
    "keep": {"expert": "Ada"},
}
STAMP: dict[str, Any] = {
    "stamp": "1.0",
    "workflow": "NEW_TICKET",
    "version": 1,
    "run": RUN,
    "started": "2026-01-02T03:04:05.000Z",
    "phase": "forward",
    "event": "TicketAssigned",
    "seq": 1,
    "state": {"ticket_id": "T-1"},
    "history": [ENTRY],
}
MESSAGE = {
    "exchange": "NEW_TICKET",
    "routing_key": "TicketAssigned",
    "properties": {"message_id": RUN, "type": "TicketAssigned", "headers": {"stamp": json.dumps(STAMP)}},
    "payload": "{}",
}


def order(number: int = 1) -> dict[str, Any]:
    """The input of `stamp start` for one ticket."""
    ticket = f"T-{number}"
    return {"event": {"ticket_id": ticket, "problem": "it smokes"}, "state": {"ticket_id": ticket}}


class Desk:
    """The app in a folder of its own, and a broker that commands share."""

    def __init__(self, folder: Path, broker: Broker | None = None) -> None:
        self.folder = folder
        self.broker = broker or MemoryBroker()
        self.app: ModuleType = importlib.import_module("app")

    def call(self, *words: str, input: str | bytes | None = None) -> Result:  # noqa: A002
        """Run a command in this process, with the desk's broker."""
        return CliRunner().invoke(main, list(words), input=input, obj=self.broker, prog_name="stamp")

    def document(self, *words: str) -> dict[str, Any]:
        """The JSON document that a command prints."""
        result = self.call(*words, "-o", "json")
        assert result.exit_code in {0, 1, 3}, result.output
        loaded: dict[str, Any] = json.loads(result.stdout)
        return loaded

    def start(self, count: int = 1, *, services: Sequence[str] = (), until: str | None = None) -> list[str]:
        """Start runs from the command line, then let services work until every run has this status."""
        lines = "".join(json.dumps(order(number)) + "\n" for number in range(1, count + 1))
        result = self.call("start", "NEW_TICKET", "--app", "app", input=lines)
        assert result.exit_code == 0, result.output
        runs = result.stdout.split()
        if services:
            self.work(services, lambda rows: all(_at(rows, run, until) for run in runs))
        return runs

    def work(self, services: Sequence[str], done: Callable[[dict[str, Record]], bool]) -> None:
        """Run services of the app until the journal says that it is done."""
        asyncio.run(_work(self.broker, [getattr(self.app, name) for name in services], done))

    def records(self) -> dict[str, Record]:
        """What the journal says now."""
        return asyncio.run(_opened_records(self.broker))


def _at(rows: dict[str, Record], run: str, until: str | None) -> bool:
    return run in rows and until in {rows[run].status(time.time()), rows[run].stamp.event}


async def _work(broker: Broker, services: Sequence[Any], done: Callable[[dict[str, Record]], bool]) -> None:
    await broker.open()
    async with AsyncExitStack() as stack, asyncio.timeout(20):
        for service in services:
            await stack.enter_async_context(service.open(broker=broker))
        rows: dict[str, Record] = {}
        async for one in journal.following(broker, start=0):
            seen = sight(one.message, one.exchange, one.routing_key)
            if seen is not None:
                rows[seen.stamp.run] = apply(rows.get(seen.stamp.run), seen)
                if done(rows):
                    return


async def _opened_records(broker: Broker) -> dict[str, Record]:
    await broker.open()
    return await records(broker)


async def records(broker: Broker) -> dict[str, Record]:
    """One row a run from the journal."""
    seen = [sight(one.message, one.exchange, one.routing_key) async for one in journal.recorded(broker)]
    return project(one for one in seen if one is not None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the app and its files; modules loaded from it are forgotten afterwards."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "message.json").write_text(json.dumps(MESSAGE))
    (tmp_path / "ticket.json").write_text(json.dumps(order(), indent=2))
    (tmp_path / "tickets.jsonl").write_text("".join(json.dumps(order(number)) + "\n" for number in (1, 2)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    # Python takes a module of the same size and second for the one it compiled before.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in [name for name in os.environ if name.startswith("STAMP_")]:
        monkeypatch.delenv(name)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def desk(folder: Path) -> Desk:
    """The desk on the embedded broker."""
    return Desk(folder)
