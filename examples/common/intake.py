"""Starts one run for each line that comes in, however often it comes."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import msgspec

from common.sql import rows
from stamp import Workflow
from stamp.starting import LocalTransaction

DDL = """
CREATE TABLE IF NOT EXISTS submission (
    id     TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    run    TEXT NOT NULL
);
"""
"""The table that `take_in` needs beside the service's own."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a line that came in, and the run that takes care of it."""

    outcome: Literal["started", "duplicate", "conflict"]
    run: str


async def take_in(
    tx: LocalTransaction, key: str, event: msgspec.Struct, *, workflow: Workflow, state: msgspec.Struct
) -> Receipt:
    """Start a run with this event, once: its key is taken in the transaction that starts the run.

    The same event again is a duplicate; another event under a key that is taken is a conflict.
    """
    digest = sha256(msgspec.json.encode(event)).hexdigest()
    for known, run in await rows(tx, "SELECT digest, run FROM submission WHERE id = $1", key):
        return Receipt("duplicate" if known == digest else "conflict", run)
    run = await tx.start(workflow, event, state=state)
    await rows(tx, "INSERT INTO submission (id, digest, run) VALUES ($1, $2, $3)", key, digest, run)
    return Receipt("started", run)
