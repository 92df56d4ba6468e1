"""The shipped orders under every owner of the state, with forks, joins and ways back: what they leave is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.examples.playing import Demo, account_of, expected_of, expected_rows, found, played
from tests.examples.test_orders_demo import databases_on
from tests.servers import Server

EXPECTED = expected_of("orders")

EXCUSED = {"stateless": {"hops", "undone"}}
"""Nobody knows which steps ran: undos are asked of all that may have, and of two failed branches one is told."""


@pytest.fixture(
    scope="module",
    params=["orchestrator memory sqlite", "stateless memory sqlite", "front-controller rabbitmq postgres"],
)
def outcome(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Demo, dict[str, Any]]]:
    style, broker, store = request.param.split()
    folder = tmp_path_factory.mktemp("demo")
    options = ["--style", style]
    if broker == "rabbitmq":
        server: Server = request.getfixturevalue("rabbitmq")
        options += ["--replace", "--broker", server.url]
    if store == "sqlite":
        yield style, *played(folder, *options, example="orders")
        return
    url: str = request.getfixturevalue("postgres")
    with databases_on(url) as databases:
        yield style, *played(folder, *options, "--store", url, example="orders", databases=databases)


def test_every_order_is_accounted_for_in_any_style(outcome: tuple[str, Demo, dict[str, Any]]) -> None:
    style, _, document = outcome
    account = account_of(document, EXPECTED)
    compared = account.keys() - EXCUSED.get(style, set())
    assert {name: account[name] for name in compared} == {name: EXPECTED["account"][name] for name in compared}


def test_every_claim_about_the_books_holds_in_any_style(outcome: tuple[str, Demo, dict[str, Any]]) -> None:
    claims = outcome[2]["books"]
    assert [claim for claim in claims if claim["against"]] == []
    assert {claim["text"] for claim in claims} >= set(EXPECTED["claims"])


def test_the_five_databases_hold_what_is_expected_in_any_style(outcome: tuple[str, Demo, dict[str, Any]]) -> None:
    assert found(outcome[1], EXPECTED) == expected_rows(EXPECTED)
