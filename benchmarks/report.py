"""The results as a document: kept in `docs/benchmarks.json`, shown as tables in `docs/benchmarks.md`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import plot
from benchmarks import tables as shown
from benchmarks.tables import about

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "benchmarks.json"
PAGE = DOCS / "benchmarks.md"
PICTURE = DOCS / "benchmarks.svg"
BEGIN = "<!-- measured: written by python -m benchmarks -->"
END = "<!-- end of measured -->"

Results = dict[str, Any]
"""A section a command, as its `run` gives it; `chain` holds one for each store, `growth` one for each question."""

NESTED = ("chain", "growth")
"""Sections whose parts are measured one by one: what was not measured again keeps its figures."""


def load(path: Path = RESULTS) -> Results:
    """The results that are in a file; nothing when there is none."""
    results: Results = json.loads(path.read_text()) if path.exists() else {}
    return results


def merged(old: Results, new: Results) -> Results:
    """`new` over `old`: a part that was not measured again keeps its figures."""
    parts = {name: {**old.get(name, {}), **new[name]} for name in NESTED if name in new}
    return {**old, **new, **parts}


def save(new: Results, path: Path = RESULTS) -> None:
    """Write the results; for the project's own file, tables and plot follow."""
    results = merged(load(path), new)
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    if path == RESULTS:
        PAGE.write_text(written_into(PAGE.read_text(), tables(results)))
        PICTURE.write_text(plot.svg(results))


def written_into(page: str, text: str) -> str:
    """The page with the text between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def tables(results: Results) -> str:
    """Every figure as Markdown."""
    parts = [*shown.targets(results)] if "targets" in results else []
    for name, table in SECTIONS.items():
        if name in results:
            parts += table(results[name])
    return "\n".join(parts)


def _chains(stores: Mapping[str, Any]) -> Iterator[str]:
    for store, section in stores.items():
        yield from _chain(store, section)


def _codec(section: Mapping[str, Any]) -> Iterator[str]:
    yield "### The stamp alone"
    yield ""
    yield about(section, f"{section['rounds']} rounds of {section['hops_per_round']} hops a length")
    yield ""
    yield "| hops behind it | entries in the history | stamp | µs of CPU a hop | min | max |"
    yield "|--:|--:|--:|--:|--:|--:|"
    for hops, figures in _hops(section):
        row, entries = figures["us"], figures.get("entries", "–")
        yield f"| {hops} | {entries} | {figures['stamp_bytes']} B | **{row['median']}** | {row['min']} | {row['max']} |"
    yield ""
    long = f" Mean of a long run against 1: **{section['ratio_long_to_1']} ×**." if "long" in section else ""
    yield (
        f"32 entries against 8: **{section['ratio_32_to_8']} ×**. 31 against 1: **{section['ratio_31_to_1']} ×**. "
        f"32 against 1: **{section['ratio_32_to_1']} ×**.{long}"
    )
    yield ""
    yield "| stage, at 8 entries, repeated alone | µs |"
    yield "|---|--:|"
    for stage, row in section["stages_at_8"].items():
        yield f"| {stage} | {row['median']} |"
    yield ""


def _hops(section: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from section["hops"].items()
    if "long" in section:
        yield "each of a long run, mean", section["long"]


def _chain(store: str, section: Mapping[str, Any]) -> Iterator[str]:
    yield f"### Four hops on RabbitMQ, {'without a store' if store == 'none' else f'with a store: {store}'}"
    yield ""
    yield about(section, f"{section['rounds']} rounds of {section['runs_per_round']} runs each, alternating")
    yield ""
    yield "| chain | hops/s | min | max | client CPU a hop | broker CPU a hop | to bare | to bare, by CPU |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for name, figures in section["chains"].items():
        hops = figures["hops_s"]
        yield (
            f"| {name} | **{hops['median']:.0f}** | {hops['min']:.0f} | {hops['max']:.0f} "
            f"| {figures['client_us']['median']:.0f} µs | {figures['broker_us']['median']:.0f} µs "
            f"| **{section['ratio_to_bare'][name]:.2f}** | {section['cpu_ratio_to_bare'][name]:.2f} |"
        )
    yield ""
    for name, figures in section["chains"].items():
        if "commits_s" in figures:
            commits, hops = figures["commits_s"]["median"], figures["hops_per_commit"]["median"]
            yield f"{name}: {hops} hops a transaction (median), {commits:.0f} transactions a second."
            yield ""


SECTIONS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "codec": _codec,
    "chain": _chains,
    "latency": shown.latency,
    "peers": shown.peers,
    "growth": shown.growth,
    "command": shown.command,
}
