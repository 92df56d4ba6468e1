"""What an example brings: its workflow, its services with their tables, what a line of its input is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from brokers.contract import Broker, Declarable
from common.books import Claim
from common.databases import Databases, Kind
from common.intake import Receipt
from common.styles import mixed
from stamp import Service, Workflow, journal
from stamp.errors import BadConfiguration
from stamp.ledger import Record
from stamp.resources import examples

Audit = Callable[[Databases, Sequence[Record], Mapping[str, Any]], Awaitable[Sequence[Claim]]]
"""Gets the records of the runs, and the line that started each, by the run's id."""


async def _no_audit(databases: Databases, records: Sequence[Record], lines: Mapping[str, Any]) -> Sequence[Claim]:  # noqa: ARG001
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example. Its package has it as `EXAMPLE` in the module `app`."""

    name: str
    """Of its package, and of its folder."""
    workflow: Workflow
    services: Mapping[str, Service]
    entry: Service
    """Takes the input in."""
    tables: Mapping[str, str]
    """Each service's own tables, as migrations would make them."""
    line: type[msgspec.Struct]
    """What each line of the input is."""
    key: str
    """The member of a line that names it: `ticket_id`."""
    receive: Callable[[Sequence[Any]], Awaitable[list[Receipt]]]
    """Takes lines in, all in one transaction."""
    inputs: Sequence[str]
    """The shipped files with lines, in its folder."""
    stores: frozenset[Kind]
    """The databases that its SQL is written for."""
    audit: Audit = _no_audit
    """What must be true of the databases at the end, for the runs given."""

    @property
    def noun(self) -> str:
        """What a line is called: `ticket`."""
        return self.key.partition("_")[0]

    @property
    def ddl(self) -> dict[str, str]:
        """What each service's database is made with: nothing for one that only owns the state of runs."""
        return {name: self.tables.get(name, "") for name in self.services}

    @property
    def files(self) -> list[Path]:
        """The shipped input."""
        return [examples() / self.name / name for name in self.inputs]

    def topology(self) -> list[Declarable]:
        """What all services and the journal need on the broker: declared first, it doesn't matter who starts first."""
        parts = [part for service in self.services.values() for part in service.topology()]
        return [*dict.fromkeys(parts), *journal.parts([self.workflow.name, *journal.COMMON])]


def load(name: str) -> Example:
    """The example of that name; the folder of the examples is on the path."""
    if mixed():
        return _mixed(name)
    found: Example = import_module(f"{name}.app").EXAMPLE
    return found


def _mixed(name: str) -> Example:
    """The same example with workflows of different styles, in its module `mixed`."""
    if find_spec(f"{name}.mixed") is None:
        raise BadConfiguration(f"the example {name} has one workflow, of one style", fix="--example orders")
    found: Example = import_module(f"{name}.mixed").EXAMPLE
    return found


@asynccontextmanager
async def together(example: Example, broker: Broker, databases: Databases) -> AsyncIterator[None]:
    """All services in this process over one broker object."""
    async with AsyncExitStack() as stack:
        for name, service in example.services.items():
            await stack.enter_async_context(service.open(broker=broker, store=databases.url(name)))
        yield
