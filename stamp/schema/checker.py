"""One compiled JSON Schema: a verdict in about a microsecond, and words when the verdict is no."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Mapping, Sized
from typing import TYPE_CHECKING, Any, Protocol

from stamp.errors import BadConfiguration
from stamp.resources import stamp_schema

if TYPE_CHECKING:
    import jsonschema_rs

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_PROBLEMS = 3
_WIDTH = 80


class _Problem(Protocol):
    """What is read of `jsonschema.ValidationError`."""

    validator: str
    validator_value: Any
    instance: Any
    schema: Any
    message: str
    json_path: str
    path: Sized


class Checker:
    """A schema, compiled when first asked. Nothing is ever fetched: references stay inside the schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    @functools.cached_property
    def _compiled(self) -> jsonschema_rs.Draft202012Validator:
        import jsonschema_rs  # noqa: PLC0415 - 10 to 20 ms of processor time that `stamp --help` need not pay

        try:
            return jsonschema_rs.Draft202012Validator(dict(self.schema), offline=True)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise BadConfiguration(f"the schema can't be used: {_cut(str(error))}", fix="freeze it again") from error

    def is_valid(self, instance: object) -> bool:
        """The verdict. False too for what JSON cannot express (bytes, keys that are not text, lone surrogates).

        Raises `BadConfiguration` when the schema itself is broken or refers to another document.
        """
        compiled = self._compiled
        try:
            return compiled.is_valid(instance)
        except ValueError:
            return False

    def explain(self, instance: object) -> str:
        """At most three problems, `<path>: expected <what>, got <value>`; values are cut, the instance never shown.

        Meant for an instance that `is_valid` refused; slow (milliseconds).
        """
        import jsonschema  # type: ignore[import-untyped]  # noqa: PLC0415 - 40 to 90 ms, paid by the first error

        if (unreadable := _not_json(instance)) is not None:
            return unreadable
        validator: Any = jsonschema.Draft202012Validator(dict(self.schema))
        errors: list[_Problem] = sorted(validator.iter_errors(instance), key=lambda error: len(error.path))
        typed = {error.json_path for error in errors if error.validator == "type"}
        told = [error for error in errors if error.validator == "type" or error.json_path not in typed]
        words = list(dict.fromkeys(_worded(error) for error in told))
        more = [f"and {len(words) - _PROBLEMS} more"] if len(words) > _PROBLEMS else []
        return "; ".join(words[:_PROBLEMS] + more) or "$: refused by the schema"


@functools.cache
def stamp_checker() -> Checker:
    """A whole stamp, every history entry included: for tools, not for each hop (the cost grows with the run)."""
    return Checker(_format())


@functools.cache
def header_checker() -> Checker:
    """A stamp without looking into the entries of `history`: the check of each hop."""
    schema = _format()
    return Checker({**schema, "properties": {**schema["properties"], "history": {"type": "array"}}})


@functools.cache
def entry_checker() -> Checker:
    """One entry of `history`."""
    schema = _format()
    return Checker({"$schema": DIALECT, "$ref": "#/$defs/entry", "$defs": schema["$defs"]})


@functools.cache
def _format() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(stamp_schema())
    return document


def _not_json(instance: object) -> str | None:
    try:
        json.dumps(instance, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return f"$: not expressible in JSON ({_cut(str(error))})"
    return None


def _worded(error: _Problem) -> str:
    words = _WORDS.get(str(error.validator), _plain)
    return f"{_cut(error.json_path)}: {_cut(words(error))}, got {_shown(error.instance)}"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _shown(value: object) -> str:
    match value:
        case dict():
            names = ", ".join(itertools.islice((str(name) for name in value), 5))
            return _cut(f"an object with {names}" if names else "an empty object")
        case list():
            return f"an array of {len(value)}"
        case _:
            return _cut(json.dumps(value, ensure_ascii=False))


def _plain(error: _Problem) -> str:
    return f"expected {error.validator} {json.dumps(error.validator_value, ensure_ascii=False)}"


def _type(error: _Problem) -> str:
    wanted = error.validator_value
    return "expected " + (wanted if isinstance(wanted, str) else " or ".join(wanted))


def _enum(error: _Problem) -> str:
    return "expected one of " + ", ".join(json.dumps(value, ensure_ascii=False) for value in error.validator_value)


def _undeclared(error: _Problem) -> str:
    declared = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
    return "undeclared member " + ", ".join(sorted(str(name) for name in error.instance if name not in declared))


def _any_of(error: _Problem) -> str:
    forms = [_form(schema) for schema in error.validator_value]
    return "expected " + " or ".join(dict.fromkeys(forms))


def _form(schema: object) -> str:
    if not isinstance(schema, Mapping):
        return "another form"
    return str(schema.get("type") or str(schema.get("$ref", "another form")).rpartition("/")[2])


_WORDS: Mapping[str, Callable[[_Problem], str]] = {
    "type": _type,
    "enum": _enum,
    "required": lambda error: error.message,
    "pattern": lambda error: f"expected text like {error.validator_value}",
    "not": lambda _: "a character or form that is not allowed here",
    "minimum": lambda error: f"expected at least {error.validator_value}",
    "maximum": lambda error: f"expected at most {error.validator_value}",
    "minLength": lambda error: f"expected at least {error.validator_value} characters",
    "maxLength": lambda error: f"expected at most {error.validator_value} characters",
    "additionalProperties": _undeclared,
    "anyOf": _any_of,
}
