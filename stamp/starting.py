"""Starting runs: rows of the user and the first message of a run commit together."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from stamp.beginning import begin, plain_state, watched
from stamp.events import RunStarted
from stamp.ids import run_id as new_run_id
from stamp.layout import watch_queue
from stamp.outgoing import publications
from stamp.ports import Transaction
from stamp.runtime import Runtime
from stamp.slim import begun
from stamp.workflow import Workflow


class Starter(Protocol):
    """What can open a local transaction that starts runs: a service."""

    def transaction(self) -> AbstractAsyncContextManager[LocalTransaction]: ...


class LocalTransaction:
    """A store's native transaction with one verb more: `start`. Any other attribute is the native object's."""

    def __init__(self, runtime: Runtime, tx: Transaction) -> None:
        self._runtime = runtime
        self._tx = tx
        self.started: list[Any] = []
        self.events: list[RunStarted] = []

    @property
    def native(self) -> Any:
        """The driver's own object."""
        return self._tx.native

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx.native, name)

    async def start(self, workflow: Workflow, event: object, *, state: object = None, run_id: str | None = None) -> str:
        """Start a run with this transaction; returns its id (a UUIDv7, or the one given).

        The state is a value of the workflow's state type. Raises `OutputInvalid` when a schema refuses it.
        """
        runtime, now = self._runtime, self._runtime.clock.now()
        run = run_id or new_run_id(now, os.urandom(10))
        service = runtime.participant.name
        decision = begin(workflow, event, run=run, state=plain_state(workflow, state), now=now)
        queue = watch_queue(service, workflow.name)
        if any(sentry.queue == queue for sentry in runtime.participant.sentries):
            decision = watched(decision, queue)
        decision = begun(workflow, decision)
        first = publications(decision, workflow, runtime.participant.codec, service=service, now=now, trace={})
        if runtime.keeper is not None:
            first = (await runtime.keeper.settle(self._tx, first)).publications
        await self._tx.emit(first, run=run)
        self.started.extend(first)
        self.events.append(
            RunStarted(service=service, workflow=workflow.name, version=workflow.version, run=run, at=now)
        )
        return run


async def start_run(
    service: Starter, workflow: Workflow, event: object, *, state: object = None, run_id: str | None = None
) -> str:
    """Start one run in a transaction of its own."""
    async with service.transaction() as tx:
        return await tx.start(workflow, event, state=state, run_id=run_id)
