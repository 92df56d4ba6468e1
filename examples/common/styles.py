"""Who owns the state of an example's runs: STAMP_EXAMPLE_STYLE says it, and `stamp demo --style` sets that."""

from __future__ import annotations

import os
from collections.abc import Mapping

from stamp import FrontController, Orchestrator, Service, Stamped, Stateless, Workflow
from stamp.errors import BadConfiguration
from stamp.style import Style

VARIABLE = "STAMP_EXAMPLE_STYLE"

MIXED = "mixed"
"""No style of one workflow: an example may bring workflows of different styles that run each other."""


def mixed() -> bool:
    """Whether the example's workflows of different styles are asked for."""
    return os.environ.get(VARIABLE) == MIXED


def chosen(*, controller: str, desk: str) -> Style:
    """The style by its name, `stamp` where none is named. `controller` and `desk` are the services that may own state.

    Where styles are mixed the desk owns the workflow outside. Raises `BadConfiguration`.
    """
    styles: list[Style] = [Stamped(), FrontController(controller), Orchestrator(desk), Stateless()]
    by_name = {style.name: style for style in styles} | {MIXED: Orchestrator(desk)}
    name = os.environ.get(VARIABLE) or Stamped.name
    if name not in by_name:
        raise BadConfiguration(f"{VARIABLE}={name} names no style", fix=f"one of: {', '.join(by_name)}")
    return by_name[name]


def with_owner(services: Mapping[str, Service], workflow: Workflow) -> dict[str, Service]:
    """The services, and who owns the state if the style has an owner: one of them, or a desk that joins them."""
    everybody = dict(services)
    if owner := workflow.style.owner:
        everybody.setdefault(owner, Service(owner)).owns(workflow)
    return everybody
