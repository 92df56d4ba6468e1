"""The same commands on a real broker; and that looking changes nothing there."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers.contract import Broker, Delivery, Publication
from brokers.rabbitmq import RabbitBroker
from stamp.layout import JOURNAL
from tests.cli.desk import order
from tests.cli.test_processes import COMMAND, call, environment, serving
from tests.servers import Server

QUEUE = "assignment.NEW_TICKET.assign"
OURS = (QUEUE, "printing.NEW_TICKET.print", "notification.NEW_TICKET.notify")


@pytest.fixture
def url(rabbitmq: Server, folder: Path) -> Iterator[str]:
    """A broker without the queues of the desk, before and after."""
    asyncio.run(_clean(rabbitmq.url))
    yield rabbitmq.url
    asyncio.run(_clean(rabbitmq.url))


async def _clean(url: str) -> None:
    broker = RabbitBroker(url)
    await broker.open()
    held = [f"stamp.held.{name}" for name in ("assignment", "printing", "notification", "stamp-cli")]
    for queue in (*OURS, *held, JOURNAL):
        await broker.delete_queue(queue)
    await broker.close()


async def _all(url: str, count: int) -> list[Delivery]:
    """What is in the queue, as the next consumer would get it."""
    broker = RabbitBroker(url)
    await broker.open()
    try:
        return await _taken(broker, count)
    finally:
        await broker.close()


async def _taken(broker: Broker, count: int) -> list[Delivery]:
    consumer = await broker.consume(QUEUE)
    found: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found.extend(await consumer.receive(count))
    await consumer.ack(found)
    return found


def _start(url: str, count: int) -> list[str]:
    lines = "".join(json.dumps(order(number)) + "\n" for number in range(count))
    done = call("start", "NEW_TICKET", "--app", "app", "--broker", url, input=lines)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.rabbitmq
def test_peek_and_tail_change_nothing_in_the_queue_neither_order_nor_redelivered_nor_delivery_count(url: str) -> None:
    runs = _start(url, 5)
    for words in (("peek", QUEUE, "--app", "app"), ("peek", QUEUE, "-o", "json", "--app", "app")):
        for _ in range(3):
            assert call(*words, "--broker", url).returncode == 0
    tail = call("tail", "--from", "start", "--limit", "5", "-o", "name", "--broker", url)
    assert tail.stdout.split() == runs
    deliveries = asyncio.run(_all(url, 5))
    assert [one.message.correlation_id for one in deliveries] == runs
    assert [(one.redelivered, one.delivery_count) for one in deliveries] == [(False, 0)] * 5


@pytest.mark.rabbitmq
def test_touching_a_queue_does_change_it_which_is_why_it_must_be_asked_for(url: str) -> None:
    _start(url, 3)
    done = call("peek", QUEUE, "--touch", "--broker", url)
    assert done.stderr.endswith("3 waiting\n")
    assert any(one.redelivered for one in asyncio.run(_all(url, 3)))


@pytest.mark.rabbitmq
def test_peek_names_what_waits_by_the_table(url: str) -> None:
    runs = _start(url, 3)
    assert call("peek", QUEUE, "--app", "app", "-o", "name", "--broker", url).stdout.split() == runs


@pytest.mark.rabbitmq
def test_a_tap_sees_what_passes_and_is_gone_afterwards(url: str) -> None:
    asyncio.run(_tap(url))


async def _tap(url: str) -> None:
    """Publish until the tap has seen one: it is declared while we publish."""
    await asyncio.to_thread(_start, url, 1)
    broker = RabbitBroker(url)
    await broker.open()
    (message,) = await _taken(broker, 1)
    words = ("tail", "--tap", "--workflow", "NEW_TICKET", "--limit", "1", "-o", "name", "--broker", url)
    tail = asyncio.create_task(asyncio.to_thread(call, *words))
    async with asyncio.timeout(30):
        while not tail.done():
            await broker.publish(Publication("NEW_TICKET", message.routing_key, message.message))
            await asyncio.sleep(0.1)
    await broker.close()
    done = await tail
    assert (done.returncode, done.stdout.split()) == (0, [message.message.correlation_id])


@pytest.mark.rabbitmq
def test_services_run_as_processes_and_wait_tells_that_the_runs_completed(url: str) -> None:
    with serving(["run", "app", "--broker", url, "--store", "sqlite:///{service}.db"]) as process:
        runs = _start(url, 3)
        done = call("wait", *runs, "--broker", url, "--timeout", "30s")
        assert done.returncode == 0, done.stdout + done.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    traced = json.loads(call("trace", runs[0], "-o", "json", "--broker", url).stdout)
    assert [item.get("step") for item in traced["items"]] == [None, "assign", "print", "notify"]
    listed = json.loads(call("list", "-o", "json", "--broker", url).stdout)
    assert listed["counts"] == {"completed": 3}


@pytest.mark.rabbitmq
def test_what_is_held_is_released_on_a_real_broker(url: str) -> None:
    (run,) = _start(url, 1)
    with serving(["run", "app", "--broker", url], DESK_PHONE_BROKEN="1"):
        assert call("wait", run, "--broker", url, "--timeout", "30s").returncode == 1
    whose = ("--service", "notification", "--broker", url)
    for _ in range(2):
        (group,) = json.loads(call("held", "list", *whose, "-o", "json").stdout)["groups"]
        assert (group["count"], group["step"], group["reason"]) == (1, "notify", "failed")
    released = call("held", "release", *whose, "--yes", "--reason", "it works")
    assert released.returncode == 0, released.stderr
    with serving(["run", "app", "--broker", url]):
        assert call("wait", run, "--broker", url, "--timeout", "30s").returncode == 0


@pytest.mark.rabbitmq
def test_interrupted_is_130(url: str) -> None:
    _start(url, 1)
    command = [*COMMAND, "tail", "--from", "start", "--broker", url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as tail:
        assert tail.stdout is not None
        tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        assert tail.wait(20) == 130


@pytest.mark.rabbitmq
def test_a_private_node_comes_up_tells_its_url_and_goes_down(folder: Path) -> None:
    try:
        up = call("broker", "up", "-o", "name")
        assert up.returncode == 0, up.stderr
        assert call("broker", "up", "-o", "name").stdout == up.stdout
        assert "guest" not in up.stdout
        assert call("broker", "status").returncode == 0
        assert call("list", "--broker", up.stdout.strip()).returncode == 1
        assert call("broker", "status", "-o", "json").returncode == 0
    finally:
        assert call("broker", "down").returncode == 0
    assert call("broker", "down", "--dir", ".stamp/broker").returncode == 0
    assert call("broker", "status").returncode == 1
