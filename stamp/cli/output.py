"""What commands print: data to stdout as table, JSON, JSON lines or names; talk to stderr."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TextIO

import click
import msgspec

from stamp.reading.text import json_text, masked, safe

Format = Literal["table", "json", "jsonl", "name"]
FORMATS: tuple[str, ...] = ("table", "json", "jsonl", "name")
DOCUMENT_VERSION = 1

SYMBOLS: Mapping[str, tuple[str, str]] = {
    "running": ("→", "36"),
    "started": ("→", "36"),
    "waiting": ("…", "36"),
    "delayed": ("…", "33"),
    "retrying": ("↻", "33"),
    "retry": ("↻", "33"),
    "overdue": ("!", "31"),
    "compensating": ("←", "33"),
    "completed": ("✓", "32"),
    "ok": ("✓", "32"),
    "valid": ("✓", "32"),
    "released": ("▶", "36"),
    "compensated": ("↶", "33"),
    "undone": ("↶", "33"),
    "skipped": ("-", "33"),
    "timeout": ("!", "31"),
    "failed": ("✗", "31"),
    "invalid": ("✗", "31"),
    "held": ("‖", "31"),
}
"""Each status word with its symbol and colour: never the colour alone."""

_BOLD = "1"
_DIM = "2"


class Styled(msgspec.Struct, frozen=True):
    """A cell with a colour; its text is escaped like any other."""

    text: str
    colour: str


def status(word: str) -> Styled:
    """A status as symbol and word."""
    symbol, colour = SYMBOLS.get(word, ("?", "0"))
    return Styled(f"{symbol} {word}", colour)


def dim(text: str) -> Styled:
    """A cell of lesser weight."""
    return Styled(text, _DIM)


def coloured(stream: TextIO) -> bool:
    """Whether colours belong on this stream: NO_COLOR, then FORCE_COLOR, then whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    forced = os.environ.get("FORCE_COLOR")
    return forced not in {"0", "false"} if forced else stream.isatty()


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, indent: int = 0) -> None:
    """Columns without borders. Cut to the width of a terminal, never when piped; all text is made safe."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([_width(header), *(_width(row[n].text) for row in cells)]) for n, header in enumerate(headers)]
    heading = [Styled(header, _BOLD) for header in headers]
    for row in [heading, *cells] if any(headers) else cells:
        line(row, widths, indent=indent)


def line(row: Sequence[object], widths: Sequence[int], *, indent: int = 0) -> None:
    """One row of a table; streams print rows one by one with widths that were chosen before."""
    room = _columns() - indent if sys.stdout.isatty() else sys.maxsize
    shown = []
    cells = [_cell(value) for value in row]
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        last = number == len(cells) - 1
        text = _cut(cell.text, room)
        room -= max(_width(text), width) + 2
        padding = "" if last else " " * (width - _width(text) + 2)
        shown.append(_painted(text, cell.colour) + padding)
    click.echo(" " * indent + "".join(shown).rstrip(), color=True)


def _columns() -> int:
    import shutil  # noqa: PLC0415  it brings along every packer there is

    return shutil.get_terminal_size().columns


def _cell(value: object) -> Styled:
    match value:
        case Styled():
            return Styled(safe(masked(value.text)), value.colour)
        case None:
            return Styled("", "")
        case _:
            return Styled(safe(masked(str(value))), "")


def _cut(text: str, room: int) -> str:
    if _width(text) <= max(room, 0):
        return text
    kept = text[: max(room - 1, 0)]
    while kept and _width(kept) > room - 1:
        kept = kept[:-1]
    return kept + "…" if room > 0 else ""


def _painted(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and text and coloured(sys.stdout) else text


def _width(text: str) -> int:
    """Columns on a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(mark) else 2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in text
    )


def heading(text: str) -> None:
    """The title of a part, in bold."""
    click.echo(_painted(safe(text), _BOLD), color=True)


def data(text: str) -> None:
    """Text for stdout as it is (documents, drawings)."""
    click.echo(text, nl=not text.endswith("\n"))


def talk(text: str) -> None:
    """A remark on stderr."""
    click.echo(safe(masked(text)), err=True)


def document(kind: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """A value as a versioned document."""
    return {"kind": f"stamp.{kind}", "version": DOCUMENT_VERSION, **item}


def json_line(kind: str, item: Mapping[str, Any]) -> None:
    """One line of JSON, at once: for streams."""
    click.echo(json_text(document(kind, item)))
    sys.stdout.flush()


def show(
    chosen: str,
    kind: str,
    items: Sequence[Mapping[str, Any]],
    *,
    name: Callable[[Mapping[str, Any]], str],
    human: Callable[[], None],
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print a list in the format asked for: `more` goes into the JSON document, `human` prints the table."""
    match chosen:
        case "json":
            click.echo(json_text(document(kind, {**(more or {}), "items": list(items)}), indent=2))
        case "jsonl":
            for item in items:
                json_line(kind, item)
        case "name":
            for item in items:
                click.echo(safe(name(item)))
        case _:
            human()
