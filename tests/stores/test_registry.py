"""From a URL to a store."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from stamp.errors import BadConfiguration
from stamp.registry import STORES, store_for
from stamp.stores.memory import MemoryStore
from stamp.stores.sqlite import SQLiteStore

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
ENTRIES = PROJECT["project"]["entry-points"][STORES]
URLS = {
    "memory": "memory:",
    "postgres": "postgres://stamp@127.0.0.1/desk",
    "postgresql": "postgresql://stamp@127.0.0.1/desk",
    "postgresql+asyncpg": "postgresql+asyncpg://stamp@127.0.0.1/desk",
    "sqlite": "sqlite:///desk.db",
    "sqlite+aiosqlite": "sqlite+aiosqlite:///desk.db",
}


def test_every_scheme_of_the_stores_has_an_entry_point() -> None:
    assert set(ENTRIES) == set(URLS)


@pytest.mark.parametrize(("scheme", "target"), ENTRIES.items())
def test_an_entry_point_takes_the_url_of_its_scheme(scheme: str, target: str) -> None:
    module, _, name = target.partition(":")
    assert type(getattr(import_module(module), name)(URLS[scheme])).__name__ == name


@pytest.mark.parametrize(("url", "kind"), [("memory:", MemoryStore), ("sqlite:///desk.db", SQLiteStore)])
def test_a_url_gives_the_store_of_its_scheme(url: str, kind: type) -> None:
    assert isinstance(store_for(url), kind)


@pytest.mark.parametrize("url", ["oracle://desk", "desk.db", ""])
def test_an_unknown_scheme_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(BadConfiguration, match="sqlite:"):
        store_for(url)
