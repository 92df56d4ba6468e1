"""A private node starts anywhere, survives what tests do to it, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brokers.errors import NodeFailed
from brokers.node import Cluster, Node, down, server, status, up
from brokers.node.process import Process, until
from brokers.node.single import greets

pytestmark = pytest.mark.rabbitmq


def gone(process: Process) -> bool:
    return until(lambda: not process.alive(), 10)


def processes_of(node: Node) -> list[Process]:
    return [process for process in (node.process, node.epmd) if process is not None]


def test_a_node_leaves_neither_a_process_nor_a_file() -> None:
    with Node() as node:
        folder, processes = node.layout.folder, processes_of(node)
        assert greets(node.layout.port)
        assert "Starting RabbitMQ" in node.logs
    assert len(processes) == 2
    assert all(gone(process) for process in processes)
    assert not folder.exists()


def test_a_failed_start_shows_the_log_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_CONFIG", "no.such.setting = 1\n")
    node = Node()
    with pytest.raises(NodeFailed, match=r"no\.such\.setting"):
        node.start()
    assert not node.layout.folder.exists()
    assert (node.process, node.epmd) == (None, None)


def test_a_missing_package_is_named_with_the_way_around_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server, "_PACKAGES", tmp_path)
    with pytest.raises(NodeFailed, match=r"rabbitmq-server.*AMQP_URL"):
        server.find_server()


def test_a_node_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from brokers.node import Node; node = Node(); node.start()\n"
        "print(node.layout.folder, node.process.pid, node.process.born, node.epmd.pid, node.epmd.born, flush=True)\n"
        "sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    folder, pid, born, epmd_pid, epmd_born = owner.stdout.readline().split()
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    assert gone(Process(int(pid), born))
    assert gone(Process(int(epmd_pid), epmd_born))
    assert until(lambda: not Path(folder).exists(), 10)


def test_a_node_brought_up_stays_until_it_is_taken_down(tmp_path: Path) -> None:
    command = "import sys, pathlib; from brokers.node import up; print(up(pathlib.Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", command, str(tmp_path)], capture_output=True, text=True, check=True)
    now = status(tmp_path)
    assert (now.url, now.running) == (done.stdout.strip(), 1)
    assert up(tmp_path) == now.url
    assert down(tmp_path)
    assert not down(tmp_path)
    assert status(tmp_path).urls == ()
    assert list(tmp_path.iterdir()) == []


def test_three_nodes_make_a_cluster() -> None:
    with Cluster(3) as cluster:
        processes = [process for node in cluster.nodes for process in processes_of(node)]
        assert len(set(cluster.urls)) == 3
        assert cluster.nodes[2].ctl("eval", "length(rabbit_nodes:all_running()).").strip() == "3"
    assert all(gone(process) for process in processes)
