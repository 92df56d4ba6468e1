"""Frozen schema files: `<folder>/workflows/<NAME>/<version>.json`, written once, the contract from then on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from stamp.errors import BadConfiguration, SchemaDrift, SchemaMissing
from stamp.schema.contract import Contract

if TYPE_CHECKING:
    from pathlib import Path

_FIRST = ("$schema", "$id", "$ref", "title", "description", "type", "enum", "properties", "required")
_LAST = ("x-events", "$defs")
_NOTES = frozenset({"title", "description", "$comment", "examples"})
_UNORDERED = frozenset({"required", "enum", "type", "anyOf", "x-events"})
_ABSENT = object()
_SHOWN = 3
_WIDTH = 80

_comparing: ContextVar[bool] = ContextVar("stamp_comparing", default=False)


@contextmanager
def comparing() -> Iterator[None]:
    """Workflows that are defined in this block are not held against their frozen files: the caller is about to do that.

    Without it a module could not be loaded whose next version is to be frozen.
    """
    before = _comparing.set(True)
    try:
        yield
    finally:
        _comparing.reset(before)


def contract_of(derived: Contract, folder: Path, *, where: str) -> Contract:
    """What a definition in the code goes by: its frozen file. Raises `SchemaMissing`, and `SchemaDrift` naming `where`.

    Inside `comparing` it is what the types say.
    """
    if _comparing.get():
        return derived
    contract = frozen(folder, derived.workflow, derived.version)
    if differences := drift(derived, contract):
        raise SchemaDrift(
            f"{where}: {derived.workflow} v{derived.version} is not what was frozen: {'; '.join(differences[:_SHOWN])}",
            fix="raise the version, or bring the types back; a frozen schema is a promise to running stamps",
        )
    return contract


def dumps(document: Mapping[str, Any]) -> str:
    """The text of a frozen file: the same document always gives the same bytes."""
    return json.dumps(_ordered(document), indent=2, ensure_ascii=False) + "\n"


def freeze(contract: Contract, folder: Path, *, overwrite: bool = False) -> Path:
    """Write the contract below `folder`; returns the file.

    Raises `SchemaDrift` when a file of this version says something else (changed descriptions do not count).
    """
    path = _path(folder, contract.workflow, contract.version)
    if path.exists() and not overwrite:
        _refuse_drift(contract, frozen(folder, contract.workflow, contract.version), path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(contract.document), "utf-8")
    return path


def frozen(folder: Path, workflow: str, version: int) -> Contract:
    """Read what was frozen. Raises `SchemaMissing`, or `BadConfiguration` for a file that is no such schema."""
    path = _path(folder, workflow, version)
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SchemaMissing(
            f"no frozen schema of {workflow} version {version}: {path} is not there", fix="stamp schemas freeze"
        ) from None
    except ValueError as error:
        raise BadConfiguration(f"{path} is not JSON: {error}", fix="stamp schemas freeze --force") from error
    contract = Contract.load(document)
    if (contract.workflow, contract.version) != (workflow, version):
        raise BadConfiguration(f"{path} holds {document['$id']}", fix="move the file to where its $id belongs")
    return contract


def versions(folder: Path, workflow: str) -> tuple[int, ...]:
    """The versions of a workflow that have a frozen file, ascending."""
    files = (folder / "workflows" / workflow).glob("*.json")
    return tuple(sorted(int(path.stem) for path in files if path.stem.isdecimal()))


def drift(code: Contract, frozen: Contract) -> list[str]:
    """Every difference between the types in the code and the frozen file, one line each, by path.

    Empty means: same contract. Titles, descriptions and the order of members are not part of it.
    """
    return list(_differences(_normal(code.document), _normal(frozen.document), "$"))


def _path(folder: Path, workflow: str, version: int) -> Path:
    return folder / "workflows" / workflow / f"{version}.json"


def _refuse_drift(contract: Contract, old: Contract, path: Path) -> None:
    if differences := drift(contract, old):
        rest = len(differences) - _SHOWN
        shown = "; ".join([*differences[:_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])
        raise SchemaDrift(
            f"{path} is frozen and the code differs: {shown}",
            fix=f"raise the version to {contract.version + 1}, or --force while no run of it exists",
        )


def _ordered(node: Any, *, names: bool = False) -> Any:
    """Keywords in reading order, names of members and definitions sorted, `required` sorted."""
    if isinstance(node, list):
        return [_ordered(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    order = sorted(node) if names else sorted(node, key=_rank)
    return {key: _value(key, node[key], names=names) for key in order}


def _value(key: str, value: Any, *, names: bool) -> Any:
    if names:
        return _ordered(value)
    if key in {"default", "examples", "enum", "const"}:
        return value
    if key == "required":
        return sorted(value)
    return _ordered(value, names=key in {"properties", "$defs"})


def _rank(key: str) -> tuple[int, str]:
    if key in _FIRST:
        return _FIRST.index(key), key
    return len(_FIRST) + (1 + _LAST.index(key) if key in _LAST else 0), key


def _normal(node: Any, *, names: bool = False) -> Any:
    """Without notes and without the order of what has none."""
    if isinstance(node, list):
        return [_normal(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    kept = {key: value for key, value in node.items() if names or key not in _NOTES}
    return {key: _normal_value(key, value, names=names) for key, value in kept.items()}


def _normal_value(key: str, value: Any, *, names: bool) -> Any:
    normal = _normal(value, names=not names and key in {"properties", "$defs"})
    if not names and key in _UNORDERED and isinstance(normal, list):
        return sorted(normal, key=lambda item: json.dumps(item, sort_keys=True))
    return normal


def _differences(code: Any, old: Any, path: str) -> Iterator[str]:
    if isinstance(code, dict) and isinstance(old, dict):
        for key in sorted(code.keys() | old.keys()):
            yield from _differences(code.get(key, _ABSENT), old.get(key, _ABSENT), f"{path}.{key}")
        return
    if code is _ABSENT:
        yield f"{path}: frozen, no longer in the code"
    elif old is _ABSENT:
        yield f"{path}: in the code, not frozen"
    elif json.dumps(code, sort_keys=True) != json.dumps(old, sort_keys=True):
        yield f"{path}: {_short(code)} in the code, {_short(old)} frozen"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
