"""The ticket chain on dramatiq: `pipeline([...])` over four actors, a queue a service, one worker."""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# The library lies in an environment of its own.
from __future__ import annotations

import logging
import threading
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from benchmarks.peers.watch import Task, Watch, task, tell
from benchmarks.texts import SERVICES, problem


class Progress:
    """Counts tickets that passed their last actor, from several threads."""

    def __init__(self, runs: int) -> None:
        self.done = threading.Event()
        self._left = runs
        self._lock = threading.Lock()

    def ended(self) -> None:
        """One more ticket is through."""
        with self._lock:
            self._left -= 1
            if not self._left:
                self.done.set()


def _actor(name: str, progress: Progress) -> Any:
    """A service; it hands the ticket to the next through the pipeline."""
    last = name == SERVICES[-1]

    @dramatiq.actor(actor_name=name, queue_name=f"{name}.DRAMATIQ")
    def handle(ticket: dict[str, str]) -> dict[str, str]:
        if last:
            progress.ended()
        return ticket

    return handle


def carry(work: Task) -> dict[str, float]:
    """Fill, then start a worker and wait for the last ticket."""
    broker = RabbitmqBroker(url=work.url, confirm_delivery=True)
    dramatiq.set_broker(broker)
    progress = Progress(work.runs)
    first, *others = [_actor(name, progress) for name in SERVICES]
    for number in range(work.runs):
        ticket = {"ticket_id": f"T-{number:06d}", "problem": problem(number)}
        dramatiq.pipeline([first.message(ticket), *(other.message() for other in others)]).run()
    worker = dramatiq.Worker(broker)
    watch = Watch(work)
    worker.start()
    progress.done.wait()
    sample = watch.stop()
    worker.stop()
    broker.close()
    return sample


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    tell(carry(task()), "dramatiq", "pika")
