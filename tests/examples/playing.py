"""Runs `stamp demo` as a process of its own and compares what it leaves behind with `expected.json`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from common.databases import Databases, SQLiteFiles

from stamp.resources import examples

LONG = 100.0


def expected_of(example: str) -> dict[str, Any]:
    """The expectations that lie beside an example."""
    loaded: dict[str, Any] = json.loads((examples() / example / "expected.json").read_text("utf-8"))
    return loaded


TICKETS = examples() / "tickets"
EXPECTED = expected_of("tickets")


@dataclass
class Demo:
    """A demo that runs. `talk` is what it has said on stderr so far."""

    process: subprocess.Popen[str]
    folder: Path
    temporary: Path
    databases: Databases
    services: int
    talk: list[str] = field(default_factory=list)

    def pid_of(self, service: str) -> int:
        """The process of a service, the latest one."""
        pattern = re.compile(rf"{service} runs as process ([0-9]+)")
        pids = [int(found[1]) for line in self.talk if (found := pattern.search(line))]
        return pids[-1]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, as long as the demo runs."""
        deadline = time.monotonic() + LONG
        while not condition():
            assert self.process.poll() is None, "".join(self.talk)
            assert time.monotonic() < deadline, "".join(self.talk)
            time.sleep(0.01)

    def until_started(self) -> None:
        """Wait until all services run as processes."""
        self.until(lambda: sum("runs as process" in line for line in self.talk) >= self.services)

    def count(self, service: str, table: str) -> int:
        """Rows in a service's table; 0 while there is none."""
        try:
            return int(self.ask(service, f"SELECT count(*) FROM {table}")[0][0])
        except (sqlite3.OperationalError, asyncpg.UndefinedTableError, asyncpg.InvalidCatalogNameError):
            return 0

    def ask(self, service: str, sql: str) -> list[list[Any]]:
        """Rows from a service's database."""
        return [list(row) for row in asyncio.run(self.databases.ask(service, sql))]

    def finish(self) -> tuple[int, str]:
        """Exit code and stdout, once it has ended."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        return self.process.wait(LONG), out


@contextmanager
def demo(tmp_path: Path, *options: str, example: str = "tickets", databases: Databases | None = None) -> Iterator[Demo]:
    """`stamp demo`, its databases in `tmp_path` or where the options say; ended with the block if it still runs."""
    folder, temporary = tmp_path / "kept", tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "stamp", "demo", "--example", example, "--keep", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "TMPDIR": str(temporary), "STAMP_DEBUG": "1"},
    )
    services = len(expected_of(example)["databases"])
    running = Demo(process, folder, temporary, databases or SQLiteFiles(folder), services)
    listener = threading.Thread(target=_listen, args=(running,))
    listener.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(LONG)
        listener.join(LONG)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _listen(running: Demo) -> None:
    assert running.process.stderr is not None
    running.talk.extend(running.process.stderr)


def played(
    tmp_path: Path, *options: str, example: str = "tickets", databases: Databases | None = None
) -> tuple[Demo, dict[str, Any]]:
    """A demo that ran to its end, and its account."""
    with demo(tmp_path, "-o", "json", *options, example=example, databases=databases) as running:
        code, out = running.finish()
    assert code == 0, "".join(running.talk)
    return running, json.loads(out)


def query(folder: Path, service: str, sql: str) -> list[list[Any]]:
    """Rows from a service's database."""
    with closing(sqlite3.connect(f"file:{folder / service}.db?mode=ro", uri=True)) as connection:
        return [list(row) for row in connection.execute(sql)]


def found(ended: Demo, expected: dict[str, Any] = EXPECTED) -> dict[str, dict[str, Any]]:
    """The answers of the databases to the questions in `expected.json`."""
    return {
        service: {claim: ended.ask(service, asked["sql"]) for claim, asked in claims.items()}
        for service, claims in expected["databases"].items()
    }


def expected_rows(expected: dict[str, Any] = EXPECTED) -> dict[str, dict[str, Any]]:
    """The answers that they should give."""
    return {
        service: {claim: asked["rows"] for claim, asked in claims.items()}
        for service, claims in expected["databases"].items()
    }


def account_of(document: dict[str, Any], expected: dict[str, Any] = EXPECTED) -> dict[str, Any]:
    """The part of a summary that is the same every time."""
    return {name: document[name] for name in expected["account"]}


def alive(pid: int) -> bool:
    """Whether a process runs (one that only waits to be reaped does not)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in "ZX"
