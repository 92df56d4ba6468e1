"""One private RabbitMQ node: start, stop, kill, restart, and nothing left behind."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from brokers.errors import NodeFailed
from brokers.node.guard import Guard
from brokers.node.process import Process, launch, until
from brokers.node.server import Layout, find_epmd, find_server, free_ports

if TYPE_CHECKING:
    from types import TracebackType

START_SECONDS = 120.0
"""A warm start takes about 3 s, one from a cold disk far longer."""
STOP_SECONDS = 30.0


class Node:
    """One RabbitMQ node on free ports of 127.0.0.1, with its own data, cookie and Erlang port mapper.

    A context manager: starts on entry, and on exit leaves neither a process nor a file. When the process that
    owns it dies without an exit, a guard ends the node. With `folder` the data stays there after `close`, and
    with `owned=False` the node goes on running after its maker has ended. Every method blocks.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        layout: Layout | None = None,
        plugins: tuple[str, ...] = (),
        owned: bool = True,
    ) -> None:
        self._sbin = find_server()
        self._temporary = Path(tempfile.mkdtemp(prefix="rabbitmq-")) if folder is None and layout is None else None
        self.layout = layout or new_layout(folder or self._temporary or Path())
        self._plugins = plugins
        self._guard = Guard() if owned else None
        self.epmd: Process | None = None
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """The AMQP URL, the same over restarts."""
        return self.layout.url

    @property
    def logs(self) -> str:
        """What the node logged and printed, from its first start to now."""
        files = sorted(self.layout.logs.glob("*")) if self.layout.logs.is_dir() else []
        return "\n".join(file.read_text(errors="replace") for file in files if file.is_file())

    def start(self) -> None:
        """Start and wait until the broker answers an AMQP greeting. Raises `NodeFailed` with the end of the log."""
        try:
            self._launch()
            self._await_ready()
        except BaseException:
            self.close()
            raise

    def _launch(self) -> None:
        if self.process is not None and self.process.alive():
            return
        self.layout.write(plugins=self._plugins)
        if self.epmd is None or not self.epmd.alive():
            self.epmd = self._run([find_epmd(), "-port", str(self.layout.epmd_port), "-address", "127.0.0.1"])
            until(lambda: _listens(self.layout.epmd_port), 10)
        self.process = self._run([str(self._sbin / "rabbitmq-server")])

    def _await_ready(self) -> None:
        process = self.process
        ready = process is not None and until(lambda: greets(self.layout.port) or not process.alive(), START_SECONDS)
        if ready and greets(self.layout.port):
            return
        ending = "\n".join(self.logs.splitlines()[-60:])
        raise NodeFailed(f"the RabbitMQ node {self.layout.name} did not start; the end of its log:\n{ending}")

    def stop(self) -> None:
        """Shut down in good order (SIGTERM); the data stays for `start`."""
        if self.process is not None:
            self.process.end(STOP_SECONDS)
            self._forget(self.process)
            self.process = None

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; the data stays for `start`."""
        if self.process is not None:
            self.process.signal(signal.SIGKILL)
            self.process.wait(10)
            self._forget(self.process)
            self.process = None

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers, as on a host that hangs."""
        if self.process is not None:
            self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused node go on."""
        if self.process is not None:
            self.process.signal(signal.SIGCONT)

    def restart(self) -> None:
        """`stop` unless it is down already, then `start` on the same data and ports."""
        self.stop()
        self.start()

    def ctl(self, *words: str, timeout: float = 60.0) -> str:
        """Run `rabbitmqctl` against this node and return what it printed. Raises `NodeFailed` when it fails."""
        command = [str(self._sbin / "rabbitmqctl"), "-q", "-n", self.layout.name, *words]
        done = subprocess.run(  # noqa: S603 (the package's own script)
            command,
            env=self.layout.environment(),
            cwd=self.layout.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise NodeFailed(f"rabbitmqctl {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def flush(self) -> None:
        """Write the node's own tables to disk.

        RabbitMQ 3.10.8 keeps the registration of a new quorum queue in memory for about a second: after a `kill`
        within it the queue is there but never elects a leader, and what it had confirmed is lost.
        """
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def close(self) -> None:
        """Stop the node and its port mapper and delete a temporary folder. Idempotent."""
        self.stop()
        if self.epmd is not None:
            self.epmd.end(5)
            self.epmd = None
        if self._guard is not None:
            self._guard.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _run(self, command: list[str]) -> Process:
        process = launch(
            command,
            environment=self.layout.environment(),
            folder=self.layout.folder,
            output=self.layout.logs / "output.log",
        )
        if self._guard is not None:
            self._guard.watch(process, self._temporary)
        return process

    def _forget(self, process: Process) -> None:
        if self._guard is not None:
            self._guard.forget(process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def new_layout(folder: Path, *, name: str = "stamp", home: Path | None = None, epmd_port: int | None = None) -> Layout:
    """A layout in `folder` on free ports; `home` and `epmd_port` are given to the nodes of one cluster."""
    port, dist_port, own_epmd = free_ports(3)
    return Layout(
        folder=folder,
        home=home or folder / "home",
        name=f"{name}-{port}@localhost",
        port=port,
        dist_port=dist_port,
        epmd_port=epmd_port or own_epmd,
    )


def greets(port: int) -> bool:
    """Whether a broker on this port answers the AMQP protocol header; an open port alone says nothing."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return connection.recv(1) == b"\x01"
    return False


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
