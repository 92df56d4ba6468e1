"""The compatibility gate, example by example, and against generated documents."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from stamp.errors import DefinitionError
from stamp.evolution import subset_problems
from stamp.evolution.compare import compare
from stamp.schema import Checker


def document(state: dict[str, Any], **definitions: Any) -> dict[str, Any]:
    events = sorted(name for name in definitions if name[0].isupper())
    return {**state, "x-events": events, "$defs": definitions}


def thing(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TEXT = {"type": "string"}
INT = {"type": "integer"}
NODE = thing(("v",), v=INT, kids={"type": "array", "items": {"$ref": "#/$defs/node"}})


def breaking(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [str(change) for change in compare(document(old), document(new)) if change.breaking]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (thing(a=TEXT), thing(("a",), a=TEXT), "state.a: required, was not"),
        (thing(), thing(("b",), b=TEXT), "state.b: required, was not"),
        (thing(a=TEXT), thing(a=INT), "state.a: string is no longer accepted, only integer"),
        (thing(a={"type": "number"}), thing(a=INT), "state.a: number is no longer accepted"),
        (thing(a={"type": ["string", "null"]}), thing(a=TEXT), "state.a: null is no longer accepted"),
        (thing(a={"anyOf": [TEXT, {"type": "null"}]}), thing(a=TEXT), "state.a: null is no longer accepted"),
        (thing(a={"enum": ["x", "y"]}), thing(a={"enum": ["x"]}), "state.a: 'y' is no longer accepted"),
        (thing(a={"enum": [1]}), thing(a={"enum": [True]}), "state.a: 1 is no longer accepted"),
        (thing(a={"const": "x"}), thing(a=INT), "state.a: 'x' is no longer accepted"),
        (thing(a=TEXT), thing(a={"enum": ["x"]}), "state.a: string is no longer accepted"),
        (
            thing(a={}),
            thing(a={"type": ["string", "number", "object", "array", "boolean"]}),
            "state.a: null is no longer",
        ),
        (thing(a=TEXT), thing(a={**TEXT, "pattern": "^x"}), "state.a: pattern (none) is now ^x"),
        (thing(a=TEXT), thing(a={**TEXT, "format": "uuid"}), "state.a: format (none) is now uuid"),
        (thing(a=TEXT), thing(a={**TEXT, "maxLength": 5}), "state.a: maxLength (none) is now 5"),
        (thing(a={**INT, "minimum": 1}), thing(a={**INT, "minimum": 2}), "state.a: minimum 1 is now 2"),
        (thing(a={**INT, "multipleOf": 2}), thing(a={**INT, "multipleOf": 4}), "state.a: multipleOf 2 is now 4"),
        (thing(a=TEXT), thing(b=TEXT), "state.a: renamed to b?"),
        (thing(), {**thing(), "additionalProperties": False}, "state: undeclared members"),
        (
            {"type": "object", "additionalProperties": INT},
            {"type": "object", "additionalProperties": TEXT},
            "state.*: integer is no longer accepted",
        ),
        ({"type": "object", "additionalProperties": INT}, thing(a=TEXT), "state.a: integer is no longer accepted"),
        (
            thing(a={"type": "array", "items": TEXT}),
            thing(a={"type": "array", "items": INT}),
            "state.a[]: string is no longer accepted",
        ),
        (
            thing(a={"type": "array", "prefixItems": [INT, TEXT], "items": False}),
            thing(a={"type": "array", "prefixItems": [INT], "items": False}),
            "state.a[1]: string is no longer accepted, only nothing",
        ),
        (
            {"type": "object"},
            {"type": "object", "propertyNames": {"type": "string", "pattern": "^a"}},
            "state.<name>: pattern (none) is now ^a",
        ),
    ],
)
def test_what_narrows_is_breaking(old: dict[str, Any], new: dict[str, Any], path: str) -> None:
    assert [change for change in breaking(old, new) if change.startswith(f"breaking: {path}")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (thing(("a",), a=TEXT), thing(a=TEXT)),
        (thing(), thing(b=TEXT)),
        (thing(("a",), a=TEXT), thing()),
        (thing(a=INT), thing(a={"type": "number"})),
        (thing(a=TEXT), thing(a={"anyOf": [{"type": "null"}, TEXT]})),
        (thing(a={"enum": ["x"]}), thing(a=TEXT)),
        (thing(a={"enum": ["x"]}), thing(a={"enum": ["y", "x"]})),
        (thing(a={**TEXT, "pattern": "^x"}), thing(a=TEXT)),
        (thing(a={**TEXT, "title": "A", "default": "x"}), thing(a={**TEXT, "description": "B", "default": "y"})),
        (thing(a={**INT, "multipleOf": 4}), thing(a={**INT, "multipleOf": 2})),
        (thing(a=TEXT), thing(a={})),
        (
            {"type": "object", "additionalProperties": INT},
            {"type": "object", "additionalProperties": {"type": "number"}},
        ),
        ({"type": "object", "additionalProperties": INT}, {"type": "object"}),
    ],
)
def test_what_widens_is_compatible(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert breaking(old, new) == []
    assert compare(document(old), document(new)) != []


def test_a_removed_member_that_comes_back_with_another_type_is_found_by_comparing_all_pairs() -> None:
    first, second, third = thing(a=TEXT), thing(), thing(a=INT)
    assert [breaking(first, second), breaking(second, third)] == [[], []]
    assert breaking(first, third) != []


def test_equal_documents_have_no_changes() -> None:
    same = document({"$ref": "#/$defs/node"}, node=NODE, Made=thing(a=TEXT))
    assert compare(same, copy.deepcopy(same)) == []


def test_recursive_types_are_compared_once_round() -> None:
    new = thing(("v",), v={**INT, "minimum": 0}, kids={"type": "array", "items": {"$ref": "#/$defs/node"}})
    old = document({"$ref": "#/$defs/node"}, node=NODE)
    assert [str(change) for change in compare(old, document({"$ref": "#/$defs/node"}, node=new))] == [
        "breaking: state.v: minimum (none) is now 0"
    ]


def test_a_definition_that_is_only_itself_ends() -> None:
    loop = document({"type": "object"}, Loop={"$ref": "#/$defs/Loop"})
    assert compare(loop, copy.deepcopy(loop)) == []


def test_events_are_compared_by_name() -> None:
    old = document({"type": "object"}, Made=thing(a=TEXT), Gone=thing())
    new = document({"type": "object"}, Made=thing(a=INT), Come=thing())
    assert [(change.path, change.breaking) for change in compare(old, new)] == [
        ("Come", False),
        ("Gone", False),
        ("Made.a", True),
    ]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "unevaluatedProperties": False},
        {"$dynamicRef": "#node"},
        {"allOf": [TEXT]},
        {"not": TEXT},
        {"if": TEXT},
        {"$ref": "https://example.com/other.json"},
        {"$ref": "#/$defs/missing"},
        {"anyOf": [TEXT], "type": "string"},
        {"$ref": "#/$defs/Made", "minLength": 1},
        {"minLength": 1},
        {"type": "string", "minimum": 1},
        "text",
    ],
)
def test_what_can_not_be_judged_is_refused(schema: Any) -> None:
    odd = document(thing(a=schema), Made=thing())
    assert all(problem.startswith("$.properties.a") for problem in subset_problems(odd))
    with pytest.raises(DefinitionError, match="can't be judged"):
        compare(odd, odd)


SMALL = st.integers(-3, 6)
WORDS = st.text(alphabet="abx", max_size=4)
NAMES = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.one_of(
    st.just({}),
    st.just({"type": "null"}),
    st.just({"type": "boolean"}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])}, optional={"minimum": SMALL, "maximum": SMALL}
    ),
    st.fixed_dictionaries({"type": st.just("integer")}, optional={"multipleOf": st.integers(1, 4)}),
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(1, 4),
            "pattern": st.sampled_from(["a", "^b"]),
        },
    ),
    st.just({"type": ["string", "null"]}),
    st.builds(
        lambda values: {"enum": values}, st.lists(st.none() | st.booleans() | SMALL | WORDS, min_size=1, max_size=3)
    ),
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda properties, required, rest: {
            "type": "object",
            "properties": properties,
            "required": sorted(required & properties.keys()),
            **rest,
        },
        st.dictionaries(NAMES, inner, max_size=3),
        st.sets(NAMES, max_size=2),
        st.just({}) | st.builds(lambda schema: {"additionalProperties": schema}, inner | st.booleans()),
    )


SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        objects(inner),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda item, rest: {"type": "array", "items": item, **rest}, inner, st.sampled_from([{}, {"maxItems": 2}])
        ),
        st.builds(
            lambda items: {"type": "array", "prefixItems": items, "items": False},
            st.lists(inner, min_size=1, max_size=2),
        ),
        st.just({"$ref": "#/$defs/shared"}),
    ),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn, schema: Any) -> Any:
    """The schema with changes here and there, often none."""
    if draw(st.integers(0, 9)) == 0 or not isinstance(schema, dict):
        return draw(SCHEMAS)
    result = dict(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), dict):
            result[key] = draw(mutated(result[key]))
    for key in ("anyOf", "prefixItems"):
        if key in result:
            result[key] = [draw(mutated(item)) for item in result[key]]
    if "properties" in result:
        result["properties"] = {name: draw(mutated(item)) for name, item in result["properties"].items()}
        _shake(draw, result)
    return _tweaked(draw, result)


def _tweaked(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    """With a bound moved, or a listed value more or less."""
    if "enum" in schema and draw(st.booleans()):
        return {"enum": draw(st.lists(st.sampled_from([*schema["enum"], "x", 1]), min_size=1, max_size=4))}
    bounds = {"integer": ("minimum", "maximum"), "number": ("minimum", "maximum"), "string": ("minLength", "maxLength")}
    kind = schema.get("type")
    if isinstance(kind, str) and kind in bounds and draw(st.booleans()):
        return {**schema, draw(st.sampled_from(bounds[kind])): draw(st.integers(0, 4))}
    return schema


def _shake(draw: st.DrawFn, schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    for name in draw(st.sets(NAMES, max_size=1)):
        if properties.pop(name, None) is None:
            properties[name] = draw(SCALARS)
    if draw(st.booleans()):
        schema["required"] = sorted(draw(st.sets(NAMES, max_size=2)) & properties.keys())


PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-6, 12),
    "number": st.integers(-6, 12) | st.sampled_from([0.5, 1.0, 2.5]),
    "string": WORDS,
    "boolean": st.booleans(),
    "null": st.none(),
}


@st.composite
def instances(draw: st.DrawFn, schema: Any, shared: Any, depth: int = 0) -> Any:
    """A value of declared members that the schema probably allows."""
    assume(depth < 8)
    assume(schema is not False)
    if "$ref" in (schema := {} if schema is True else schema):
        schema = shared
    if "anyOf" in schema:
        return draw(instances(draw(st.sampled_from(schema["anyOf"])), shared, depth + 1))
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    named = schema.get("type", ["null", "boolean", "integer", "number", "string", "object", "array"])
    kind = named if isinstance(named, str) else draw(st.sampled_from(named))
    return draw(_of_kind(kind, schema, shared, depth + 1))


def _of_kind(kind: str, schema: Any, shared: Any, depth: int) -> st.SearchStrategy[Any]:
    if kind == "object":
        return _object(schema, shared, depth)
    if kind != "array":
        return PLAIN[kind]
    prefix = [instances(item, shared, depth) for item in schema.get("prefixItems", [])]
    rest = schema.get("items", {})
    tail = st.just([]) if rest is False else st.lists(instances(rest, shared, depth), max_size=2)
    return st.builds(lambda head, end: [*head, *end], st.tuples(*prefix), tail)


def _object(schema: Any, shared: Any, depth: int) -> st.SearchStrategy[Any]:
    properties = {name: instances(item, shared, depth) for name, item in schema.get("properties", {}).items()}
    must = {name: item for name, item in properties.items() if name in schema.get("required", ())}
    may = {name: item for name, item in properties.items() if name not in must}
    declared = st.fixed_dictionaries(must, optional=may)
    rest = schema.get("additionalProperties")
    if not isinstance(rest, dict):
        return declared
    return st.builds(
        lambda more, own: {**more, **own}, st.dictionaries(NAMES, instances(rest, shared, depth), max_size=3), declared
    )


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_without_a_breaking_change_old_documents_are_valid_under_the_new_schema(data: st.DataObject) -> None:
    old_state, old_shared = data.draw(objects(SCHEMAS)), data.draw(objects(SCHEMAS))
    new_state, new_shared = data.draw(mutated(old_state)), data.draw(mutated(old_shared))
    old, new = document(old_state, shared=old_shared), document(new_state, shared=new_shared)
    assume(not any(change.breaking for change in compare(old, new)))
    instance = data.draw(instances(old_state, old_shared))
    assume(Checker(old).is_valid(instance))
    event("changed" if old != new else "equal")
    assert Checker(new).is_valid(instance)
