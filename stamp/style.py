"""Who owns the state of a workflow's runs: the message, a service with a ledger, or nobody."""

from __future__ import annotations

import msgspec

from stamp.errors import DefinitionError


class Stamped(msgspec.Struct, frozen=True):
    """The message itself: the whole stamp travels, and there is nobody to ask or to wait for."""

    name = "stamp"
    owner: None = None


class FrontController(msgspec.Struct, frozen=True):
    """A domain service keeps the ledger; the others forward by themselves, report to it, and it walks runs back.

    `shards=N` spreads the ledger's queue over N by run id, so that the owner's processes each have their part.
    """

    owner: str
    shards: int = 1
    name = "front-controller"

    def __post_init__(self) -> None:
        _check(self.owner, self.shards)


class Orchestrator(msgspec.Struct, frozen=True):
    """A dedicated service keeps the ledger and sends every message of a run: forward and back. `shards` as there."""

    owner: str
    shards: int = 1
    name = "orchestrator"

    def __post_init__(self) -> None:
        _check(self.owner, self.shards)


class Stateless(msgspec.Struct, frozen=True):
    """Nobody: identity travels, each service knows what it did, and status is a question to all of them."""

    name = "stateless"
    owner: None = None


def _check(owner: str, shards: int) -> None:
    from stamp.step import service_name  # noqa: PLC0415  reading a stamp needs styles, and no tables

    service_name(owner)
    if shards < 1:
        raise DefinitionError(f"shards={shards} of the ledger of {owner!r}", fix="one or more")


Style = Stamped | FrontController | Orchestrator | Stateless
