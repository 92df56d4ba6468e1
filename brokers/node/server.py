"""The installed RabbitMQ package, and what a private node needs to run from it as any user."""

from __future__ import annotations

import os
import random
import shutil
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brokers.errors import NodeFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGES = Path("/usr/lib/rabbitmq/lib")
_PORTS = range(20_000, 32_000)
"""Below Linux's ephemeral range: no outgoing connection can take a port while its node is down."""

_CONFIG = """\
log.console = false
log.file.level = info
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 67108864
"""


def find_server() -> Path:
    """The `sbin` folder of the installed RabbitMQ package, newest first.

    The scripts there run as any user, unlike the system-wide wrappers. Raises `NodeFailed` when it is missing.
    """
    found = sorted(_PACKAGES.glob("rabbitmq_server-*/sbin/rabbitmq-server"), key=_version)
    if not found:
        raise NodeFailed(
            "RabbitMQ is not installed (fix: install the Debian package 'rabbitmq-server', "
            "or set AMQP_URL to a server that runs already)"
        )
    return found[-1].parent


def _version(script: Path) -> tuple[int, ...]:
    digits = script.parts[-3].removeprefix("rabbitmq_server-").split(".")
    return tuple(int(part) for part in digits if part.isdigit())


def find_epmd() -> str:
    """The Erlang port mapper's program. Raises `NodeFailed` when Erlang is missing."""
    found = shutil.which("epmd") or next(map(str, Path("/usr/lib/erlang/bin").glob("epmd")), None)
    if found is None:
        raise NodeFailed("Erlang is not installed (fix: install the Debian package 'rabbitmq-server')")
    return found


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that nothing listens on."""
    with ExitStack() as stack:
        return [port for _, port in zip(range(count), _bound_ports(stack), strict=False)]


def _bound_ports(stack: ExitStack) -> Iterator[int]:
    for port in random.sample(_PORTS, len(_PORTS)):
        trial = stack.enter_context(socket.socket())
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            continue
        yield port
    raise NodeFailed(f"no free port between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where one node keeps its files and which ports it listens on; the same over restarts."""

    folder: Path
    home: Path
    """Holds the Erlang cookie, which the nodes of a cluster share."""
    name: str
    port: int
    dist_port: int
    epmd_port: int

    @property
    def url(self) -> str:
        """Where clients connect, with the credentials of a fresh node."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def logs(self) -> Path:
        """The folder with the node's own log and what it printed."""
        return self.folder / "log"

    def write(self, *, plugins: tuple[str, ...]) -> None:
        """Make the folders and the configuration files. Keeps the data of an earlier start."""
        for folder in (self.folder, self.home, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "rabbitmq.conf").write_text(_CONFIG)
        (self.folder / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")

    def environment(self) -> dict[str, str]:
        """The variables that keep the package's scripts away from the system's own node and data."""
        path = os.environ.get("PATH", "/usr/bin:/bin")
        return _common() | {
            "PATH": path,
            "HOME": str(self.home),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.logs),
            "RABBITMQ_PID_FILE": str(self.folder / "rabbitmq.pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
        }


def _common() -> dict[str, str]:
    return {
        "LANG": "C.UTF-8",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CTL_DIST_PORT_MIN": str(_PORTS.start),
        "RABBITMQ_CTL_DIST_PORT_MAX": str(_PORTS.stop),
        # Makes the script replace itself by the Erlang machine, so that our child is the node and gets our signals.
        "RUNNING_UNDER_SYSTEMD": "true",
        # Several nodes share few cores here: bound schedulers would all sit on the same ones.
        "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
        "RABBITMQ_DISTRIBUTION_BUFFER_SIZE": "8192",
    }
