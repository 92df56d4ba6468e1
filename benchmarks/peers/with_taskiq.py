"""The ticket chain on taskiq: a broker and a task a service, each task kicks the next one."""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# The library lies in an environment of its own.
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from taskiq.api import run_receiver_task
from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.exchange import Exchange
from taskiq_aio_pika.queue import Queue, QueueType

from benchmarks.peers.watch import Task, Watch, task, tell
from benchmarks.texts import SERVICES, problem

PREFETCH = 128


def broker(url: str, service: str) -> AioPikaBroker:
    """A service's broker: its queue is a quorum queue; tasks are acknowledged when they have run."""
    return AioPikaBroker(
        url,
        qos=PREFETCH,
        exchange=Exchange(name="TASKIQ_TICKET"),
        task_queues=[Queue(name=f"{service}.TASKIQ", type=QueueType.QUORUM)],
        dead_letter_queue=Queue(name=f"{service}.TASKIQ.dead", type=QueueType.CLASSIC),
    )


def chain(url: str, ended: Callable[[], None]) -> tuple[list[AioPikaBroker], Any]:
    """The brokers of the four services, and the task that begins."""
    brokers = [broker(url, service) for service in SERVICES]
    following: Any = None
    for place in reversed(range(len(SERVICES))):
        following = _task(brokers[place], SERVICES[place], following, ended)
    return brokers, following


def _task(own: AioPikaBroker, name: str, following: Any, ended: Callable[[], None]) -> Any:
    @own.task(task_name=name)
    async def handle(ticket_id: str, text: str) -> None:
        if following is None:
            ended()
        else:
            await following.kiq(ticket_id, text)

    return handle


async def carry(work: Task) -> dict[str, float]:
    """Fill as a client, then start a receiver a service and wait for the last ticket."""
    counted = asyncio.Semaphore(0)
    await _fill(work)
    brokers, _ = chain(work.url, counted.release)
    for own in brokers:
        own.is_worker_process = True
        await own.startup()
    watch = Watch(work)
    receivers = [asyncio.create_task(run_receiver_task(own)) for own in brokers]
    for _ in range(work.runs):
        await counted.acquire()
    sample = watch.stop()
    for receiver in receivers:
        receiver.cancel()
    await asyncio.gather(*receivers, return_exceptions=True)
    for own in brokers:
        await own.shutdown()
    return sample


async def _fill(work: Task) -> None:
    brokers, first = chain(work.url, lambda: None)
    for own in brokers:
        await own.startup()
    await asyncio.gather(*(first.kiq(f"T-{number:06d}", problem(number)) for number in range(work.runs)))
    for own in brokers:
        await own.shutdown()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    tell(asyncio.run(carry(task())), "taskiq", "taskiq-aio-pika", "aio-pika")
