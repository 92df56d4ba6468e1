"""The sections that stand beside codec and chain, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.machine import CHEAP_FSYNC_US
from benchmarks.peers.contenders import CONTENDERS
from benchmarks.targets import TARGETS, Target, verdict

Section = Mapping[str, Any]

VERDICTS = {
    "goal": "goal reached",
    "must": "holds; goal missed",
    "missed": "**missed**",
    "limit": "missed: this machine allows no more",
    "not measured": "not measured",
}


def about(section: Section, how: str) -> str:
    """Date, method and machine in one paragraph."""
    facts = section["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    server = f", RabbitMQ {facts['rabbitmq']}" if "rabbitmq" in facts else ""
    return (
        f"{section['date']}, {how}. {facts['cores']} cores ({facts['processor']}), load {facts['load']}, "
        f"{facts['memory_gib']} GiB, {facts['system']}, Python {facts['python']}{server}, {libraries}."
        f"{_disk(facts.get('fsync_us'))}"
    )


def _disk(fsync_us: float | None) -> str:
    if fsync_us is None:
        return ""
    cheap = " (unusually cheap: a real disk takes milliseconds)" if fsync_us < CHEAP_FSYNC_US else ""
    return f" Writing 4 KiB and `fsync`: {fsync_us:.0f} µs{cheap}."


def targets(results: Section) -> Iterator[str]:
    """What must hold, what is aimed at, what was measured, and why a goal was missed."""
    section = results["targets"]
    yield "### Targets"
    yield ""
    yield about(section, f"everything in one run of {section['seconds']} s, each section in alternating rounds")
    yield ""
    yield "| what | must | goal | measured | verdict |"
    yield "|---|--:|--:|--:|---|"
    for target in TARGETS:
        yield _target(target, results)
    yield ""
    if section["why"]:
        yield "What explains the goals that were missed (shares of a profile's time):"
        yield ""
        yield from (_why(name, lines) for name, lines in section["why"].items())
        yield ""


def _target(target: Target, results: Section) -> str:
    sign = "≤" if target.at_most else "≥"
    must, goal = (f"{sign} {bound:g}{target.unit}" for bound in (target.must, target.goal))
    value = target.measured(dict(results))
    shown = "–" if value is None else f"**{value:.{0 if target.unit else 2}f}{target.unit}**"
    word = VERDICTS[verdict(target, dict(results))] + _limit(target, results)
    return f"| {target.what} | {must} | {goal} | {shown} | {word} |"


def _limit(target: Target, results: Section) -> str:
    allowed = target.allowed(dict(results))
    return "" if allowed is None else f" (at most {allowed:.2f} on these cores)"


def _why(name: str, lines: list[dict[str, Any]]) -> str:
    told = "; ".join(line["where"] + (f" {line['share']:.0%}" if "share" in line else "") for line in lines)
    return f"- *{name}*: {told}."


def latency(section: Section) -> Iterator[str]:
    """One ticket at a time."""
    yield "### One ticket at a time"
    yield ""
    yield about(section, f"{section['rounds']} rounds of {section['tickets_per_round']} tickets, alternating")
    yield ""
    yield "| chain | p50 | min | max | p95 | client CPU a hop | p50 to bare | p95 to bare |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for name, figures in section["chains"].items():
        p50 = figures["p50_ms"]
        yield (
            f"| {name} | **{p50['median']:.2f} ms** | {p50['min']:.2f} | {p50['max']:.2f} "
            f"| {figures['p95_ms']['median']:.2f} ms | {figures['client_us']['median']:.0f} µs "
            f"| **{section['ratio_to_bare'][name]:.2f}** | {section['ratio_to_bare_p95'][name]:.2f} |"
        )
    yield ""


def peers(section: Section) -> Iterator[str]:
    """The same chain on other frameworks."""
    yield "### The same chain on other frameworks"
    yield ""
    yield about(section, f"{section['rounds']} rounds of {section['runs_per_round']} runs each, alternating")
    yield ""
    yield "| chain | hops/s | min | max | client CPU a hop | broker CPU a hop | to bare | stamped to it |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for name, figures in section["peers"].items():
        hops, stamped = figures["hops_s"], section["stamped_to"].get(name)
        yield (
            f"| {name} | **{hops['median']:.0f}** | {hops['min']:.0f} | {hops['max']:.0f} "
            f"| {figures['client_us']['median']:.0f} µs | {figures['broker_us']['median']:.0f} µs "
            f"| {section['ratio_to_bare'].get(name, 0):.2f} | {'–' if stamped is None else f'**{stamped:.2f}**'} |"
        )
    yield ""
    yield from _guarantees(section)


def _guarantees(section: Section) -> Iterator[str]:
    yield "| chain | versions | confirmed before the acknowledgement | nobody takes it | queues | delivered twice |"
    yield "|---|---|---|---|---|---|"
    for peer in CONTENDERS:
        if peer.name in section["peers"]:
            versions = ", ".join(f"{name} {version}" for name, version in section["versions"][peer.name].items())
            yield f"| {peer.name} | {versions} | {peer.confirms} | {peer.mandatory} | {peer.queues} | {peer.twice} |"
    yield ""
    for name, why in section["missing"].items():
        yield f"{name} was not measured: `{' '.join(why.split())}`"
        yield ""


def growth(section: Section) -> Iterator[str]:
    """What grows with time."""
    yield "### What grows with time"
    yield ""
    for name, table in GROWTH.items():
        if name in section:
            yield from table(name, section[name])


def _history(_name: str, section: Section) -> Iterator[str]:
    yield about(
        section, f"{section['rounds']} rounds of {section['hops_per_round']} hops, alternating, signed, no store"
    )
    yield ""
    yield "| hops behind it | hops/s | client CPU a hop | broker CPU a hop | client to 1 | with broker |"
    yield "|--:|--:|--:|--:|--:|--:|"
    for length, figures in section["hops"].items():
        yield (
            f"| {length} | {figures['hops_s']['median']:.0f} | **{figures['client_us']['median']:.0f} µs** "
            f"| {figures['broker_us']['median']:.0f} µs | **{section['client_to_1'][length]:.2f}** "
            f"| {section['cost_to_1'][length]:.2f} |"
        )
    yield ""


def _inbox(name: str, section: Section) -> Iterator[str]:
    kind, _, store = name.partition(" ")
    what = "inbox" if kind == "inbox" else "front controller: inbox and ledger"
    yield f"{section['rounds']} rounds of {section['runs_per_round']} runs each, alternating, load {_load(section)}."
    yield ""
    yield f"| {what}, {store} | hops/s | min | max | client CPU a hop | written a hop | to empty | by CPU |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for state, label in (("empty", "empty"), ("full", f"{section['finished_runs']:,} finished runs")):
        figures = section["chains"][state]
        hops, full = figures["hops_s"], state == "full"
        yield (
            f"| {label} | **{hops['median']:.0f}** | {hops['min']:.0f} | {hops['max']:.0f} "
            f"| {figures['client_us']['median']:.0f} µs | {_written(figures, WRITTEN[store])} "
            f"| **{section['ratio_full_to_empty'] if full else 1:.2f}** "
            f"| {section['cpu_ratio_full_to_empty'] if full else 1:.2f} |"
        )
    yield ""


def _load(section: Section) -> float:
    return float(section["machine"]["load"])


WRITTEN = {"sqlite": "written_kib", "postgres": "wal_kib"}
"""What the process itself wrote, or the server into its log."""


def _written(figures: Section, figure: str) -> str:
    return f"{figures[figure]['median']:.1f} KiB" if figure in figures else "–"


def _memory(name: str, section: Section) -> Iterator[str]:
    store = name.partition(" ")[2]
    reached = "extrapolated from the slope" if section["extrapolated"] else "measured"
    yield (
        f"Memory of four services in one process, {'no store' if store == 'none' else store}: "
        f"{section['settled_mib']} MiB after {section['settled_hops']:,} hops, {section['end_mib']} MiB after "
        f"{section['hops']:,} (**{section['ratio']:.2f} ×**); "
        f"{section['bytes_a_hop']} bytes a hop over the second half; "
        f"after 1,000,000 hops {section['ratio_at_1m']:.2f} × ({reached})."
    )
    yield ""


def _ledger(_name: str, section: Section) -> Iterator[str]:
    costs = ", ".join(f"{row['us_a_sighting']} µs at {int(runs):,} runs" for runs, row in section["runs"].items())
    yield (
        f"The ledger: {section['sightings_a_run']} sightings a run, each parsed and applied in {costs}; "
        f"{section['bytes_a_run']:,} bytes of memory a run."
    )
    yield ""


def _branches(_name: str, section: Section) -> Iterator[str]:
    styles = section["styles"]
    widths = list(next(iter(styles.values())))
    yield (
        f"{section['rounds']} rounds, alternating, load {_load(section)}; SQLite, the embedded broker, one message at "
        "a time. Processor time a branch of a run with so many:"
    )
    yield ""
    yield f"| branches of a run | {' | '.join(widths)} | widest to narrowest |"
    yield "|---|" + "--:|" * (len(widths) + 1)
    for style, by_width in styles.items():
        costs = [by_width[width]["median"] for width in widths]
        cells = " | ".join(f"{cost / 1000:.1f} ms" for cost in costs)
        yield f"| {style} | {cells} | **{costs[-1] / costs[0]:.2f} ×** |"
    yield ""


GROWTH: dict[str, Callable[[str, Section], Iterator[str]]] = {
    "history": _history,
    "inbox sqlite": _inbox,
    "inbox postgres": _inbox,
    "owner sqlite": _inbox,
    "owner postgres": _inbox,
    "memory none": _memory,
    "memory sqlite": _memory,
    "ledger": _ledger,
    "branches": _branches,
}


def command(section: Section) -> Iterator[str]:
    """What the command line costs."""
    yield "### The command line"
    yield ""
    yield about(section, f"{section['rounds']} rounds of a fresh process each")
    yield ""
    yield "| command | CPU | min | max |"
    yield "|---|--:|--:|--:|"
    for name, row in section["ms"].items():
        yield f"| `{name}` | **{row['median']:.0f} ms** | {row['min']:.0f} | {row['max']:.0f} |"
    yield ""
