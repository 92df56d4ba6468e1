"""What grows with time, and whether a hop notices: a run's history, the rows of finished runs."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import chain, codec, finished, machine, tickets
from benchmarks.chain import Timer, timed
from benchmarks.measure import listener, ratio, rows, written_kib
from benchmarks.progress import say
from benchmarks.stamped import BURST, StampedChain
from brokers.contract import Publication
from stamp import FrontController, Hop, Service
from stamp.codec import Codec
from stamp.ids import run_id
from stamp.layout import work_queue
from stamp.runtime import Runtime
from stamp.style import Style

LENGTHS = (1, 8, 31, 32, 33, 40)
"""Hops that a run has behind it: few, the dearest history that does not fold, three that do."""

STYLES: dict[str, Style] = {"inbox": tickets.STAMPED, "owner": FrontController("desk")}
"""Who keeps the runs whose rows are piled up, by the part of the benchmark."""

Contender = Any
"""Something with a `name` and a `round`, as `benchmarks.chain` has it."""


class HopAt:
    """One hop of a long line of steps, on RabbitMQ and signed, at one place of its history."""

    def __init__(self, url: str, length: int) -> None:
        self.name = str(length)
        self._url = url
        self._length = length
        self._line = tickets.line(max(LENGTHS) + 2)
        self._waiting: list[Publication] = []

    async def round(self, runs: int, timer: Timer) -> dict[str, float]:
        """Put `runs` messages into the queue of the step, then time how long the service takes for them."""
        tally = tickets.Tally()
        async with self._service(tally).open(broker=self._url, journal=False, consume=False) as runtime:
            await self._fill(runtime, runs)
            try:
                return await timer(_carried(runtime, tally, runs))
            finally:
                following = self._line.step(f"step-{self._length + 1}")
                await runtime.broker.delete_queue(work_queue(self._line.name, following))

    def _service(self, tally: tickets.Tally) -> Service:
        service = Service("tickets", keys=codec.keys())
        emitted: Any = self._line.step(f"step-{self._length}").emits[0]

        @service.step(self._line, f"step-{self._length}")
        async def handle(event: Any, hop: Hop[tickets.Ticket]) -> object:
            hop.state.expert = service.name
            hop.state.hops += 1
            tally.ended += 1
            return emitted(event.ticket_id, event.problem)

        return service

    async def _fill(self, runtime: Runtime, runs: int) -> None:
        self._waiting = self._waiting[:runs] or [self._gone() for _ in range(runs)]
        self._waiting += [self._gone() for _ in range(runs - len(self._waiting))]
        for place in range(0, runs, BURST):
            if any(await runtime.broker.publish_all(self._waiting[place : place + BURST])):
                raise RuntimeError("the messages did not get through")

    def _gone(self) -> Publication:
        now = time.time()
        return codec.gone(self._line, Codec(keys=codec.keys()), self._length, run=run_id(now, os.urandom(10)), now=now)


async def _carried(runtime: Runtime, tally: tickets.Tally, runs: int) -> None:
    await runtime.start_consuming()
    while tally.ended < runs or runtime.busy:  # noqa: ASYNC110  it has no event for this
        await asyncio.sleep(0.001)


async def alternating(
    contenders: Sequence[Contender], timer: Timer, *, runs: int, rounds: int, what: str
) -> dict[str, Any]:
    """A short round of each to warm up, then `rounds` in turn, there and back: a row a figure for each name."""
    samples: dict[str, list[dict[str, float]]] = {one.name: [] for one in contenders}
    for one in contenders:
        await one.round(max(1, runs // 5), timer)
    for turn in range(rounds):
        say(f"{what}: round {turn + 1} of {rounds}")
        # A B, B A, …: whoever always came second would measure what the first one left to do.
        for one in contenders if turn % 2 == 0 else reversed(contenders):
            samples[one.name].append(await one.round(runs, timer))
    return {name: rows(taken) for name, taken in samples.items()}


async def history(url: str, *, runs: int, rounds: int) -> dict[str, Any]:
    """One hop on RabbitMQ at different lengths of its history, no store."""
    timer = timed(listener(urlsplit(url).port or 5672), runs)
    found = await alternating(
        [HopAt(url, length) for length in LENGTHS], timer, runs=runs, rounds=rounds, what="growth, history"
    )
    one = _cost(found["1"])
    return {
        **machine.now(rabbitmq=await chain.server_version(url)),
        "rounds": rounds,
        "hops_per_round": runs,
        "hops": found,
        "client_to_1": {length: ratio(figures, found["1"], "client_us") for length, figures in found.items()},
        "cost_to_1": {length: round(_cost(figures) / one, 2) for length, figures in found.items()},
    }


def _cost(figures: dict[str, Any]) -> float:
    """Processor time of one hop, client and broker together."""
    return float(figures["client_us"]["median"] + figures["broker_us"]["median"])


async def remembered(
    url: str, *, store: str, finished_runs: int, runs: int, rounds: int, style: Style = tickets.STAMPED
) -> dict[str, Any]:
    """The chain over inboxes that remember many finished runs, as does its owner's ledger, and over empty ones."""
    hops = runs * len(tickets.SERVICES)
    timer = _with_writes(timed(listener(urlsplit(url).port or 5672), hops), hops, *_written_by(store))
    empty = StampedChain(url, "empty", journal=False, store=chain.store_url(store), style=style)
    say(f"growth, {style.name}: writing {finished_runs:,} runs to {store}")
    async with _remembering(store, empty.consumers, finished_runs) as place:
        if style.owner is not None:
            await _with_ledger(store, place(Path(), style.owner), await _noted(url, style, timer), finished_runs)
        full = StampedChain(url, "full", journal=False, store=place, style=style)
        what = f"growth, {style.name} on {store}"
        found = await alternating([empty, full], timer, runs=runs, rounds=rounds, what=what)
    return {
        **machine.now(rabbitmq=await chain.server_version(url), fsync_us=machine.fsync_us()),
        "rounds": rounds,
        "runs_per_round": runs,
        "finished_runs": finished_runs,
        "chains": found,
        "ratio_full_to_empty": ratio(found["full"], found["empty"], "hops_s"),
        "cpu_ratio_full_to_empty": round(_cost(found["empty"]) / _cost(found["full"]), 2),
    }


