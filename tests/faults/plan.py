"""What a child process is told to do: one JSON text in its environment."""

from __future__ import annotations

import msgspec

VARIABLE = "STAMP_FAULTS_PLAN"
READY_WORD = "ready"
"""The line that a child prints when it serves."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One process: which services it runs, where, and where it dies."""

    tag: str
    broker: str
    places: dict[str, str]
    """The database of each service that it runs, by the service's short name."""
    orders: int = 0
    """How many orders the shop places when it runs here; those placed before are left alone."""
    chunk: int = 1
    """How many orders it places in one transaction."""
    batch: int = 4
    lease: float = 0.7
    kill: str | None = None
    nth: int = 1
    sabotage: str | None = None
    """What is broken on purpose, to see that the account finds it."""
    pages: int | None = None
    """SQLite: the disk is full at so many pages, until a file `<database>.roomy` lies beside it."""
    busy: float = 10.0
    """SQLite: seconds to wait for another process's lock."""

    def text(self) -> str:
        """The value of the variable."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str) -> Plan:
        """The plan that `text` wrote."""
        return msgspec.json.decode(text, type=cls)
