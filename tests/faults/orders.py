"""The workflow that the fault tests run: a fork, a join and an end, some runs that are refused, some tries that fail.

        accept -+- pay ------+- settle - ship - file
                +- reserve --+

A quarter of the runs is refused: in a branch, so that the join turns the other, or behind the join.

What a run leaves behind follows from its number alone, so the end state without any fault is known exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Protocol

import msgspec

from stamp import All, Fail, Hop, RetryLater, Service, Step, Workflow, merge

SERVICES = ("shop", "bank", "depot")
Row = tuple[int, str, str]
"""The order's number, the step, and what was done: `place`, `do` or `undo`."""


class Order(msgspec.Struct, kw_only=True):
    """The state of a run."""

    number: int
    seen: Annotated[int, merge("sum")] = 0


class Placed(msgspec.Struct):
    number: int


class Accepted(msgspec.Struct):
    number: int


class Paid(msgspec.Struct):
    number: int


class Reserved(msgspec.Struct):
    number: int


class Settled(msgspec.Struct):
    number: int


class Shipped(msgspec.Struct):
    number: int


class Filed(msgspec.Struct):
    number: int


class Books(Protocol):
    """A service's own tables, in the words of its driver."""

    async def write(self, tx: Any, row: Row) -> None: ...

    async def known(self, tx: Any, row: Row) -> bool: ...


Visit = Callable[[str, str], None]
"""Called inside a handler: with `handler` or `undo`, and `before` or `after`."""


def refused(number: int) -> bool:
    """The depot refuses the order, so that its run goes backward."""
    return number % 4 == 3


def refused_late(number: int) -> bool:
    """It finds out behind the join."""
    return number % 8 == 7


def rejected_once(number: int) -> bool:
    """The bank asks for another try the first time."""
    return number % 5 == 2


def expected(count: int) -> dict[str, Counter[Row]]:
    """The rows of each service after `count` orders, each exactly once."""
    rows: dict[str, Counter[Row]] = {name: Counter() for name in SERVICES}
    for number in range(count):
        for service, step, action in _trail(number):
            rows[service][number, step, action] += 1
    return rows


def _trail(number: int) -> Iterator[tuple[str, str, str]]:
    yield from (("shop", "order", "place"), ("shop", "accept", "do"), ("bank", "pay", "do"))
    if refused(number) and not refused_late(number):
        yield from (("bank", "pay", "undo"), ("shop", "accept", "undo"))
        return
    yield from (("depot", "reserve", "do"), ("bank", "settle", "do"))
    if refused_late(number):
        yield from (("depot", "reserve", "undo"), ("bank", "pay", "undo"), ("shop", "accept", "undo"))
    else:
        yield from (("depot", "ship", "do"), ("shop", "file", "do"))


def outcome(number: int) -> str:
    """The phase in which the run ends."""
    return "compensated" if refused(number) else "completed"


def full_name(name: str, tag: str) -> str:
    """Names carry the play's tag, so that plays on one broker don't meet."""
    return f"{name}-{tag}"


def workflow(tag: str) -> Workflow:
    """The table of one play."""
    shop, bank, depot = (full_name(name, tag) for name in SERVICES)
    retry = "50x 0.1s..0.1s"
    return Workflow(
        full_name("ORDER", tag),
        version=1,
        state=Order,
        start=Placed,
        deadline="2h",
        steps=[
            Step("accept", service=shop, on=Placed, emits=Accepted, undo=True, retry=retry),
            Step("pay", service=bank, on=Accepted, emits=Paid, undo=True, retry=retry),
            Step("reserve", service=depot, on=Accepted, emits=Reserved, undo=True, retry=retry),
            Step("settle", service=bank, on=All(Paid, Reserved), emits=Settled, retry=retry),
            Step("ship", service=depot, on=Settled, emits=Shipped, retry=retry),
            Step("file", service=shop, on=Shipped, emits=Filed, retry=retry),
        ],
    )


def service(name: str, flow: Workflow, tag: str, *, books: Books, visit: Visit, batch: int) -> Service:
    """One service with its handlers."""
    made = Service(full_name(name, tag), batch=batch)
    {"shop": _shop, "bank": _bank, "depot": _depot}[name](made, flow, _Desk(books, visit))
    return made


class _Desk:
    def __init__(self, books: Books, visit: Visit) -> None:
        self._books = books
        self._visit = visit

    async def do(self, hop: Hop[Order], step: str) -> None:
        self._visit("handler", "before")
        await self._books.write(hop.tx, (hop.state.number, step, "do"))
        hop.state.seen += 1
        self._visit("handler", "after")

    async def undo(self, hop: Hop[Order], step: str) -> None:
        self._visit("undo", "before")
        await self._books.write(hop.tx, (hop.state.number, step, "undo"))
        self._visit("undo", "after")


def _shop(made: Service, flow: Workflow, desk: _Desk) -> None:
    @made.step(flow, "accept")
    async def accept(event: Placed, hop: Hop[Order]) -> Accepted:
        await desk.do(hop, "accept")
        return Accepted(event.number)

    @made.undo(flow, "accept")
    async def unaccept(hop: Hop[Order]) -> None:
        await desk.undo(hop, "accept")

    @made.step(flow, "file")
    async def file(event: Shipped, hop: Hop[Order]) -> Filed:
        await desk.do(hop, "file")
        return Filed(event.number)


def _bank(made: Service, flow: Workflow, desk: _Desk) -> None:
    @made.step(flow, "pay")
    async def pay(event: Accepted, hop: Hop[Order]) -> Paid:
        await desk.do(hop, "pay")
        if rejected_once(event.number) and hop.attempt == 1:
            raise RetryLater("the counter is closed", after=0.1)
        return Paid(event.number)

    @made.undo(flow, "pay")
    async def refund(hop: Hop[Order]) -> None:
        await desk.undo(hop, "pay")

    @made.step(flow, "settle")
    async def settle(event: object, hop: Hop[Order]) -> Settled:
        await desk.do(hop, "settle")
        return Settled(hop.state.number)


def _depot(made: Service, flow: Workflow, desk: _Desk) -> None:
    @made.step(flow, "reserve")
    async def reserve(event: Accepted, hop: Hop[Order]) -> Reserved:
        await desk.do(hop, "reserve")
        if refused(event.number) and not refused_late(event.number):
            raise Fail("sold out")
        return Reserved(event.number)

    @made.undo(flow, "reserve")
    async def unreserve(hop: Hop[Order]) -> None:
        await desk.undo(hop, "reserve")

    @made.step(flow, "ship")
    async def ship(event: Settled, hop: Hop[Order]) -> Shipped:
        await desk.do(hop, "ship")
        if refused(event.number):
            raise Fail("broken on the way")
        return Shipped(event.number)
