"""The shipped tickets under every owner of the state: the same account, the same rows, and a complete ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stamp.resources import examples
from tests.examples.playing import EXPECTED, Demo, account_of, demo, expected_rows, found, played
from tests.examples.test_tickets_faults import user_rows
from tests.servers import Server

OWNERS = {"front-controller": "tickets", "orchestrator": "ticket-desk"}
LEDGER = "SELECT status, count(*) FROM stamp_ledger GROUP BY status ORDER BY status"
COMPLETE = [["compensated", 2], ["completed", 500], ["held", 1]]
MOMENTS = (30, 120, 220, 350)
"""When so many tickets are assigned, the owner is killed; the demo starts a service again five times."""


@pytest.fixture(
    scope="module",
    params=["memory front-controller", "memory orchestrator", "rabbitmq stateless"],
)
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Demo, dict[str, Any]]:
    broker, style = request.param.split()
    options = ["--style", style]
    if broker == "rabbitmq":
        server: Server = request.getfixturevalue("rabbitmq")
        options += ["--replace", "--broker", server.url]
    return played(tmp_path_factory.mktemp("demo"), *options)


def test_every_run_is_accounted_for_in_any_style(outcome: tuple[Demo, dict[str, Any]]) -> None:
    assert account_of(outcome[1]) == EXPECTED["account"]
    assert [claim for claim in outcome[1]["books"] if claim["against"]] == []


def test_the_four_databases_hold_what_is_expected_in_any_style(outcome: tuple[Demo, dict[str, Any]]) -> None:
    assert found(outcome[0]) == expected_rows()


@pytest.mark.parametrize("style", OWNERS)
def test_an_owner_that_is_killed_again_and_again_has_a_complete_ledger_in_the_end(
    rabbitmq: Server, tmp_path: Path, style: str
) -> None:
    owner = OWNERS[style]
    with demo(tmp_path, "-o", "json", "--style", style, "--broker", rabbitmq.url, "--replace") as running:
        running.until_started()
        for number, moment in enumerate(MOMENTS, 1):
            running.until(lambda rows=moment: running.count("assignment", "assignment") >= rows)  # type: ignore[misc]
            os.kill(running.pid_of(owner), signal.SIGKILL)
            running.until(lambda times=number: _starts(running, owner) > times)  # type: ignore[misc]
        code, out = running.finish()
    _is_complete(running, owner, code, out)


def test_two_processes_of_an_owner_share_its_work_and_one_may_die(rabbitmq: Server, tmp_path: Path) -> None:
    style, owner = "front-controller", "tickets"
    with demo(tmp_path, "-o", "json", "--style", style, "--broker", rabbitmq.url, "--replace") as running:
        running.until_started()
        with second(running, owner, style, rabbitmq.url) as process:
            running.until(lambda: running.count("assignment", "assignment") >= MOMENTS[1])
            os.kill(running.pid_of(owner), signal.SIGKILL)
            running.until(lambda: running.count("assignment", "assignment") >= MOMENTS[2])
            process.kill()
            code, out = running.finish()
    _is_complete(running, owner, code, out)


@contextmanager
def second(running: Demo, owner: str, style: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """One more process of a service, on the same broker and database; it consumes when the block begins."""
    store = running.databases.template
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "common.serve", "tickets", owner],
        env={
            **os.environ,
            "PYTHONPATH": str(examples()),
            "STAMP_BROKER": url,
            "STAMP_STORE": store,
            "STAMP_EXAMPLE_STYLE": style,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _starts(running: Demo, service: str) -> int:
    return sum(f"{service} runs as process" in line for line in running.talk)


def _is_complete(running: Demo, owner: str, code: int, out: str) -> None:
    told = f"{out}\n{''.join(running.talk)}"
    assert code == 0, told
    account = json.loads(out)
    assert account_of(account) == EXPECTED["account"], told
    assert [claim for claim in account["books"] if claim["against"]] == []
    assert running.ask(owner, LEDGER) == COMPLETE
    assert user_rows(found(running)) == user_rows(expected_rows())
