"""Write a handler's typed state back without losing what its types do not know.

A typed view drops unknown members when it is encoded (a rolling deploy would strip a newer service's data on the
way through an older one). So the change that the handler made to its view is applied to the raw state instead.
"""

from __future__ import annotations

from typing import Any


def graft(raw: Any, before: Any, after: Any) -> Any:
    """`raw` with the change from `before` to `after` applied; equal parts keep their unknown members.

    `before` is the view of `raw` as plain values, `after` the same view once the handler is done. Items of a
    changed list keep their unknown members when they stand unchanged anywhere in it, or changed at the same place of
    a list of the same length. Pure: no argument is changed.
    """
    if before == after and type(before) is type(after):
        return raw
    if isinstance(raw, dict) and isinstance(before, dict) and isinstance(after, dict):
        return _graft_object(raw, before, after)
    if isinstance(raw, list) and isinstance(before, list) and isinstance(after, list):
        return _graft_array(raw, before, after)
    return after


def _graft_object(raw: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    grafted = raw.copy()
    for name in before.keys() - after.keys():
        grafted.pop(name, None)
    for name, value in after.items():
        if name not in raw or name not in before:
            grafted[name] = value
        elif value is not before[name]:
            grafted[name] = graft(raw[name], before[name], value)
    return grafted


def _graft_array(raw: list[Any], before: list[Any], after: list[Any]) -> list[Any]:
    same_length = len(raw) == len(before) == len(after)
    unused = list(range(min(len(raw), len(before))))
    return [_graft_item(raw, before, unused, place, item, same_length=same_length) for place, item in enumerate(after)]


def _graft_item(
    raw: list[Any], before: list[Any], unused: list[int], place: int, item: Any, *, same_length: bool
) -> Any:
    twin = next((index for index in unused if before[index] == item), None)
    if twin is not None:
        unused.remove(twin)
        return raw[twin]
    return graft(raw[place], before[place], item) if same_length else item
