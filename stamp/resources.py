"""Where the files that travel with the package lie: beside it in a wheel, at the top level in a source tree."""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGE = os.path.dirname(os.path.realpath(__file__))


def schemas() -> Path:
    """The folder of JSON Schemas: `stamp/1.json`, `workflows/`, `golden/`."""
    return _path(_folder("schemas"))


def examples() -> Path:
    """The folder of the shipped examples."""
    return _path(_folder("examples"))


def stamp_schema() -> bytes:
    """The schema of a stamp, `schemas/stamp/1.json`, as it lies there."""
    with open(os.path.join(_folder("schemas"), "stamp", "1.json"), "rb") as file:
        return file.read()


def _folder(name: str) -> str:
    packaged = os.path.join(_PACKAGE, name)
    return packaged if os.path.isdir(packaged) else os.path.join(os.path.dirname(_PACKAGE), name)


def _path(folder: str) -> Path:
    from pathlib import Path  # noqa: PLC0415  3 ms of processor time, for a tool that reads one file

    return Path(folder)
