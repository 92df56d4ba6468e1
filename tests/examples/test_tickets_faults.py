"""The example when something dies: a service, the person at the keyboard, the broker that is not there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from brokers.node.process import until
from brokers.registry import broker_for
from tests.examples.playing import EXPECTED, account_of, alive, demo, expected_rows, found
from tests.servers import Server

PART = 30


OUTBOX = "nothing waits in the outbox"
"""Not so soon after a kill: rows that the dead process had sent and not yet deleted stay until its lease runs out."""


def user_rows(answers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the services' own tables say."""
    return {
        service: {claim: rows for claim, rows in claims.items() if claim != OUTBOX}
        for service, claims in answers.items()
    }


def leftovers(url: str) -> list[str]:
    """Queues of the example that the broker still has."""
    from common.play import existing
    from tickets.app import EXAMPLE

    async def ask() -> list[str]:
        broker = broker_for(url)
        await broker.open()
        try:
            return [
                name
                for name in await existing(EXAMPLE, broker)
                if "NEW_TICKET" in name or name.startswith("stamp.held.")
            ]
        finally:
            await broker.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("service", ["tickets", "assignment"])
def test_a_service_that_is_killed_half_way_changes_nothing_in_the_end(
    rabbitmq: Server, tmp_path: Path, service: str
) -> None:
    with demo(tmp_path, "-o", "json", "--broker", rabbitmq.url, "--replace") as running:
        running.until_started()
        running.until(lambda: running.count("assignment", "assignment") >= PART)
        os.kill(running.pid_of(service), signal.SIGKILL)
        code, out = running.finish()
    assert code == 0, "".join(running.talk)
    assert any(f"{service} ended (SIGKILL); starting it again" in line for line in running.talk)
    assert account_of(json.loads(out)) == EXPECTED["account"]
    assert user_rows(found(running)) == user_rows(expected_rows())


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process_no_queue_and_no_folder(
    rabbitmq: Server, tmp_path: Path, sent: signal.Signals
) -> None:
    with demo(tmp_path, "--broker", rabbitmq.url, "--replace") as running:
        running.until_started()
        running.until(lambda: running.count("assignment", "assignment") >= PART)
        running.process.send_signal(sent)
        code, _ = running.finish()
    pids = [running.pid_of(service) for service in EXPECTED["databases"]]
    assert code == 130, "".join(running.talk)
    assert [pid for pid in pids if alive(pid)] == []
    assert leftovers(rabbitmq.url) == []
    assert list(running.temporary.iterdir()) == []


def test_services_end_when_the_demo_is_killed(rabbitmq: Server, tmp_path: Path) -> None:
    with demo(tmp_path, "--broker", rabbitmq.url, "--replace") as running:
        running.until_started()
        pids = [running.pid_of(service) for service in EXPECTED["databases"]]
        running.process.kill()
        running.process.wait()
    assert until(lambda: not any(alive(pid) for pid in pids), 30)


def test_two_demos_do_not_share_queues(rabbitmq: Server, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with demo(tmp_path, "--broker", rabbitmq.url, "--replace") as first:
        first.until_started()
        with demo(tmp_path / "second", "--broker", rabbitmq.url) as second:
            code, _ = second.finish()
    assert code == 1
    assert any("the broker has queues of the demo already" in line for line in second.talk)


def test_a_broker_out_of_reach_is_named_without_its_password(tmp_path: Path) -> None:
    with demo(tmp_path, "--broker", "amqp://me:secret@127.0.0.1:1/") as running:
        code, out = running.finish()
    talk = "".join(running.talk)
    assert (code, out) == (69, "")
    assert "error[E040]: no connection to amqp://me:***@127.0.0.1:1/" in talk
    assert "secret" not in talk
