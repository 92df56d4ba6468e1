"""Work counted instead of timed: Python instructions and calls, which no other process can blur."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(slots=True)
class Count:
    """What ran in this thread inside the block."""

    number: int = 0


@contextmanager
def instructions() -> Iterator[Count]:
    """Python bytecode instructions; what C code does inside one of them is not seen."""
    count = Count()

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count.number += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


@contextmanager
def calls() -> Iterator[Count]:
    """Calls of functions, those written in C included: a second JSON pass is one more."""
    count = Count()

    def profile(_frame: FrameType, event: str, _arg: object) -> None:
        count.number += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield count
    finally:
        sys.setprofile(before)
