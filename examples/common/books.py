"""What must be true of the databases once everything has settled, and what in them speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.databases import Databases


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence about the databases. It holds when nothing speaks against it."""

    text: str
    asked: str
    """The questions that were asked: `service: SQL`."""
    against: Sequence[Any]

    @property
    def holds(self) -> bool:
        return not self.against


async def nothing(databases: Databases, service: str, text: str, sql: str) -> Claim:
    """The claim that a query for what is wrong finds nothing."""
    return Claim(text, f"{service}: {sql}", [list(row) for row in await databases.ask(service, sql)])
