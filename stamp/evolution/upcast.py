"""Lifting state and payloads of an old definition version to one that is still served.

A run keeps the version it started with for as long as somebody serves it: then nothing is lifted. Only when the
definition of version n is gone here, and the workflow says how n becomes n + 1, the message is lifted, step by step,
to the nearest version that is served, and goes on as a message of that version. There is no way down.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from stamp.errors import DefinitionError, PayloadInvalid, StateInvalid, Theirs, TooNew, UnknownWorkflow

Lift = Callable[[dict[str, Any]], dict[str, Any]]
"""A pure function from a document of version n to the same document in the shape of n + 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upcast:
    """How version n becomes n + 1. What is not named has the same shape in both."""

    state: Lift | None = None
    events: Mapping[str, Lift] = field(default_factory=dict)
    """By event name."""


class Upcasters:
    """The upcasts of one workflow, by the version they lift from. A bare function lifts the state alone."""

    def __init__(self, workflow: str, upcasts: Mapping[int, Upcast | Lift]) -> None:
        for version, upcast in upcasts.items():
            if version < 1 or not (isinstance(upcast, Upcast) or callable(upcast)):
                raise DefinitionError(
                    f"upcasts of {workflow}: {version!r}: {upcast!r}",
                    fix="{1: lift} or {1: Upcast(state=lift, events={'Event': lift})}: from version 1 to 2",
                )
        self.workflow = workflow
        self._links = {
            version: upcast if isinstance(upcast, Upcast) else Upcast(state=upcast)
            for version, upcast in upcasts.items()
        }

    def goal(self, version: int, served: Collection[int]) -> int:
        """The version whose definition handles a message of `version`: itself, or the nearest that upcasts lead to.

        Raises `TooNew` above everything served, `UnknownWorkflow` when the version is gone and a link is missing.
        """
        if version in served:
            return version
        if version > max(served, default=0):
            raise TooNew(f"{self.workflow} version {version}: {_known(served)}", fix="deploy a service that knows it")
        goal = min(known for known in served if known > version)
        for link in range(version, goal):
            self._link(link)
        return goal

    def _link(self, version: int) -> Upcast:
        if version not in self._links:
            raise UnknownWorkflow(
                f"{self.workflow} version {version} is no longer known here and nothing lifts it to {version + 1}",
                fix=f"register version {version} again, or give upcasts={{{version}: ...}}",
            )
        return self._links[version]

    def state(self, document: dict[str, Any], start: int, goal: int) -> dict[str, Any]:
        """The state of version `start` in the shape of `goal`; the input is not changed.

        Raises `StateInvalid` when an upcast fails, so that the message is held and not lost.
        """
        lifts = [(link, self._link(link).state) for link in range(start, goal)]
        return _lift(document, lifts, f"the state of {self.workflow}", StateInvalid)

    def event(self, name: str, document: dict[str, Any], start: int, goal: int) -> dict[str, Any]:
        """A payload of version `start` in the shape of `goal`; the input is not changed. Raises `PayloadInvalid`."""
        lifts = [(link, self._link(link).events.get(name)) for link in range(start, goal)]
        return _lift(document, lifts, f"{name} of {self.workflow}", PayloadInvalid)


def _lift(
    document: dict[str, Any], lifts: list[tuple[int, Lift | None]], what: str, error: type[Theirs]
) -> dict[str, Any]:
    for version, lift in lifts:
        if lift is not None:
            document = _one(document, version, lift, f"upcast {version} -> {version + 1} of {what}", error)
    return document


def _one(document: dict[str, Any], version: int, lift: Lift, what: str, error: type[Theirs]) -> dict[str, Any]:
    fix = f"mend the upcast of version {version}, then release the held message"
    try:
        lifted: object = lift(copy.deepcopy(document))
    except Exception as failure:
        raise error(f"{what} raised {type(failure).__name__}: {failure}"[:512], fix=fix) from failure
    if not isinstance(lifted, dict):
        raise error(f"{what} returned {type(lifted).__name__}, not a dict", fix=fix)
    return lifted


def _known(served: Collection[int]) -> str:
    return f"known are {', '.join(map(str, sorted(served))) or 'none'}"