async def _noted(url: str, style: Style, timer: Timer) -> finished.LedgerValues:
    """The row of a run that its owner has seen through to its end."""
    with tempfile.TemporaryDirectory() as folder:
        one = StampedChain(
            url, "one", journal=False, store=lambda _, service: f"sqlite:///{folder}/{service}.db", style=style
        )
        await one.round(1, timer)
        return finished.ledger_row(Path(folder, f"{style.owner}.db"))


async def _with_ledger(store: str, place: str, row: finished.LedgerValues, finished_runs: int) -> None:
    if store == "postgres":
        await finished.postgres_ledger(place, row, finished_runs)
    else:
        await finished.sqlite_ledger(Path(place.removeprefix("sqlite:///")), row, finished_runs)


Written = Callable[[], Awaitable[float]]
"""KiB so far."""


def _with_writes(timer: Timer, hops: int, figure: str, written: Written) -> Timer:
    """What the rows of a hop give the disk to write, in KiB, beside the rest."""

    async def watched(work: Awaitable[None]) -> dict[str, float]:
        before = await written()
        sample = await timer(work)
        return {**sample, figure: (await written() - before) / hops}

    return watched


def _written_by(store: str) -> tuple[str, Written]:
    """SQLite writes in this process; a server keeps the books of its log."""
    if store == "postgres":
        return "wal_kib", lambda: finished.wal_kib(os.environ["POSTGRES_URL"])

    async def own() -> float:
        return written_kib()

    return "written_kib", own


@asynccontextmanager
async def _remembering(
    store: str, consumers: dict[str, str], finished_runs: int
) -> AsyncIterator[Callable[[Path, str], str]]:
    if store == "postgres":
        target = await finished.postgres(os.environ["POSTGRES_URL"], "finished", consumers, finished_runs)
        yield lambda _folder, _service: target
        return
    with tempfile.TemporaryDirectory() as folder:
        await finished.sqlite(Path(folder), consumers, finished_runs)
        yield lambda _folder, service: f"sqlite:///{folder}/{service}.db"
