"""Lengths of time as people write them: `250ms`, `1s`, `5m`, `48h`, `7d`, or a number of seconds."""

from __future__ import annotations

import re

from stamp.errors import DefinitionError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def seconds(length: str | float) -> float:
    """The length in seconds. Raises `DefinitionError` for anything that is not a positive length of time."""
    if isinstance(length, str):
        found = _TEXT.fullmatch(length.strip())
        value = float(found[1]) * _UNITS[found[2]] if found else -1.0
    else:
        value = float(length)
    if not 0 < value < float("inf"):
        raise DefinitionError(f"{length!r} is not a length of time", fix="write it like 250ms, 30s, 5m, 48h or 7d")
    return value


def text(length: float) -> str:
    """The shortest exact way to write `length` seconds with one unit."""
    for unit in ("d", "h", "m", "s"):
        if length >= _UNITS[unit] and length % _UNITS[unit] == 0:
            return f"{length / _UNITS[unit]:g}{unit}"
    return f"{length * 1000:g}ms"
