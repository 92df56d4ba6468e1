"""Where an exception came from, trimmed for the held record: frames and names, never a value.

Frames of the code that the handler belongs to are kept, and the last ones whoever they belong to. Values could carry
personal data into a queue, so local variables and the messages of exceptions stay out.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import PurePath
from traceback import FrameSummary, StackSummary, walk_tb

LIMIT = 2048
"""Bytes."""
LAST = 3
CHAIN = 3
LINE = 120

_HERE = PurePath(__file__).parent
_LIBRARIES = tuple(dict.fromkeys(PurePath(sysconfig.get_path(name)) for name in ("purelib", "platlib")))
_STDLIB = PurePath(sysconfig.get_path("stdlib"))


def trimmed(error: BaseException) -> str:
    """What caused the error, then the error: a line for each exception and each frame, at most `LIMIT` bytes."""
    text = "\n".join(line for one in reversed([*_chain(error)]) for line in _lines(one))
    data = text.encode(errors="replace")
    if len(data) <= LIMIT:
        return data.decode()
    return data[-LIMIT:].decode(errors="ignore").partition("\n")[2]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and what caused that."""
    one: BaseException | None = error
    for _ in range(CHAIN):
        if one is None:
            return
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _lines(error: BaseException) -> Iterator[str]:
    frames = StackSummary.extract(walk_tb(error.__traceback__))
    owners = [_owner(PurePath(frame.filename)) for frame in frames]
    first = next((place for place, owner in enumerate(owners) if owner != "stamp"), 0)
    yield type(error).__name__
    for place in range(first, len(frames)):
        if owners[place] == owners[first] or place >= len(frames) - LAST:
            yield _line(frames[place])


def _owner(file: PurePath) -> str:
    """Whose code a file is: the toolkit's, Python's, a library's by name, or (empty) somebody's own tree."""
    if file.is_relative_to(_HERE):
        return "stamp"
    for folder in _LIBRARIES:
        if file.is_relative_to(folder):
            return file.relative_to(folder).parts[0]
    return "python" if file.is_relative_to(_STDLIB) else ""


def _line(frame: FrameSummary) -> str:
    file = "/".join(PurePath(frame.filename).parts[-2:])
    return f"  {file}:{frame.lineno} {frame.name}: {frame.line or ''}"[:LINE]
