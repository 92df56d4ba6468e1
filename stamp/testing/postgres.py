"""A private PostgreSQL cluster in a temporary folder: start, stop, kill, restart. Needs the server's programs only."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stamp.errors import BadConfiguration, StoreUnavailable

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/pgsql/bin")
_UNPRIVILEGED = ("postgres", "nobody")
_POLL = 0.05
_LOG_TAIL = 2_000
_STILL_OWNED = "pre-existing shared memory block"


class PostgresCluster:
    """One server on a free port of 127.0.0.1, with its data in a folder that `close` removes.

    `fsync` stays on, so killing it tests what it promises. PostgreSQL refuses to run as root: then the user
    `postgres` runs it. Every call blocks; `start` returns when the server answers, and raises `StoreUnavailable` with
    the end of its log when it does not within `patience` seconds. Raises `BadConfiguration` when it is not installed.
    """

    def __init__(self, *, settings: Sequence[str] = (), patience: float = 60.0) -> None:
        self.port = _free_port()
        self._settings = list(settings)
        self._patience = patience
        self._bin = _programs()
        self._user = _user()
        self._folder = Path(tempfile.mkdtemp(prefix="stamp-postgres-"))
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the database `postgres` answers; any user password will do."""
        return f"postgresql://stamp@127.0.0.1:{self.port}/postgres"

    @property
    def running(self) -> bool:
        """Whether the server's process lives."""
        return self._server is not None and self._server.poll() is None

    def start(self) -> None:
        """Start, and create the cluster the first time. Nothing happens when it runs already."""
        if self.running:
            return
        if not self._data.exists():
            self._create()
        self._launch()
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Fast shutdown: transactions are rolled back, connections are closed. Idempotent."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL for the server; its children notice and end, and no client hears a word. Idempotent."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, then start."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop and remove the folder. Idempotent."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _create(self) -> None:
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        done = subprocess.run(  # noqa: S603  our own program and arguments
            self._command(
                "initdb",
                "-D",
                str(self._data),
                "-U",
                "stamp",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StoreUnavailable(f"initdb failed: {done.stderr[-_LOG_TAIL:]}", fix="check the disk and the rights")

    def _options(self) -> list[str]:
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self._folder}",
            "max_connections=60",
            "shared_buffers=32MB",
            "logging_collector=off",
            *self._settings,
        ]
        return [part for setting in settings for part in ("-c", setting)]

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._bin / program), *arguments]
        if self._user is None:
            return command
        # setpriv replaces itself by the program, so the process we start is the server.
        ids = [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]
        return ["setpriv", *ids, *command]

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603  our own program and arguments
                self._command("postgres", "-D", str(self._data), *self._options()),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self._patience
        check = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(check, check=False).returncode:  # noqa: S603
            if not self.running:
                self._launch_again()
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"PostgreSQL did not start: {self._tail()}", fix="read the log above")
            time.sleep(_POLL)

    def _launch_again(self) -> None:
        # After a kill the data folder belongs to the dead server's children until the last of them has noticed.
        if _STILL_OWNED not in self._tail():
            raise StoreUnavailable(f"PostgreSQL did not start: {self._tail()}", fix="read the log above")
        self._launch()

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-_LOG_TAIL:] if self._log.exists() else "no log"

    def _end(self, how: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(how)
        try:
            server.wait(self._patience)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _programs() -> Path:
    found = shutil.which("initdb")
    if found and (Path(found).resolve().parent / "postgres").exists():
        return Path(found).resolve().parent
    places = sorted(place for pattern in _PLACES for place in Path("/").glob(pattern.lstrip("/")))
    for place in reversed(places):
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise BadConfiguration(
        "PostgreSQL is not installed", fix="apt-get install postgresql, or name a running server in POSTGRES_URL"
    )


def _user() -> pwd.struct_passwd | None:
    """Who runs the server when we are root; `None` is ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in _UNPRIVILEGED if name in known)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
