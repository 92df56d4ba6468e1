"""The compatibility gate: can a reader of the new version of a schema read what the old version allowed?

Runs are pinned, so versions only meet where one handler serves several of them. There every document that the old
schema allows must be readable by the new one, or an upcast must stand between them. Removing an optional or
required member is no breach (readers are open), but its name stays taken: compare every pair of versions, not
only neighbours, and a name that comes back with another meaning is found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stamp.errors import DefinitionError
from stamp.evolution.subset import BY_TYPE, NOTES, subset_problems
from stamp.schema import Checker

_LOWER = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
_UPPER = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
_FIXED = ("pattern", "format", "contentEncoding", "uniqueItems")
_ANY: Mapping[str, Any] = {}
_ROOT = frozenset({"$schema", "$id", "title", "description", "x-events", "$defs"})
_REF = "#/$defs/"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference, at a path such as `state.customer.name` or `TicketCreated.tags[]`."""

    path: str
    breaking: bool
    reason: str

    def __str__(self) -> str:
        return f"{'breaking' if self.breaking else 'compatible'}: {self.path}: {self.reason}"


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What changed between two frozen documents, state first, then events by name.

    Without a breaking change, every document of declared members that `old` allows is allowed by `new`. Doubtful
    cases count as breaking. Raises `DefinitionError` when a document leaves the judged subset.
    """
    if problems := [*subset_problems(old), *subset_problems(new)]:
        raise DefinitionError(
            f"the schema can't be judged: {'; '.join(problems[:3])}", fix="use the subset of msgspec types"
        )
    judge = _Judge(old["$defs"], new["$defs"])
    changes = list(judge.node(_root(old), _root(new), "state"))
    before, after = set(old["x-events"]), set(new["x-events"])
    for name in sorted(before | after):
        changes += _event(judge, name, before, after)
    return changes


def _root(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in _ROOT}


def _event(judge: _Judge, name: str, before: set[str], after: set[str]) -> list[Change]:
    if name not in after:
        return [Change(name, breaking=False, reason="event removed; its name stays taken")]
    if name not in before:
        return [Change(name, breaking=False, reason="event added")]
    reference = {"$ref": _REF + name}
    return list(judge.node(reference, reference, name))


@dataclass(frozen=True, slots=True)
class _Form:
    """One way to be valid: a JSON type with its keywords, or (`kind` "values") one of a list."""

    kind: str
    schema: Mapping[str, Any]
    origin: int


@dataclass(frozen=True, slots=True)
class _Judge:
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    open: set[tuple[int, int, str]] = field(default_factory=set)
    """Pairs being judged: meeting one again below itself proves nothing new (recursive types)."""

    def node(self, old: Any, new: Any, path: str) -> Iterator[Change]:
        before, after = list(_forms(old, self.old)), list(_forms(new, self.new))
        changes = [
            change
            for form in before
            for change in (self._values(form, new, path) if form.kind == "values" else self._covered(form, after, path))
        ]
        yield from changes
        if before and not any(change.breaking and change.path == path for change in changes):
            yield from _gained(before, after, path)
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("default") != new.get("default"):
            yield Change(path, breaking=False, reason="default changed")

    def _values(self, form: _Form, new: Any, path: str) -> Iterator[Change]:
        allowed = Checker({**new, "$defs": self.new} if isinstance(new, Mapping) else {"anyOf": [new]})
        for value in _listed(form.schema):
            if not allowed.is_valid(value):
                yield Change(path, breaking=True, reason=f"{value!r} is no longer accepted")

    def _covered(self, form: _Form, after: Sequence[_Form], path: str) -> list[Change]:
        """The old form must fit into one new form; the best fit is reported."""
        wider = {form.kind, "number"} if form.kind == "integer" else {form.kind}
        fits = [list(self._pair(form, candidate, path)) for candidate in after if candidate.kind in wider]
        if not fits:
            now = " or ".join(dict.fromkeys(other.kind for other in after)) or "nothing"
            return [Change(path, breaking=True, reason=f"{form.kind} is no longer accepted, only {now}")]
        return min(fits, key=lambda changes: sum(change.breaking for change in changes))

    def _pair(self, old: _Form, new: _Form, path: str) -> Iterator[Change]:
        key = (old.origin, new.origin, old.kind)
        if key in self.open:
            return
        self.open.add(key)
        try:
            yield from _limits(old.schema, new.schema, path)
            if old.kind == "object":
                yield from self._object(old.schema, new.schema, path)
            if old.kind == "array":
                yield from self._array(old.schema, new.schema, path)
        finally:
            self.open.discard(key)

    def _object(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield Change(f"{path}.{name}", breaking=True, reason="required, was not")
        for name in sorted((set(old.get("required", ())) - set(new.get("required", ()))) & after.keys()):
            yield Change(f"{path}.{name}", breaking=False, reason="optional, was required")
        for name in sorted(before.keys() & after.keys()):
            yield from self.node(before[name], after[name], f"{path}.{name}")
        yield from self._removed(old, new, path)
        yield from self._added(old, new, path)
        yield from self._undeclared(old.get("additionalProperties", True), new.get("additionalProperties", True), path)
        if new.get("propertyNames", True) not in (True, {}):
            yield from self.node(old.get("propertyNames", {"type": "string"}), new["propertyNames"], f"{path}.<name>")

    def _removed(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        rest = new.get("additionalProperties", True)
        for name in sorted(before.keys() - after.keys()):
            twins = [
                other for other in sorted(after.keys() - before.keys()) if _bare(after[other]) == _bare(before[name])
            ]
            if twins:
                yield Change(
                    f"{path}.{name}", breaking=True, reason=f"renamed to {twins[0]}? members are never renamed"
                )
            else:
                yield Change(f"{path}.{name}", breaking=False, reason="removed; its name stays taken")
            if rest is not True:
                yield from self.node(before[name], rest, f"{path}.{name}")

    def _added(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
        """A new name was nobody's before, unless the old schema was a map with values of one kind."""
        before, after = old.get("properties", {}), new.get("properties", {})
        rest = old.get("additionalProperties", False)
        for name in sorted(after.keys() - before.keys()):
            yield Change(f"{path}.{name}", breaking=False, reason="added")
            if isinstance(rest, Mapping):
                yield from self.node(rest, after[name], f"{path}.{name}")

    def _undeclared(self, old: Any, new: Any, path: str) -> Iterator[Change]:
        if new in (True, {}) or old is False:
            if old not in (True, {}) and old != new:
                yield Change(path, breaking=False, reason="undeclared members are accepted more widely")
            return
        if old is True:
            yield Change(path, breaking=True, reason="undeclared members are no longer accepted as they were")
            return
        yield from self.node(old, new, f"{path}.*")

    def _array(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
        before, after = old.get("prefixItems", ()), new.get("prefixItems", ())
        rest, room = old.get("items", _ANY), new.get("items", _ANY)
        for place in range(max(len(before), len(after))):
            was = before[place] if place < len(before) else rest
            now = after[place] if place < len(after) else room
            yield from self.node(was, now, f"{path}[{place}]")
        yield from self.node(rest, room, f"{path}[]")


def _forms(node: Any, definitions: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> Iterator[_Form]:
    """Every form a node allows, references and choices resolved."""
    if isinstance(node, bool):
        node = _ANY if node else {"anyOf": []}
    if "$ref" in node:
        name = node["$ref"].removeprefix(_REF)
        if name not in seen:
            yield from _forms(definitions[name], definitions, seen | {name})
    elif "anyOf" in node:
        for choice in node["anyOf"]:
            yield from _forms(choice, definitions, seen)
    elif "enum" in node or "const" in node:
        yield _Form("values", node, id(node))
    else:
        named = node.get("type", [kind for kind in BY_TYPE if kind != "integer"])
        yield from (_Form(kind, node, id(node)) for kind in ([named] if isinstance(named, str) else named))


def _gained(before: Sequence[_Form], after: Sequence[_Form], path: str) -> Iterator[Change]:
    kinds = [form.kind for form in before]
    for kind in dict.fromkeys(form.kind for form in after if form.kind not in kinds):
        yield Change(path, breaking=False, reason=f"also accepts {kind}")
    known = [json.dumps(value) for form in before if form.kind == "values" for value in _listed(form.schema)]
    listed = [json.dumps(value) for form in after if form.kind == "values" for value in _listed(form.schema)]
    if known and (more := [value for value in listed if value not in known]):
        yield Change(path, breaking=False, reason=f"also accepts {', '.join(more)}")


def _listed(schema: Mapping[str, Any]) -> Sequence[Any]:
    return schema["enum"] if "enum" in schema else [schema["const"]]


def _bare(schema: Any) -> Any:
    return {key: value for key, value in schema.items() if key not in NOTES} if isinstance(schema, Mapping) else schema


def _limits(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
    """Bounds and fixed keywords: what the new schema adds or tightens is breaking."""
    for keyword in (*_LOWER, *_UPPER, *_FIXED, "multipleOf"):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        tighter = after is not None and _tighter(keyword, before, after)
        yield Change(path, breaking=tighter, reason=f"{keyword} {_said(before)} is now {_said(after)}")


def _tighter(keyword: str, before: Any, after: Any) -> bool:
    if keyword == "uniqueItems":
        return bool(after)
    if before is None or keyword in _FIXED:
        return True
    if keyword == "multipleOf":
        return bool(before % after)
    return bool(after > before if keyword in _LOWER else after < before)


def _said(value: Any) -> str:
    return "(none)" if value is None else str(value)
