"""From a URL or somebody's channel object to a broker adapter, through entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from brokers.contract import Adopted, Broker
from brokers.errors import ProtocolMisuse

BROKERS = "stamp.brokers"
"""Entry-point group: the name is a URL scheme, the object is called with the URL and gives a broker."""

CHANNELS = "stamp.channels"
"""Entry-point group: the name is a root package, the object is called with that package's channel."""


def broker_for(url: str) -> Broker:
    """A broker for this URL, not yet open. Raises `ProtocolMisuse` naming the known schemes."""
    scheme, colon, _ = url.partition(":")
    found = _find(BROKERS, scheme.lower()) if colon else None
    if found is None:
        known = ", ".join(f"{name}:" for name in _known(BROKERS))
        raise ProtocolMisuse(f"no broker for a URL that starts with {scheme[:20]!r}; known: {known}")
    broker: Broker = found.load()(url)
    return broker


def adopt(channel: object) -> Adopted:
    """A broker on a channel that the application opened and keeps. Raises `ProtocolMisuse` naming what is known."""
    package = type(channel).__module__.partition(".")[0]
    found = _find(CHANNELS, package)
    if found is None:
        known = ", ".join(_known(CHANNELS))
        raise ProtocolMisuse(f"no adapter for a channel of {package!r}; known: {known}")
    adopted: Adopted = found.load()(channel)
    return adopted


def _find(group: str, name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=group, name=name)), None)


def _known(group: str) -> list[str]:
    return sorted({entry.name for entry in entry_points(group=group)})
