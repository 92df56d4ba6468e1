"""When a bench is at rest: what still works, what waits for time, and when time may move.

Nothing here sleeps and hopes. Work that needs no time (a handler, a database in its thread, a message in hand) is
waited for; only when there is none left does the clock jump to the next moment at which something is due.
Services look into their outboxes every second for ever: such looks fire when time moves past them, but time does not
move because of them, unless there is a row to send. Timers (a join's timeout, a run's deadline) are the same: `advance`
makes them fire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from brokers.memory import MemoryBroker
from stamp.codec import is_timer
from stamp.errors import StoreUnavailable
from stamp.layout import DELAY
from stamp.runtime import Runtime
from stamp.testing.clock import Timer, VirtualClock
from stamp.testing.faults import Faults

CALM = 4
"""Turns of the event loop without work that count as rest: whoever was woken has looked by then."""

SPINS = 32
BREATH = 0.0005
"""Real seconds left to threads after so many turns of the loop."""


class NotSettled(AssertionError):  # noqa: N818  it says what is the case
    """For `patience` real seconds nothing was sent or settled, and yet something moves; says what."""


@dataclass(slots=True, kw_only=True)
class Settling:
    """Brings a bench to rest."""

    runtimes: Callable[[], Iterable[Runtime]]
    broker: MemoryBroker
    clock: VirtualClock
    faults: Faults
    journal: Callable[[], int]
    """Reads the journal on; how many records there were so far."""
    patience: float

    async def settle(self) -> None:
        """Until nothing moves: delays, retries and waits for a store or broker run out by jumps of the clock."""
        watch = self._watch()
        while (waiting := await self._rest(watch)).urgent:
            moment = self._next_moment(waiting)
            if moment is None:
                raise NotSettled(f"nothing will ever move again, and yet: {waiting}")
            self.clock.jump(moment)

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, with everything that happens in them, at its time."""
        watch = self._watch()
        goal = self.clock.now() + seconds
        while waiting := await self._rest(watch):
            moment = self._next_moment(waiting)
            if moment is None or moment > goal:
                break
            self.clock.jump(moment)
        self.clock.jump(goal)
        await self._rest(watch)

    def _watch(self) -> Watch:
        return Watch(asyncio.get_running_loop().time, self._progress, self.patience)

    def _progress(self) -> object:
        return (self.journal(), tuple(self.broker.queues.values()))

    async def _rest(self, watch: Watch) -> Waiting:
        """Wait until only time can move anything; what waits for it."""
        while True:
            await self._calm(watch)
            waiting = Waiting(
                naps=self._naps(),
                delayed=self._delayed(timers=False),
                rows=await self._outboxes(),
                timers=self._delayed(timers=True),
            )
            watch.check(waiting.words)
            if not self._moves() and not self._relays_awake(waiting.rows):
                return waiting
            await asyncio.sleep(BREATH)

    async def _calm(self, watch: Watch) -> None:
        calm = turn = 0
        while calm < CALM:
            self._raise_dead()
            turn += 1
            calm = 0 if self._moves() else calm + 1
            if turn % SPINS:
                await asyncio.sleep(0)
            else:
                watch.check(self.working)
                await asyncio.sleep(BREATH)

    def working(self) -> list[str]:
        """What moves without any help of the clock, in words."""
        return [self._working(runtime) for runtime in self.runtimes() if self._moving(runtime)]

    def _moves(self) -> bool:
        """Whether anything does: asked at every turn of the loop, so it takes the short way to a yes."""
        return any(self._moving(runtime) for runtime in self.runtimes())

    def _moving(self, runtime: Runtime) -> bool:
        asleep = len(self._asleep(runtime))
        return runtime.busy != asleep or (not asleep and self._in_hand(runtime) > 0)

    def _in_hand(self, runtime: Runtime) -> int:
        queues = self.broker.queues
        return sum(queues[name].unacked for name in runtime.queues if name in queues)

    def _working(self, runtime: Runtime) -> str:
        name = runtime.participant.name
        running = "".join(f", {label} runs" for service, label in self.faults.running if service == name)
        return f"service {name!r} has {self._in_hand(runtime)} messages in hand{running}"

    def _asleep(self, runtime: Runtime) -> list[Timer]:
        """The waits of those who carry messages: they wait for a store or a broker that is away."""
        name = runtime.participant.name
        return [timer for timer in self.clock.pending() if timer.owner == name and timer.sleeper != runtime.relaying]

    def _naps(self) -> list[str]:
        return [
            f"service {runtime.participant.name!r} waits for its store or broker"
            for runtime in self.runtimes()
            if self._asleep(runtime)
        ]

    def _delayed(self, *, timers: bool) -> list[str]:
        """The queues of the delay ladder where timers wait, or anything else."""
        what = "timers" if timers else "messages"
        names = [name for name, counts in self.broker.queues.items() if name.startswith(DELAY) and any(counts)]
        counts = {name: self._count(name, timers=timers) for name in names}
        return [f"{count} {what} wait in {name}" for name, count in counts.items() if count]

    def _count(self, queue: str, *, timers: bool) -> int:
        return sum(is_timer(waiting.message) == timers for waiting in self.broker.node.queue(queue).ready)

    async def _outboxes(self) -> dict[str, str]:
        found = {runtime.participant.name: await self._outbox(runtime) for runtime in self.runtimes()}
        return {name: words for name, words in found.items() if words}

    async def _outbox(self, runtime: Runtime) -> str:
        name = runtime.participant.name
        try:
            async with asyncio.timeout(self.patience):
                await runtime.store.flush()
                rows = await runtime.store.backlog()
        except StoreUnavailable as error:
            return f"the store of {name!r} is out of reach: {error}"
        except TimeoutError:
            raise NotSettled(f"the store of {name!r} does not answer: is a transaction still open?") from None
        return f"{rows} rows wait in the outbox of {name!r}" if rows else ""

    def _relays_awake(self, names: Container[str]) -> bool:
        """Whether a relay is at it that has something to send, or something else to look after."""
        sleepers = [timer.sleeper for timer in self.clock.pending()]
        busy = [one for one in self.runtimes() if one.participant.name in names or one.relay.chore is not None]
        return any(runtime.relaying not in sleepers for runtime in busy)

    def _next_moment(self, waiting: Waiting) -> float | None:
        """When something is due that may change what waits. A look into an empty outbox changes nothing."""
        relays = [runtime.relaying for runtime in self.runtimes()]
        useful = [timer.due for timer in self.clock.pending() if waiting.rows or timer.sleeper not in relays]
        return min(useful, default=None)

    def _raise_dead(self) -> None:
        for runtime in self.runtimes():
            for worker in runtime.crew.workers:
                if worker.done():
                    worker.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits for time to pass, in words. False when nothing does."""

    naps: Sequence[str]
    delayed: Sequence[str]
    rows: Mapping[str, str]
    timers: Sequence[str] = ()
    """Deadlines and the like: they fire when time moves past them, but time does not move because of them."""

    @property
    def urgent(self) -> bool:
        """Whether something waits that a run needs to go on."""
        return bool(self.naps or self.delayed or self.rows)

    def words(self) -> list[str]:
        """All of it."""
        return [*self.naps, *self.delayed, *self.rows.values(), *self.timers]

    def __bool__(self) -> bool:
        return bool(self.words())

    def __str__(self) -> str:
        return "; ".join(self.words())


@dataclass(slots=True)
class Watch:
    """Gives up when nothing came of it for too long, by the real clock."""

    time: Callable[[], float]
    progress: Callable[[], object]
    patience: float
    _seen: object = None
    _since: float = 0.0

    def check(self, moving: Callable[[], Sequence[str]]) -> None:
        """Raises `NotSettled` that names what still moves."""
        seen = self.progress()
        if seen != self._seen:
            self._seen, self._since = seen, self.time()
        elif self.time() - self._since > self.patience:
            raise NotSettled(f"nothing was sent or settled for {self.patience:g} s: {'; '.join(moving())}")
