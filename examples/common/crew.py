"""Runs each service as a process of its own: started, watched, started again when it dies, drained at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from brokers.contract import Broker
from common.databases import Databases
from common.example import Example

DRAIN = 40.0
"""Seconds that a service gets between SIGTERM and SIGKILL; its own drain takes 30 at most."""

HERE = str(Path(__file__).resolve().parents[1])

RESTARTS = 5
"""How often a service is started again before the example gives up on it."""


class CrewError(Exception):
    """A service ended again and again."""


@dataclass(slots=True)
class Crew:
    """The processes, by service."""

    example: Example
    url: str
    databases: Databases
    note: Callable[[str], None]
    processes: dict[str, Process] = field(default_factory=dict)
    stopping: bool = False

    async def keep(self, name: str, ready: asyncio.Event) -> None:
        """Run a service until `stop`; start it again when it ends by itself. Raises `CrewError`."""
        for _ in range(1 + RESTARTS):
            process = self.processes[name] = await self._start(name)
            if self.stopping:  # it was not among the processes yet when they were told
                await _ended(process)
                return
            if process.stdout is not None and await process.stdout.readline():
                self.note(f"{name} runs as process {process.pid}")
                ready.set()
            code = await process.wait()
            if self.stopping:
                return
            self.note(f"{name} ended ({_cause(code)}); starting it again")
        raise CrewError(f"the service {name} ended {1 + RESTARTS} times")

    async def _start(self, name: str) -> Process:
        path = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "common.serve", self.example.name, name),
            env={**os.environ, "PYTHONPATH": path, "STAMP_BROKER": self.url, "STAMP_STORE": self.databases.template},
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
        )

    async def stop(self) -> None:
        """SIGTERM to all at once; SIGKILL to those that don't end."""
        self.stopping = True
        await asyncio.gather(*(_ended(process) for process in self.processes.values()))


async def _ended(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), DRAIN)
    except TimeoutError:
        process.kill()
        await process.wait()


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@asynccontextmanager
async def apart(
    example: Example, broker: Broker, databases: Databases, *, url: str, note: Callable[[str], None]
) -> AsyncIterator[None]:
    """Every service in its own process; this process only takes the input in. Raises `CrewError`."""
    crew = Crew(example, url, databases, note)
    ready = {name: asyncio.Event() for name in example.services}
    try:
        async with asyncio.TaskGroup() as group:
            for name, event in ready.items():
                group.create_task(crew.keep(name, event))
            await asyncio.gather(*(event.wait() for event in ready.values()))
            entry = example.entry
            async with entry.open(broker=broker, store=databases.url(entry.name), consume=False):
                yield
            await crew.stop()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        await crew.stop()
