"""How a command is declared: with two examples at the end of its help that tests run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def epilog(first: str, second: str) -> str:
    """The end of a help text. The mark keeps the lines as they are."""
    return f"\b\nExamples:\n  {first}\n  {second}\n"


def command(
    name: str, first: str, second: str, *, group: click.Group | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """Declare a command with two examples; below `group` when one is given."""
    make = click.command if group is None else group.command
    return make(name, epilog=epilog(first, second), context_settings={"help_option_names": ["-h", "--help"]})


def group(name: str, first: str, second: str) -> Callable[[Callable[..., Any]], click.Group]:
    """Declare a group of commands with two examples."""
    return click.group(name, epilog=epilog(first, second), context_settings={"help_option_names": ["-h", "--help"]})
