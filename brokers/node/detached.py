"""A node or cluster that goes on running after the command that started it: `stamp broker up` and `down`."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from brokers.errors import NodeFailed
from brokers.node.cluster import Cluster
from brokers.node.process import Process
from brokers.node.single import STOP_SECONDS, Node, greets, new_layout

if TYPE_CHECKING:
    from pathlib import Path

    from brokers.node.server import Layout

_STATE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """What a later command must know about one running node."""

    url: str
    port: int
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What runs in a folder. `urls` is empty when nothing was started there; `running` counts what answers."""

    urls: tuple[str, ...]
    running: int

    @property
    def url(self) -> str:
        """All nodes in one URL, joined by commas."""
        return ",".join(self.urls)


def up(folder: Path, *, size: int = 1) -> str:
    """Start a node (or a cluster of `size`) whose files lie in `folder`, and return its URL.

    It keeps running after this process. What runs there already is left as it is. Raises `NodeFailed`.
    """
    folder = folder.resolve()
    now = status(folder)
    if now.running and now.running == len(now.urls):
        return now.url
    down(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        nodes = _start(folder, size)
    except BaseException:
        _delete(folder)
        raise
    states = [_state(node) for node in nodes]
    (folder / _STATE).write_text(json.dumps([asdict(state) for state in states], indent=2))
    return ",".join(node.url for node in nodes)


def down(folder: Path) -> bool:
    """End what `up` started in `folder` and delete its files; False when nothing was there. Idempotent."""
    folder = folder.resolve()
    states = _load(folder)
    for state in states:
        for process in state.processes:
            process.end(STOP_SECONDS)
    if states:
        _delete(folder)
    return bool(states)


def status(folder: Path) -> Status:
    """What was started in `folder`, and how much of it answers."""
    states = _load(folder.resolve())
    return Status(
        urls=tuple(state.url for state in states),
        running=sum(state.processes[0].alive() and greets(state.port) for state in states),
    )


def _start(folder: Path, size: int) -> list[Node]:
    if size > 1:
        cluster = Cluster(size, folder=folder, owned=False)
        cluster.start()
        return cluster.nodes
    layout: Layout = new_layout(folder / "node0", home=folder / "home")
    node = Node(layout=layout, owned=False)
    node.start()
    return [node]


def _delete(folder: Path) -> None:
    for part in (*folder.glob("node[0-9]*"), folder / "home"):
        shutil.rmtree(part, ignore_errors=True)
    (folder / _STATE).unlink(missing_ok=True)


def _state(node: Node) -> NodeState:
    processes = tuple(process for process in (node.process, node.epmd) if process is not None)
    return NodeState(url=node.url, port=node.layout.port, processes=processes)


def _load(folder: Path) -> list[NodeState]:
    try:
        rows: list[dict[str, Any]] = json.loads((folder / _STATE).read_text())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise NodeFailed(f"{folder / _STATE} is not readable: {error} (fix: delete the folder)") from error
    return [
        NodeState(url=row["url"], port=row["port"], processes=tuple(Process(**item) for item in row["processes"]))
        for row in rows
    ]
