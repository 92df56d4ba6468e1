"""The format's own version: what a reader must not try to understand, and what a hop writes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from stamp.errors import TooNew

PHASES = frozenset({"forward", "backward", "completed", "compensated", "failed"})

_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})\Z")
_SHOWN = 40


def newest(own: str, incoming: str) -> str:
    """What a hop writes into `stamp`: the larger of both, compared as numbers, within one major.

    Raises `TooNew` for another major, and for text that is no version at all.
    """
    if own == incoming:
        return own
    mine, theirs = _parts(own), _parts(incoming)
    if mine is None or theirs is None or mine[0] != theirs[0]:
        raise TooNew(f"format {incoming[:_SHOWN]!r} is not the major of {own}", fix="upgrade this service")
    return own if mine >= theirs else incoming


def too_new(
    stamp: Mapping[str, Any], *, own: str, features: Collection[str] = (), phases: Collection[str] = PHASES
) -> str | None:
    """Why this reader must hold the stamp for a newer one, or `None`.

    Runs before the schema, so any value may be anything; what is merely broken is left for the schema to refuse.
    """
    version, phase = stamp.get("stamp"), stamp.get("phase")
    if version == own and "crit" not in stamp and isinstance(phase, str) and phase in phases:
        return None
    parts = _parts(version) if isinstance(version, str) and version != own else None
    if parts is not None and parts[0] != own.partition(".")[0].zfill(4):
        return f"stamp format {version} is not {own.partition('.')[0]}.x"
    if unknown := _unknown(stamp.get("crit"), features):
        return f"needs features that this reader lacks: {', '.join(name[:_SHOWN] for name in unknown[:5])}"
    return f"unknown phase {phase[:_SHOWN]!r}" if isinstance(phase, str) and phase not in phases else None


def _unknown(crit: object, features: Collection[str]) -> list[str]:
    names = crit if isinstance(crit, list) else []
    return [name for name in names if isinstance(name, str) and name not in features]


def _parts(version: str) -> tuple[str, str] | None:
    """Major and minor, padded so that text order is number order."""
    match = _VERSION.match(version)
    return (match[1].zfill(4), match[2].zfill(4)) if match else None
