"""Processes that may outlive the one that started them: known by pid and start time, so never mistaken."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Process:
    """The leader of a session of its own. `born` guards against a pid that the system gave to another."""

    pid: int
    born: str

    def alive(self) -> bool:
        """Whether it still runs; a child that ended is reaped on the way."""
        try:
            ended, _ = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return birth(self.pid) == self.born
        return not ended

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all it started; silent when it is gone."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self, timeout: float) -> bool:
        """Whether it ended within `timeout` seconds."""
        return until(lambda: not self.alive(), timeout)

    def end(self, timeout: float) -> None:
        """SIGTERM, and SIGKILL when it has not ended after `timeout` seconds."""
        self.signal(signal.SIGTERM)
        if not self.wait(timeout):
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait(10)


def launch(command: Sequence[str], *, environment: Mapping[str, str], folder: Path, output: Path) -> Process:
    """Start a process in its own session; it neither gets our terminal's signals nor holds our files."""
    with output.open("ab") as sink:
        child = subprocess.Popen(  # noqa: S603 (the package's own scripts, paths found by us)
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    child.returncode = 0  # Process.alive reaps it; without this Popen warns when it is collected before.
    return Process(child.pid, birth(child.pid) or "")


def birth(pid: int) -> str | None:
    """When the process began, in ticks since boot; None when there is none or it only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll a condition until it holds; False when `timeout` seconds pass first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
