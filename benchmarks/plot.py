"""The results as one small SVG picture: bars with their range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH = 640
LABELS = 190
LINE = 24
MARGIN = 16
ROOM = WIDTH - LABELS - MARGIN - 90

STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933}.t{font-weight:600}"
    ".b{fill:#4c7fb0}.o{fill:#9aa5b1}.r{stroke:#1f2933;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#e4e7eb}.r{stroke:#e4e7eb}}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure of the picture."""

    label: str
    row: Mapping[str, float]
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars that share a scale."""

    title: str
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        return LINE * (len(self.bars) + 2)


def panels(results: Mapping[str, Any]) -> Iterator[Panel]:
    """What there is to draw."""
    if "codec" in results:
        hops = results["codec"]["hops"]
        bars = [Bar(f"{length} entries of history", figures["us"]) for length, figures in hops.items()]
        yield Panel("The stamp alone: µs of CPU a hop (less is better)", bars)
    for store, section in results.get("chain", {}).items():
        bars = [
            Bar(name, figures["hops_s"], ours=not name.startswith("bare"))
            for name, figures in section["chains"].items()
        ]
        title = "no store" if store == "none" else f"store: {store}"
        yield Panel(f"Four hops on RabbitMQ, {title}: hops a second (more is better)", bars)
    yield from _peers_and_latency(results)


def _peers_and_latency(results: Mapping[str, Any]) -> Iterator[Panel]:
    if peers := results.get("peers", {}).get("peers"):
        bars = [Bar(name, figures["hops_s"], ours=name.startswith("stamped")) for name, figures in peers.items()]
        yield Panel("The same chain on other frameworks: hops a second (more is better)", bars)
    if chains := results.get("latency", {}).get("chains"):
        bars = [Bar(name, figures["p50_ms"], ours=name.startswith("stamped")) for name, figures in chains.items()]
        yield Panel("One ticket at a time, four hops: p50 in ms (less is better)", bars)


def svg(results: Mapping[str, Any]) -> str:
    """The picture, complete in itself."""
    parts: list[str] = []
    top = MARGIN
    for panel in panels(results):
        parts += _drawn(panel, top)
        top += panel.height
    size = f'viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([head, "<title>Measured cost of a hop</title>", f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _drawn(panel: Panel, top: int) -> Iterator[str]:
    yield f'<text class="t" x="{MARGIN}" y="{top + 14}">{escape(panel.title)}</text>'
    scale = ROOM / max(bar.row["max"] for bar in panel.bars)
    for place, bar in enumerate(panel.bars, 1):
        y = top + place * LINE
        middle = y + 8
        low, high = (LABELS + bar.row[end] * scale for end in ("min", "max"))
        yield f'<text x="{MARGIN}" y="{y + 12}">{escape(bar.label)}</text>'
        yield (
            f'<rect class="{"b" if bar.ours else "o"}" x="{LABELS}" y="{y}" '
            f'width="{bar.row["median"] * scale:.1f}" height="16" rx="2"/>'
        )
        yield f'<line class="r" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>'
        yield f'<text x="{high + 8:.1f}" y="{y + 12}">{_told(bar.row["median"])}</text>'


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
