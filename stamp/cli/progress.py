"""A bar on a terminal, a line now and then anywhere else; remarks go between."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TextIO

from stamp.reading.text import masked, safe

WIDTH = 30
EVERY = 2.0
"""Seconds between two lines where there is no terminal."""

_CLEAR = "\r\x1b[K"


@dataclass(slots=True)
class Progress:
    """How much of a countable thing is done. Call it as often as you like."""

    stream: TextIO
    unit: str
    shown: str = ""
    _printed: float = field(default_factory=time.monotonic)

    def __call__(self, done: int, total: int, hops: int) -> None:
        """Show that `done` of `total` are settled, after so many hops."""
        if not total:
            return
        if self.stream.isatty():
            self._draw(f"{self._bar(done / total)} {done}/{total} {self.unit}, {hops} hops")
        elif time.monotonic() - self._printed >= EVERY:
            self._printed = time.monotonic()
            self._line(f"{done}/{total} {self.unit}, {hops} hops")

    def say(self, text: str) -> None:
        """A remark of its own, above the bar."""
        self._line(safe(masked(text)))

    def done(self) -> None:
        """Leave the terminal clean."""
        if self.shown:
            self.stream.write(_CLEAR)
            self.stream.flush()
            self.shown = ""

    def _draw(self, text: str) -> None:
        if text != self.shown:
            self.shown = text
            self.stream.write(_CLEAR + text)
            self.stream.flush()

    def _line(self, text: str) -> None:
        self.done()
        self.stream.write(f"{text}\n")
        self.stream.flush()

    def _bar(self, share: float) -> str:
        full, empty = ("█", "░") if (self.stream.encoding or "").lower().replace("-", "") == "utf8" else ("#", "-")
        filled = int(min(share, 1.0) * WIDTH)
        return f"[{full * filled}{empty * (WIDTH - filled)}]"
