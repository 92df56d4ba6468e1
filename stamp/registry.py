"""From a URL to a store adapter, through entry points: the runtime imports no driver by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from stamp.errors import BadConfiguration
from stamp.ports import Store

STORES = "stamp.stores"
"""Entry-point group: the name is a URL scheme, the object is called with the URL and gives a store."""


def store_for(url: str, *, options: Mapping[str, Any] | None = None) -> Store:
    """A store for this URL, not yet open; `options` are the adapter's own. Raises `BadConfiguration` naming schemes."""
    scheme, colon, _ = url.partition(":")
    found = next(iter(entry_points(group=STORES, name=scheme.lower())), None) if colon else None
    if found is None:
        known = ", ".join(sorted({f"{entry.name}:" for entry in entry_points(group=STORES)}))
        raise BadConfiguration(f"no store for a URL that starts with {scheme[:20]!r}", fix=f"use one of {known}")
    factory: Callable[..., Store] = found.load()
    return factory(url, **(options or {}))
