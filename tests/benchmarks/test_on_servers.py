"""The benchmarks that need servers run, a few tickets long. Nothing here looks at a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from benchmarks import growth, latency, memory
from benchmarks.peers import alternating
from benchmarks.peers.contenders import CONTENDERS, Peer
from benchmarks.peers.environment import last_words
from stamp.ledger import load
from stamp.ports import LedgerRow
from stamp.registry import store_for
from tests.servers import Server

CHAINS = {"bare aio-pika", "stamped", "stamped, sqlite"}


def test_every_ticket_of_every_chain_is_seen_at_its_end(rabbitmq: Server) -> None:
    found = asyncio.run(latency.run(rabbitmq.url, stores=["none", "sqlite"], tickets_a_round=2, rounds=1))
    assert set(found["chains"]) == CHAINS
    assert set(found["ratio_to_stamped"]) == {"stamped, sqlite"}


def test_a_hop_is_carried_at_every_length_of_the_history(rabbitmq: Server) -> None:
    found = asyncio.run(growth.history(rabbitmq.url, runs=5, rounds=1))
    assert [int(length) for length in found["client_to_1"]] == list(growth.LENGTHS)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
@pytest.mark.parametrize("kind", growth.STYLES)
def test_stores_that_remember_are_measured_beside_empty_ones(
    rabbitmq: Server, postgres: str, monkeypatch: pytest.MonkeyPatch, kind: str, store: str
) -> None:
    monkeypatch.setenv("POSTGRES_URL", postgres)
    found = growth.remembered(rabbitmq.url, store=store, style=growth.STYLES[kind], finished_runs=10, runs=5, rounds=1)
    assert set(asyncio.run(found)["chains"]) == {"empty", "full"}


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_the_owner_that_is_measured_finds_the_finished_runs_in_its_ledger(
    rabbitmq: Server, postgres: str, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    found: dict[str, Sequence[LedgerRow]] = {}

    async def looked(contenders: Sequence[Any], *_: Any, **__: Any) -> dict[str, Any]:
        for one in contenders:
            with TemporaryDirectory() as folder:
                opened: Any = store_for(one.place(Path(folder), "desk"))
                await opened.open()
                found[one.name] = await opened.ledger()
                await opened.close()
        raise Looked

    monkeypatch.setenv("POSTGRES_URL", postgres)
    monkeypatch.setattr(growth, "alternating", looked)
    style = growth.STYLES["owner"]
    with pytest.raises(Looked):
        asyncio.run(growth.remembered(rabbitmq.url, store=store, style=style, finished_runs=7, runs=5, rounds=1))
    full = found["full"]
    assert len({row.run for row in full} - {row.run for row in found["empty"]}) == 7
    assert {row.status for row in full} == {"completed"}
    assert [load(row.record).run for row in full] == [row.run for row in full]


class Looked(Exception):  # noqa: N818  it says what is the case
    """What was to be seen was seen; nothing need be measured."""


def test_a_watched_process_tells_its_size_over_its_hops(rabbitmq: Server) -> None:
    found = memory.service(rabbitmq.url, store="sqlite", hops=memory.WAVE, seconds=60)
    assert found["hops"] >= memory.WAVE
    assert found["end_mib"] > 0


def test_ours_run_in_a_process_of_their_own(rabbitmq: Server) -> None:
    found = alternating.run(rabbitmq.url, runs=3, rounds=1, names=["bare aio-pika", "stamped"])
    assert set(found["peers"]) == {"bare aio-pika", "stamped"}
    assert found["missing"] == {}


def test_a_contender_that_ends_badly_is_told_with_the_reason() -> None:
    broken = Peer("broken", "with_nothing", "no", "no", "no", "no")
    with pytest.raises(alternating.Failed, match="No module named"):
        alternating.run_once(broken, "amqp://127.0.0.1:1", 1)


def test_the_reason_names_no_place_of_this_machine() -> None:
    place = "/" + "home/somebody/project"
    assert last_words(f"File {place}/x.py: see https://example.org/a failed") == "File …: see … failed"


def test_the_first_contender_is_the_bare_one() -> None:
    assert CONTENDERS[0].name == "bare aio-pika"
