"""Reads tickets from JSON lines and hands them to the tickets service; a line that is no ticket is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec

from tickets.tickets import receive
from tickets.workflow import TicketSubmitted

TOGETHER = 25
"""Lines that share a transaction: reading a file, nobody waits for the single one."""

LONGEST_LINE = 1_000_000
"""Bytes. What is longer is no ticket, and must not fill the memory."""

_ticket = msgspec.json.Decoder(TicketSubmitted)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is no ticket."""

    place: str
    """`file:line`."""
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(slots=True)
class Intake:
    """What came in so far."""

    lines: int = 0
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    """Ids of the runs that were started, in order."""


def read(path: Path) -> Iterator[tuple[str, TicketSubmitted | Rejected]]:
    """The tickets of a file with their places, one a line; blank lines are passed over."""
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file.readline), 1):
            if line.strip():
                place = f"{path.name}:{number}"
                yield place, _parsed(place, line)


def count(path: Path) -> int:
    """How many lines of a file `read` will give."""
    with path.open("rb") as file:
        return sum(1 for line in _lines(file.readline) if line.strip())


def _lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    while line := readline(LONGEST_LINE):
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith(b"\n"):
            rest = readline(LONGEST_LINE)
        yield line


def _parsed(place: str, line: bytes) -> TicketSubmitted | Rejected:
    if len(line) == LONGEST_LINE:
        return Rejected(place, f"longer than {LONGEST_LINE} bytes")
    try:
        return _ticket.decode(line)
    except msgspec.ValidationError as error:
        return Rejected(place, f"not a ticket: {error}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Rejected(place, f"not JSON: {error}")


async def feed(paths: Iterable[Path], intake: Intake, *, on_rejected: Callable[[Rejected], None]) -> None:
    """Start a run for every new ticket of the files, in order. `on_rejected` gets each line that is none."""
    lines = (line for path in paths for line in read(path))
    while chunk := list(islice(lines, TOGETHER)):
        intake.lines += len(chunk)
        tickets = [(place, found) for place, found in chunk if not isinstance(found, Rejected)]
        receipts = await receive(ticket for _, ticket in tickets)
        wrong = [found for _, found in chunk if isinstance(found, Rejected)]
        wrong += [
            _conflict(place, ticket)
            for (place, ticket), at in zip(tickets, receipts, strict=True)
            if at.outcome == "conflict"
        ]
        intake.rejected += wrong
        intake.duplicates += sum(receipt.outcome == "duplicate" for receipt in receipts)
        intake.runs += [receipt.run for receipt in receipts if receipt.outcome == "started"]
        for rejected in wrong:
            on_rejected(rejected)


def _conflict(place: str, ticket: TicketSubmitted) -> Rejected:
    return Rejected(place, f"the id {ticket.ticket_id} belongs to another ticket already")
