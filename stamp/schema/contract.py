"""The schemas of one workflow version: its state and every payload, in one self-contained document."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stamp.errors import BadConfiguration, DefinitionError, SchemaMissing
from stamp.schema.checker import DIALECT, Checker

_URN = "urn:stamp:workflow"
_DEFS = "#/$defs/"


@dataclass(frozen=True)
class Contract:
    """What `schemas/workflows/<workflow>/<version>.json` says, compiled.

    `state` and `event` are open for members they do not know: use them on what came in. `strict_state` and
    `strict_event` are closed at every level that declares members: use them on what a handler wrote from its
    own types, never on state that was merely carried (a newer writer may have added to it).
    """

    workflow: str
    version: int
    document: Mapping[str, Any] = field(repr=False)
    _events: dict[tuple[str, bool], Checker] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def derive(cls, workflow: str, version: int, state: type | None, events: Sequence[type]) -> Contract:
        """From the types in the code. Raises `DefinitionError` naming the type and what to change.

        `state=None` or `dict` is any object. The name of an event is the name of its type.
        """
        kinds = [dict if state is None else state, *events]
        (root, *payloads), definitions = _components(kinds)
        names = [_event_name(kind, payload) for kind, payload in zip(events, payloads, strict=True)]
        _refuse_closed(definitions)
        _refuse_scalar_state(root, definitions)
        return cls(workflow, version, _document(workflow, version, root, names, definitions))

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Contract:
        """From a frozen document. Raises `BadConfiguration` when it is not one."""
        try:
            prefix, workflow, version = str(document["$id"]).rsplit(":", 2)
            missing = [name for name in document["x-events"] if name not in document["$defs"]]
            number = int(version)
        except (KeyError, TypeError, ValueError) as error:
            raise BadConfiguration(f"not a frozen workflow schema: {error!r}", fix="freeze it again") from error
        if prefix != _URN or missing:
            raise BadConfiguration(f"not a frozen workflow schema: {document['$id']} {missing}", fix="freeze it again")
        return cls(workflow, number, document)

    @functools.cached_property
    def events(self) -> tuple[str, ...]:
        """Names of the events that have a payload schema here, sorted."""
        return tuple(self.document["x-events"])

    @functools.cached_property
    def state(self) -> Checker:
        """State as it may come in."""
        return Checker(self.document)

    @functools.cached_property
    def strict_state(self) -> Checker:
        """State as a handler of this version may write it from scratch."""
        return Checker(closed(self.document))

    def event(self, name: str) -> Checker:
        """The payload of an event as it may come in. Raises `SchemaMissing` for a name not in `events`."""
        return self._event(name, strict=False)

    def strict_event(self, name: str) -> Checker:
        """The payload of an event as this version writes it. Raises `SchemaMissing` for a name not in `events`."""
        return self._event(name, strict=True)

    def _event(self, name: str, *, strict: bool) -> Checker:
        if (known := self._events.get((name, strict))) is not None:
            return known
        if name not in self.events:
            raise SchemaMissing(
                f"{self.workflow} version {self.version} has no schema for the event {name!r}",
                fix="add the event to a step of the workflow and freeze the next version",
            )
        schema = {"$schema": DIALECT, "$ref": _DEFS + name, "$defs": self.document["$defs"]}
        return self._events.setdefault((name, strict), Checker(closed(schema) if strict else schema))


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema, refusing undeclared members wherever members are declared. The input is not changed."""
    result: dict[str, Any] = _map_schemas(schema, _close)
    return result


def _close(schema: dict[str, Any]) -> dict[str, Any]:
    return {"additionalProperties": False, **schema} if "properties" in schema else schema


_BY_NAME = ("properties", "$defs")
_SCHEMAS = ("anyOf", "prefixItems", "items", "additionalProperties", "propertyNames")


def _map_schemas(node: Any, change: Any) -> Any:
    """`change` applied to every schema object below and at `node`; data such as defaults and enums is left alone."""
    if isinstance(node, (list, tuple)):
        return [_map_schemas(item, change) for item in node]
    if not isinstance(node, Mapping):
        return node
    result = dict(node)
    for key in result.keys() & set(_SCHEMAS):
        result[key] = _map_schemas(result[key], change)
    for key in result.keys() & set(_BY_NAME):
        result[key] = {name: _map_schemas(schema, change) for name, schema in result[key].items()}
    return change(result)


def _components(kinds: Sequence[type]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    try:
        roots, definitions = msgspec.json.schema_components(kinds, ref_template=_DEFS + "{name}")
    except (TypeError, ValueError) as error:
        raise DefinitionError(_unfit(kinds, error), fix=_UNFIT_FIX) from error
    if twins := sorted(name for name in definitions if "." in name):
        raise DefinitionError(
            f"two different types share one name in the workflow: {', '.join(twins)}",
            fix="rename one of them: the name is what other languages see",
        )
    return roots, definitions


_UNFIT_FIX = "use msgspec structs, dataclasses, typed dicts and plain JSON types, or Meta(extra_json_schema=...)"


def _unfit(kinds: Sequence[type], error: Exception) -> str:
    """Names the type that can't be described; msgspec names only the innermost one."""
    for kind in kinds:
        try:
            msgspec.json.schema_components([kind])
        except (TypeError, ValueError) as own:
            detail = " ".join(str(own).splitlines()[-1:])
            return f"{getattr(kind, '__name__', kind)} has no JSON Schema: {detail}"
    return f"no JSON Schema: {error}"


def _event_name(kind: type, root: Mapping[str, Any]) -> str:
    name = getattr(kind, "__name__", str(kind))
    if root.get("$ref") != _DEFS + name:
        raise DefinitionError(
            f"the event {name} is not a named type of its own",
            fix=f"declare it as a struct: class {name}(msgspec.Struct): ...",
        )
    return name


def _refuse_closed(definitions: Mapping[str, Any]) -> None:
    for name, schema in definitions.items():
        if "properties" in schema and schema.get("additionalProperties") is False:
            raise DefinitionError(
                f"{name} forbids unknown fields, so members of a newer version could not pass this service",
                fix="leave out forbid_unknown_fields: what your handlers write is checked strictly anyway",
            )


def _refuse_scalar_state(root: Mapping[str, Any], definitions: Mapping[str, Any]) -> None:
    name = str(root.get("$ref", "")).removeprefix(_DEFS)
    if definitions.get(name, root).get("type") != "object":
        raise DefinitionError(
            f"the state {name or dict(root)} is not a JSON object", fix="use a struct without array_like, or a dict"
        )


def _document(
    workflow: str, version: int, root: Mapping[str, Any], names: Sequence[str], definitions: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "$schema": DIALECT,
        "$id": f"{_URN}:{workflow}:{version}",
        "title": f"{workflow} version {version}",
        "description": "The state of a run; the payload of each event in x-events is in $defs under its name.",
        **root,
        "x-events": sorted(set(names)),
        "$defs": dict(sorted(definitions.items())),
    }
