"""Just enough SVG for small diagrams: boxes, circles, arrows and text."""

from __future__ import annotations

from html import escape

from stamp.reading.text import safe

_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    ' role="img" font-family="sans-serif"><title>{title}</title>'
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0 8 4 0 8z"/></marker></defs>'
    '<rect width="{width}" height="{height}" fill="#fff"/>'
)


class Canvas:
    """Collects shapes; `finish` gives the document. Coordinates are pixels, text is escaped."""

    def __init__(self, *, width: int, height: int, title: str) -> None:
        self._parts = [_HEAD.format(width=width, height=height, title=_clean(title))]

    def box(self, x: int, y: int, width: int, height: int, *, fill: str = "#eef3fb") -> None:
        """A rounded rectangle."""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="#36507a"/>'
        )

    def circle(self, x: int, y: int, radius: int) -> None:
        """An end."""
        self._parts.append(f'<circle cx="{x}" cy="{y}" r="{radius}" fill="#fff" stroke="#36507a" stroke-width="3"/>')

    def line(self, x1: int, y1: int, x2: int, y2: int, *, dashed: bool = False) -> None:
        """A thin grey line."""
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#999"{dash}/>')

    def arrow(self, x1: int, y1: int, x2: int, y2: int, *, colour: str = "#222") -> None:
        """A line with a tip at its end."""
        self._parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" marker-end="url(#tip)"/>')

    def text(self, x: int, y: int, text: str, *, anchor: str = "start", size: int = 13, weight: str = "normal") -> None:
        """One line of text."""
        font = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
        self._parts.append(f'<text x="{x}" y="{y}" {font}>{_clean(text)}</text>')

    def finish(self) -> str:
        """The whole document."""
        return "\n".join([*self._parts, "</svg>"]) + "\n"


def _clean(text: str) -> str:
    return escape(safe(text))
