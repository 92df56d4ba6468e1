"""The orders once more, as a workflow that runs another of another style: what it leaves behind is the same."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from orders import mixed
from orders.app import EXAMPLE

from stamp import Orchestrator, Stamped
from tests.examples.killing import kill_at_random
from tests.examples.playing import Demo, account_of, demo, expected_of, expected_rows, found, played
from tests.servers import Server

EXPECTED = expected_of("orders")
OF_THE_OUTER = {"hops", "undone"}
"""What the account counts and names by steps: here the desk has four of its own, and sees the child as one."""
PART = 150


@pytest.fixture(scope="module", params=["memory", "rabbitmq"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Demo, dict[str, Any]]:
    options = ["--style", "mixed"]
    if request.param == "rabbitmq":
        server: Server = request.getfixturevalue("rabbitmq")
        options += ["--replace", "--broker", server.url]
    return played(tmp_path_factory.mktemp("demo"), *options, example="orders")


def test_every_order_is_accounted_for_as_in_any_style(outcome: tuple[Demo, dict[str, Any]]) -> None:
    expected = {name: value for name, value in EXPECTED["account"].items() if name not in OF_THE_OUTER}
    found = account_of(outcome[1], EXPECTED)
    assert {name: found[name] for name in expected} == expected


def test_orders_turn_back_where_the_child_failed_or_behind_it(outcome: tuple[Demo, dict[str, Any]]) -> None:
    undone = outcome[1]["undone"]
    assert undone["ship: the courier does not go to Atlantis"] == 20
    assert sum(times for why, times in undone.items() if why.startswith("prepare: ")) == 80


def test_every_claim_about_the_books_and_the_desks_ledger_holds(outcome: tuple[Demo, dict[str, Any]]) -> None:
    ledger = "the ledger knows of all 1000 runs what became of them"
    assert [(claim["text"], claim["against"]) for claim in outcome[1]["books"]] == [
        (text, []) for text in [*EXPECTED["claims"], ledger]
    ]


def test_the_five_databases_hold_what_is_expected(outcome: tuple[Demo, dict[str, Any]]) -> None:
    assert found(outcome[0], EXPECTED) == expected_rows(EXPECTED)


def test_the_books_are_balanced_when_processes_are_killed(rabbitmq: Server, tmp_path: Path) -> None:
    part = tmp_path / "part.jsonl"
    with EXAMPLE.files[0].open(encoding="utf-8") as file:
        part.write_text("".join(islice(file, PART)), "utf-8")
    seed = Random().randrange(10**6)
    given = ("-o", "json", "--style", "mixed", "--replace", "--input", str(part), "--broker", rabbitmq.url)
    with demo(tmp_path, *given, example="orders") as running:
        running.until_started()
        kills = kill_at_random(running, Random(seed))
        code, out = running.finish()
    told = f"seed {seed}, killed {kills}\n{out}\n{''.join(running.talk)}"
    assert code == 0, told
    account = json.loads(out)
    assert (account["accounted"], account["balanced"]) == (True, True), told
    assert account["completed"] + account["held"] + account["compensated"] == PART, told


def test_a_desk_runs_a_workflow_whose_messages_own_themselves() -> None:
    assert mixed.COMPLETE_ORDER.style == Orchestrator("order-desk")
    assert mixed.COMPLETE_ORDER.step("prepare").runs is mixed.PREPARE_ORDER
    assert mixed.PREPARE_ORDER.style == Stamped()


def test_an_example_with_one_workflow_can_not_be_mixed(tmp_path: Path) -> None:
    with demo(tmp_path, "--style", "mixed") as running:
        code, _ = running.finish()
    assert code == 78
    assert "the example tickets has one workflow, of one style" in "".join(running.talk)
