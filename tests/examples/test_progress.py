"""The progress of a long input, on whatever it is shown."""

from __future__ import annotations

import io

import pytest

from stamp.cli.progress import Progress


class Terminal(io.TextIOWrapper):
    """A terminal that keeps what it was sent."""

    def isatty(self) -> bool:
        return True

    def sent(self) -> str:
        """Everything so far."""
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "█" * 15 + "░" * 15), ("ascii", "#" * 15 + "-" * 15)])
def test_the_bar_fits_the_terminals_encoding(encoding: str, bar: str) -> None:
    terminal = Terminal(io.BytesIO(), encoding)
    Progress(terminal, "lines")(50, 100, 7)
    assert terminal.sent().endswith(f"[{bar}] 50/100 lines, 7 hops")


def test_a_remark_takes_the_place_of_the_bar() -> None:
    terminal = Terminal(io.BytesIO(), "utf-8")
    progress = Progress(terminal, "lines")
    progress(1, 2, 3)
    progress.say("remark")
    assert terminal.sent().endswith("\r\x1b[Kremark\n")


def test_a_remark_can_not_send_control_characters_to_the_terminal() -> None:
    terminal = Terminal(io.BytesIO(), "utf-8")
    Progress(terminal, "lines").say("\x1b[2Jgone")
    assert "\x1b[2J" not in terminal.sent()


def test_without_a_terminal_nothing_is_drawn() -> None:
    stream = io.StringIO()
    progress = Progress(stream, "lines")
    progress(1, 2, 3)
    progress.done()
    assert stream.getvalue() == ""
