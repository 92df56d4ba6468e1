"""The same services under each style, or why that can't be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stamp.errors import DefinitionError
from stamp.service import Service
from stamp.style import FrontController, Orchestrator, Stamped, Stateless, Style
from stamp.workflow import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A workflow under one style, with services of its own that have the handlers of the given ones."""

    workflow: Workflow
    services: Mapping[str, Service]
    first: str
    """The service at the beginning of the chain: it starts the runs."""

    @property
    def style(self) -> Style:
        """Who owns the state."""
        return self.workflow.style

    @property
    def name(self) -> str:
        """What the style is called."""
        return self.style.name


@dataclass(frozen=True, slots=True)
class Impossible:
    """A style that the workflow can't have."""

    name: str
    why: str


def first_service(workflow: Workflow) -> str:
    """The service that consumes the start event."""
    step = workflow.consumer(workflow.start.__name__)
    assert step is not None, "a table without a step for its start event is refused when it is defined"
    return step.service


def styles(workflow: Workflow) -> tuple[Style, ...]:
    """The four, with the owners that suit the workflow: the first service of the chain, or a desk beside it."""
    first = first_service(workflow)
    desk = f"{first}-desk"
    return (Stamped(), FrontController(first), Stateless(), Orchestrator(desk))


def variants(workflow: Workflow, services: Mapping[str, Service]) -> Sequence[Variant | Impossible]:
    """One for each style."""
    return [_variant(workflow, services, style) for style in styles(workflow)]


def _variant(workflow: Workflow, services: Mapping[str, Service], style: Style) -> Variant | Impossible:
    try:
        styled = workflow.styled(style)
        taking_part = {name: services[name].styled(styled) for name in workflow.services}
        if style.owner is not None:
            taking_part.setdefault(style.owner, Service(style.owner)).owns(styled)
    except DefinitionError as error:
        return Impossible(style.name, error.what)
    return Variant(workflow=styled, services=taking_part, first=first_service(workflow))
