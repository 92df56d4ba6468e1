"""What a handler's source tells about it before it ever runs."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

STATE = "state"


def touches_state(handler: Callable[..., Any]) -> bool:
    """Whether the handler itself reads or writes `hop.state`. What can't be looked at is believed not to."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(handler))))
    except (OSError, TypeError, SyntaxError):
        return False
    function = next((node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)), None)
    if function is None or not function.args.args:
        return False
    hop = function.args.args[-1].arg
    return any(_is_state_of(node, hop) for node in ast.walk(function))


def _is_state_of(node: ast.AST, name: str) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == STATE
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    )
