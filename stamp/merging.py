"""Uniting what branches did: histories entry by entry, state three-way against what it was at the fork. Pure.

Both depend only on the set of arrivals: in any order, in any grouping, with repeats, the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from stamp.errors import Equivocation, MergeConflict
from stamp.evolution import newest
from stamp.model import Stamp

Policy = Literal["error", "max", "min", "sum", "union"]
POLICIES: tuple[Policy, ...] = ("error", "max", "min", "sum", "union")
KEYWORD = "x-merge"
"""The keyword of a member's JSON Schema that names its policy: readable in every language."""

_OWN = frozenset(
    {"workflow", "version", "run", "started", "phase", "event", "seq", "branch", "state", "base", "error", "past"}
)
"""Members of a stamp that are settled by the format, not merged."""

_ABSENT = object()
_canonical = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode


def merge(policy: Policy) -> msgspec.Meta:
    """How a member of the state is merged when several branches changed it: `Annotated[int, merge("sum")]`.

    `"error"` holds the message, `"max"` and `"min"` choose among what the branches wrote, `"sum"` adds up what each
    added, `"union"` collects what each added to a list.
    """
    return msgspec.Meta(extra_json_schema={KEYWORD: policy})


def policies_of(schema: Mapping[str, Any]) -> dict[str, Policy]:
    """The policies that a workflow's schema declares for the members of its state; the others are `"error"`."""
    root: Mapping[str, Any] = schema
    reference = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if reference:
        root = schema["$defs"][reference]
    found = {name: member.get(KEYWORD) for name, member in root.get("properties", {}).items()}
    return {name: cast(Policy, policy) for name, policy in found.items() if policy in POLICIES}


def merge_states(
    base: Mapping[str, Any],
    states: Sequence[Mapping[str, Any]],
    policies: Mapping[str, Policy],
    *,
    fallback: Policy | Literal["base"] = "error",
) -> dict[str, Any]:
    """One state of several that all came from `base`. What one branch changed, or all alike, is taken over.

    Raises `MergeConflict` where branches disagree about a member of policy `"error"`; with `fallback="base"` such
    members keep the value that they had at the fork.
    """
    names = dict.fromkeys([*base, *sorted({name for state in states for name in state})])
    united: dict[str, Any] = {}
    for name in names:
        was = base.get(name, _ABSENT)
        value = _merged(name, was, [state.get(name, _ABSENT) for state in states], policies.get(name) or fallback)
        if value is not _ABSENT:
            united[name] = value
    return united


def _merged(name: str, was: Any, values: Sequence[Any], policy: Policy | Literal["base"]) -> Any:
    written = [value for value in values if not _same(value, was)]
    if not written:
        return was
    if policy in {"sum", "union"}:
        return _COLLECT[policy](was, written)
    if all(_same(value, written[0]) for value in written):
        return written[0]
    if policy in {"max", "min"}:
        return _COLLECT[policy](was, [value for value in written if value is not _ABSENT])
    if policy == "base":
        return was
    raise MergeConflict(
        f"branches disagree about state.{name}: {' and '.join(sorted({_shown(value) for value in written}))}",
        fix=f"let one branch write it, or declare a policy: {name}: Annotated[..., merge(...)]",
    )


def _sum(was: Any, written: Sequence[Any]) -> Any:
    start = 0 if was is _ABSENT or was is None else was
    return start + sum(value - start for value in written if value is not _ABSENT and value is not None)


def _union(was: Any, written: Sequence[Any]) -> Any:
    start = list(was) if isinstance(was, list) else []
    known = {_canonical(item) for item in start}
    added = {_canonical(item): item for value in written if isinstance(value, list) for item in value}
    return [*start, *(item for text, item in sorted(added.items()) if text not in known)]


_COLLECT: dict[str, Callable[[Any, Sequence[Any]], Any]] = {
    "sum": _sum,
    "union": _union,
    "max": lambda _, written: max(written),
    "min": lambda _, written: min(written),
}


def _same(one: Any, other: Any) -> bool:
    if one is _ABSENT or other is _ABSENT:
        return one is other
    return type(one) is type(other) and bool(one == other)


def _shown(value: Any) -> str:
    return "nothing" if value is _ABSENT else _canonical(value).decode()[:80]


def merge_histories(base: Stamp, stamps: Iterable[Stamp]) -> list[msgspec.Raw]:
    """All entries, each once: those at the fork in their order, then what the branches did, each after its causes.

    Raises `Equivocation` when an entry comes with two different contents.
    """
    united: dict[tuple[str, int], msgspec.Raw] = {}
    for stamp in (base, *stamps):
        for entry, raw in zip(stamp.history, stamp.raw_history(), strict=True):
            key = (entry.branch or "", entry.seq)
            known = united.setdefault(key, raw)
            if bytes(known) != bytes(raw) and _decode(known) != _decode(raw):
                raise Equivocation(
                    f"entry {entry.seq} of {entry.branch or 'the trunk'} came with two different contents",
                    fix="find out which of two services wrote it; one of them ran what the other did not",
                )
    before = len(base.history)
    first, rest = list(united.items())[:before], list(united.items())[before:]
    # An entry's seq is above those of all that it knew of, so this order never puts an effect before its cause.
    return [raw for _, raw in [*first, *sorted(rest, key=lambda item: (item[0][1], item[0][0]))]]


def merge_stamps(base: Stamp, stamps: Sequence[Stamp], policies: Mapping[str, Policy], *, backward: bool) -> Stamp:
    """The stamp behind the join, still without the join's own entry: as at the fork, with all that the branches did.

    Going backward no state conflict stops the run: what branches disagree about is as it was at the fork.
    Raises `MergeConflict`, `Equivocation`.
    """
    trail = merge_histories(base, stamps)
    state = merge_states(
        base.state, [stamp.state for stamp in stamps], policies, fallback="base" if backward else "error"
    )
    others = merge_states(
        _others(base), [_others(stamp) for stamp in stamps], {"crit": "union", "deadline": "max"}, fallback="base"
    )
    version = base.format
    for stamp in stamps:
        version = newest(version, stamp.format)
    own = {name: value for name, value in base.values.items() if name in _OWN}
    seq = base.seq + sum(stamp.seq - base.seq for stamp in stamps)
    own |= _united_past(base, stamps)
    return Stamp({**own, **others, "stamp": version}, base.trail).with_trail(trail, {"state": state, "seq": seq})


def _united_past(base: Stamp, stamps: Sequence[Stamp]) -> dict[str, Any]:
    """In styles whose history stays with an owner: the visits and the branches left out that any branch knows of."""
    visits: dict[str, int] = {}
    for stamp in stamps:
        for step, count in stamp.past.get("visits", {}).items():
            visits[step] = max(count, visits.get(step, 0))
    without = sorted({branch for stamp in (base, *stamps) for branch in stamp.past.get("without", ())})
    found = {name: value for name, value in (("visits", visits), ("without", without)) if value}
    return {"past": {**base.past, **found}} if found else {}


def _others(stamp: Stamp) -> dict[str, Any]:
    return {name: value for name, value in stamp.values.items() if name not in _OWN and name != "stamp"}
