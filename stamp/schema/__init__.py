"""JSON Schema: verdicts, worded errors, and the frozen contract of each workflow version.

The only place that imports `jsonschema` (for words) and `jsonschema_rs` (for verdicts), both when first needed. Names
are loaded when they are first used: reading a stamp needs no contracts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stamp.schema.checker import Checker as Checker
    from stamp.schema.checker import entry_checker as entry_checker
    from stamp.schema.checker import header_checker as header_checker
    from stamp.schema.checker import stamp_checker as stamp_checker
    from stamp.schema.contract import Contract as Contract
    from stamp.schema.files import contract_of as contract_of
    from stamp.schema.files import drift as drift
    from stamp.schema.files import dumps as dumps
    from stamp.schema.files import freeze as freeze
    from stamp.schema.files import frozen as frozen
    from stamp.schema.files import versions as versions

_HOMES = {
    "Checker": "checker",
    "Contract": "contract",
    "contract_of": "files",
    "drift": "files",
    "dumps": "files",
    "entry_checker": "checker",
    "freeze": "files",
    "frozen": "files",
    "header_checker": "checker",
    "stamp_checker": "checker",
    "versions": "files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stamp.schema' has no attribute {name!r}")
    return getattr(import_module(f"stamp.schema.{_HOMES[name]}"), name)
