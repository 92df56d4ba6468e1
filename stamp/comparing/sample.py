"""One value that a JSON Schema allows, as small as it goes. Pure; for schemas without patterns or riddles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEPTH = 32


def sample(schema: Mapping[str, Any]) -> Any:
    """A value with the required members only. Whether it is valid is for the schema's checker to say."""
    return _value(schema, schema, DEPTH)


def _value(node: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if not depth:
        return None
    if "$ref" in node:
        return _value(_resolved(str(node["$ref"]), root), root, depth - 1)
    for chosen in ("const", "default"):
        if chosen in node:
            return node[chosen]
    if "enum" in node:
        return node["enum"][0]
    if "anyOf" in node:
        return _value(node["anyOf"][0], root, depth - 1)
    return _of_type(node, root, depth)


def _of_type(node: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    match node.get("type"):
        case "string":
            return "sample".ljust(node.get("minLength", 0), "-")[: node.get("maxLength")]
        case "integer" | "number":
            return node.get("minimum", min(1, node.get("maximum", 1)))
        case "boolean":
            return False
        case "array":
            return [_value(node.get("items") or {}, root, depth - 1)] * node.get("minItems", 0)
        case "object":
            members = node.get("properties", {})
            return {name: _value(members.get(name, {}), root, depth - 1) for name in node.get("required", ())}
        case _:
            return None


def _resolved(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    node: Any = root
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    found: Mapping[str, Any] = node
    return found
