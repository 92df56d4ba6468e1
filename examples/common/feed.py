"""Reads an example's input from JSON lines and hands it to its first service; a wrong line is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from common.example import Example

TOGETHER = 25
"""Lines that share a transaction: reading a file, nobody waits for the single one."""

LONGEST_LINE = 1_000_000
"""Bytes. What is longer is wrong, and must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that starts nothing."""

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
    runs: dict[str, Any] = field(default_factory=dict)
    """The line that started each run, by the run's id, in order. Messages don't say it in every style."""


def read(path: Path, example: Example) -> Iterator[tuple[str, Any]]:
    """The values of a file (or `Rejected`) with their places, one a line; blank lines are passed over."""
    decoder = msgspec.json.Decoder(example.line)
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file.readline), 1):
            if line.strip():
                place = f"{path.name}:{number}"
                yield place, _parsed(place, line, decoder, example.noun)


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


def _parsed(place: str, line: bytes, decoder: msgspec.json.Decoder[Any], noun: str) -> Any:
    if len(line) == LONGEST_LINE:
        return Rejected(place, f"longer than {LONGEST_LINE} bytes")
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        return Rejected(place, f"not a{'n' * (noun[0] in 'aeiou')} {noun}: {error}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Rejected(place, f"not JSON: {error}")


async def feed(
    example: Example, paths: Iterable[Path], intake: Intake, *, on_rejected: Callable[[Rejected], None]
) -> None:
    """Start a run for every new line of the files, in order. `on_rejected` gets each line that starts nothing."""
    lines = (line for path in paths for line in read(path, example))
    while chunk := list(islice(lines, TOGETHER)):
        intake.lines += len(chunk)
        good = [(place, found) for place, found in chunk if not isinstance(found, Rejected)]
        receipts = await example.receive([value for _, value in good])
        wrong = [found for _, found in chunk if isinstance(found, Rejected)]
        wrong += [
            Rejected(place, f"the id {getattr(value, example.key)} belongs to another {example.noun} already")
            for (place, value), at in zip(good, receipts, strict=True)
            if at.outcome == "conflict"
        ]
        intake.rejected += wrong
        intake.duplicates += sum(receipt.outcome == "duplicate" for receipt in receipts)
        taken = zip(good, receipts, strict=True)
        intake.runs |= {receipt.run: value for (_, value), receipt in taken if receipt.outcome == "started"}
        for rejected in wrong:
            on_rejected(rejected)
