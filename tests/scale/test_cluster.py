"""A cluster of three nodes: what leads is spread, and the death of a node that leads costs nothing but a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers.node import Cluster, Node
from brokers.rabbitmq import RabbitBroker
from tests.faults.account import Account, work_queues
from tests.faults.play import SQLITE, Play, everywhere, playing
from tests.faults.trouble import under_load

COUNT = 400
WHO_LEADS = (
    "lists:foreach(fun(Q) -> {resource, _, queue, N} = amqqueue:get_name(Q), {_, Node} = amqqueue:get_pid(Q), "
    'io:format("~s ~s~n", [N, Node]) end, '
    "[Q || Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_quorum_queue])."
)


@pytest.fixture
def rabbitmq_cluster() -> Iterator[Cluster]:
    """Three nodes of this test alone."""
    with Cluster(3) as cluster:
        yield cluster


def leaders(node: Node) -> dict[str, str]:
    """The node that leads each quorum queue, by the queue's name, as this node knows it."""
    lines = (line.split() for line in node.ctl("eval", WHO_LEADS).splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}


async def connected_to(url: str) -> set[int]:
    """The ports that the two connections of one broker object reach."""
    broker = RabbitBroker(url)
    await broker.open()
    try:
        ports = set()
        for link in (broker._out, broker._in):
            connection = await link.connection()
            transport = connection.transport
            assert transport is not None
            ports.add(int(transport.connection.url.port or 0))
        return ports
    finally:
        await broker.close()


def test_a_node_that_leads_queues_dies_under_load_and_nothing_is_lost_or_doubled(
    rabbitmq_cluster: Cluster, tmp_path: Path
) -> None:
    nodes = rabbitmq_cluster.nodes
    url = ",".join(rabbitmq_cluster.urls)
    assert len(asyncio.run(connected_to(url))) == 2, "publishing and consuming begin at different nodes"
    seen: list[str] = []
    shares: list[float] = []

    async def killed(play: Play) -> None:
        led = await asyncio.to_thread(leaders, nodes[0])
        work = [led[queue] for queue in work_queues(play.tag)]
        seen.extend(work)
        victim = next(node for node in nodes if node.layout.name == max(work, key=work.count))
        await asyncio.to_thread(victim.flush)
        shares.append(await play.done())
        await asyncio.to_thread(victim.kill)
        await play.complete()
        # Only to end sooner: RabbitMQ waits five seconds for each queue that is deleted while a member is away.
        await asyncio.to_thread(victim.start)

    scene = playing(broker=url, stores=everywhere(SQLITE), folder=tmp_path, count=COUNT)
    account, _ = asyncio.run(under_load(scene, killed))
    assert account == Account.sound(COUNT)
    assert shares[0] < 1, "the node died with orders under way"
    assert len(set(seen)) > 1, f"the queues are led by more than one node: {seen}"
