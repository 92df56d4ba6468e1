"""The ticket chain on Celery: `chain(...)` over four tasks, a queue a service, one worker with the solo pool."""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# The library lies in an environment of its own.
from __future__ import annotations

from typing import Any

from celery import Celery, chain, signals
from celery.worker import state as worker_state
from kombu import Exchange, Queue

from benchmarks.peers.watch import Task, Watch, task, tell
from benchmarks.texts import SERVICES, problem

PREFETCH = 128


class Progress:
    """Counts tickets that passed their last task; ends the worker with the last of them."""

    def __init__(self, work: Task) -> None:
        self.sample: dict[str, float] = {}
        self._work = work
        self._ended = 0
        self._watch: Watch | None = None

    def begin(self, **_: object) -> None:
        """The worker is ready."""
        self._watch = Watch(self._work)

    def ended(self) -> None:
        """One more ticket is through."""
        self._ended += 1
        if self._ended == self._work.runs and self._watch is not None:
            self.sample = self._watch.stop()
            worker_state.should_stop = 0


def application(url: str) -> Celery:
    """Confirms awaited, quorum queues, acknowledged after the task, no results."""
    app = Celery("tickets", broker=url)
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        task_queues=[_queue(name) for name in SERVICES],
        task_routes={name: {"queue": f"{name}.CELERY", "routing_key": name} for name in SERVICES},
        task_default_queue=f"{SERVICES[0]}.CELERY",
        broker_transport_options={"confirm_publish": True},
        worker_prefetch_multiplier=PREFETCH,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def _queue(name: str) -> Queue:
    return Queue(
        f"{name}.CELERY", Exchange("CELERY_TICKET"), routing_key=name, queue_arguments={"x-queue-type": "quorum"}
    )


def tasks(app: Celery, progress: Progress) -> list[Any]:
    """A task a service; each hands the ticket to the next through the chain."""
    return [_task(app, name, progress) for name in SERVICES]


def _task(app: Celery, name: str, progress: Progress) -> Any:
    last = name == SERVICES[-1]

    @app.task(name=name)
    def handle(ticket: dict[str, str]) -> dict[str, str]:
        if last:
            progress.ended()
        return ticket

    return handle


def carry(work: Task) -> dict[str, float]:
    """Fill, then run the worker until the last ticket is through."""
    progress = Progress(work)
    app = application(work.url)
    first, *others = tasks(app, progress)
    for number in range(work.runs):
        ticket = {"ticket_id": f"T-{number:06d}", "problem": problem(number)}
        chain(first.s(ticket), *(other.s() for other in others)).apply_async()
    signals.worker_ready.connect(progress.begin, weak=False)
    words = ["worker", "--pool=solo", "--loglevel=CRITICAL", "--without-gossip", "--without-mingle"]
    try:
        app.worker_main(words)
    except SystemExit:
        if not progress.sample:
            raise
    return progress.sample


if __name__ == "__main__":
    tell(carry(task()), "celery", "kombu", "amqp")
