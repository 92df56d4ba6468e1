"""The benchmarks that need servers run, a few tickets long. Nothing here looks at a clock."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import growth, latency, memory
from benchmarks.peers import alternating
from benchmarks.peers.contenders import CONTENDERS, Peer
from benchmarks.peers.environment import last_words
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
