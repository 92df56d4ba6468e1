"""Paths of branches: `ship:1.0/3` is child 0 of 3 of the fork at step `ship`, visit 1; forks within forks add `|`.

The trunk has no path. Pure text.
"""

from __future__ import annotations

from typing import NamedTuple

START = "start"
"""Stands for the emitting step where the start event itself forks."""


class Place(NamedTuple):
    """Where the innermost fork of a path has put a message."""

    parent: str | None
    """The path around the fork; `None` is the trunk."""
    fork: str
    """The fork's own name, unique in the run: the path without child and number of children."""
    child: int
    children: int


def fork_of(parent: str | None, step: str, visit: int) -> str:
    """The name of the fork that a visit of `step` opens on the path `parent`."""
    return f"{_before(parent)}{step}:{visit}"


def fork_after(parent: str | None, last: str) -> str:
    """The same from `step:visit`, the form in which a slim stamp names the last step."""
    return f"{_before(parent)}{last}"


def branch_of(fork: str, child: int, children: int) -> str:
    """The path of one child of a fork."""
    return f"{fork}.{child}/{children}"


def place_of(branch: str) -> Place:
    """The innermost fork of a path and the child in it."""
    parent, _, last = branch.rpartition("|")
    step, _, numbers = last.rpartition(":")
    visit, _, share = numbers.partition(".")
    child, _, children = share.partition("/")
    return Place(parent or None, fork_of(parent or None, step, int(visit)), int(child), int(children))


def depth(branch: str | None) -> int:
    """How many forks a path is in; 0 on the trunk."""
    return 0 if branch is None else branch.count("|") + 1


def within(branch: str | None, outer: str) -> bool:
    """Whether `branch` is `outer` itself or lies in a fork inside it."""
    return branch is not None and (branch == outer or branch.startswith(outer + "|"))


def around(branch: str) -> list[str]:
    """The paths that a path lies in, innermost first, without its own; the last is the trunk (empty)."""
    paths = []
    while branch:
        branch = branch.rpartition("|")[0]
        paths.append(branch)
    return paths


def natural(branch: str) -> tuple[tuple[str, int], ...]:
    """A key that sorts paths by the number of their children, not by its text."""
    return tuple((place.fork, place.child) for place in _places(branch))


def _places(branch: str) -> list[Place]:
    parts = branch.split("|") if branch else []
    return [place_of("|".join(parts[: number + 1])) for number in range(len(parts))]


def _before(parent: str | None) -> str:
    return "" if parent is None else parent + "|"
