"""Where the files that travel with the package lie: beside it in a wheel, at the top level in a source tree."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def schemas() -> Path:
    """The folder of JSON Schemas: `stamp/1.json`, `workflows/`, `golden/`."""
    return _folder("schemas")


def examples() -> Path:
    """The folder of the shipped examples."""
    return _folder("examples")


def _folder(name: str) -> Path:
    packaged = _PACKAGE / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name
