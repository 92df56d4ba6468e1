"""Several private nodes joined to one cluster."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from brokers.errors import NodeFailed
from brokers.node.process import until
from brokers.node.server import free_ports
from brokers.node.single import Node, new_layout

if TYPE_CHECKING:
    from types import TracebackType


class Cluster:
    """`size` nodes on one machine that share a cookie and a port mapper; a context manager like `Node`."""

    def __init__(
        self, size: int = 3, *, folder: Path | None = None, plugins: tuple[str, ...] = (), owned: bool = True
    ) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="rabbitmq-cluster-")) if folder is None else None
        root = folder or self._temporary or Path()
        (epmd_port,) = free_ports(1)
        self.nodes = [
            Node(
                layout=new_layout(root / f"node{n}", home=root / "home", epmd_port=epmd_port),
                plugins=plugins,
                owned=owned,
            )
            for n in range(size)
        ]

    @property
    def urls(self) -> list[str]:
        """The URL of each node; joined by commas they are one URL with failover."""
        return [node.url for node in self.nodes]

    def start(self) -> None:
        """Start all nodes at once and join them to the first. Raises `NodeFailed`, with nothing left running."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        first, *others = self.nodes
        first.start()
        for node in others:
            node.epmd = first.epmd
        with ThreadPoolExecutor(max_workers=len(self.nodes)) as pool:
            list(pool.map(Node.start, others))
        for node in others:
            _join(node, first)
        if not until(lambda: _members(first) == len(self.nodes), 30):
            raise NodeFailed(f"the cluster has {_members(first)} running nodes instead of {len(self.nodes)}")

    def close(self) -> None:
        """Stop every node and delete a temporary folder. Idempotent."""
        with ThreadPoolExecutor(max_workers=len(self.nodes)) as pool:
            list(pool.map(Node.stop, self.nodes))
        for node in reversed(self.nodes):
            node.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _join(node: Node, first: Node) -> None:
    node.ctl("stop_app")
    node.ctl("join_cluster", first.layout.name)
    node.ctl("start_app")


def _members(node: Node) -> int:
    with suppress(NodeFailed):
        return int(node.ctl("eval", "length(rabbit_nodes:all_running()).").strip())
    return 0
