"""The part of JSON Schema that the compatibility gate judges without guessing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NOTES = frozenset(
    {
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "$comment",
        "discriminator",
        "x-merge",
    }
)
"""Keywords that never refuse an instance."""

BY_TYPE: Mapping[str, frozenset[str]] = {
    "object": frozenset(
        {"properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"}
    ),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format", "contentEncoding"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "boolean": frozenset(),
    "null": frozenset(),
}
"""Keywords that mean something for each type."""

_ROOT = frozenset({"$schema", "$id", "$defs", "x-events"})
_REF = "#/$defs/"


def subset_problems(document: Mapping[str, Any]) -> list[str]:
    """What in a frozen schema can't be judged, `<path>: <why>`; empty means that `compare` gives true answers.

    Allowed: the types with their own keywords, `enum`, `const`, `anyOf`, `$ref` into `$defs`. Refused: anything
    else, such as `allOf`, `if`, `not`, `unevaluatedProperties`, `$dynamicRef`, references to other documents.
    """
    definitions = document.get("$defs", {})
    root = {key: value for key, value in document.items() if key not in _ROOT}
    nodes = [("$", root), *((f"$.$defs.{name}", schema) for name, schema in definitions.items())]
    return [problem for path, node in nodes for problem in _problems(node, path, definitions)]


def _problems(node: Any, path: str, definitions: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(node, bool):
        return
    if not isinstance(node, Mapping):
        yield f"{path}: not a schema"
        return
    yield from (f"{path}: {key} is outside the judged subset" for key in sorted(node.keys() - _allowed(node)))
    reference = node.get("$ref")
    if reference is not None and not _resolves(reference, definitions):
        yield f"{path}: $ref {reference!r} does not name a definition of this document"
    for below, schema in children(node):
        yield from _problems(schema, path + below, definitions)


def _resolves(reference: object, definitions: Mapping[str, Any]) -> bool:
    return isinstance(reference, str) and reference.startswith(_REF) and reference.removeprefix(_REF) in definitions


def _allowed(node: Mapping[str, Any]) -> frozenset[str]:
    """Keywords that may stand in this node, by its form: reference, choice, enumeration, or types."""
    for form in ("$ref", "anyOf", "enum", "const"):
        if form in node:
            return NOTES | {form} | ({"type"} if form in ("enum", "const") else frozenset())
    types = types_of(node) if "type" in node else ()
    return NOTES.union({"type"}, *(BY_TYPE.get(kind, frozenset()) for kind in types))


def types_of(node: Mapping[str, Any]) -> tuple[str, ...]:
    """The types a node names, or all of them."""
    named = node.get("type", [kind for kind in BY_TYPE if kind != "integer"])
    return (named,) if isinstance(named, str) else tuple(named)


def children(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every schema directly below a node, with its path."""
    for name, schema in node.get("properties", {}).items():
        yield f".properties.{name}", schema
    for key in ("anyOf", "prefixItems"):
        for index, schema in enumerate(node.get(key, ())):
            yield f".{key}[{index}]", schema
    for key in ("items", "additionalProperties", "propertyNames"):
        if key in node:
            yield f".{key}", node[key]
