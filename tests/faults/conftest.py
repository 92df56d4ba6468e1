"""Every account that a fault test drew up, as one table at the end of the run."""

from __future__ import annotations

import pytest

from tests.faults.account import Account, table

Lines = list[tuple[str, str, Account]]
DRAWN: Lines = []


@pytest.fixture
def drawn() -> Lines:
    """Where a test notes what happened, on which store, and its account."""
    return DRAWN


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if DRAWN:
        terminalreporter.section("what the faults left behind")
        terminalreporter.write_line(table(DRAWN))
