"""One run as a sequence diagram: Mermaid or SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stamp.reading.svg import Canvas
from stamp.reading.text import ago, safe
from stamp.reading.timeline import Moment, Timeline

LANE, ROW, TOP, SIDE = 170, 40, 64, 40
START = "start"


@dataclass(frozen=True, slots=True)
class Message:
    """One arrow from a lifeline to another, or a note on one (`source == target`)."""

    source: str
    target: str
    text: str


def messages(timeline: Timeline) -> list[Message]:
    """The arrows of a run: each hop is drawn where it arrives, with its outcome, and detours as notes."""
    found = []
    here, event = START, ""
    for moment in timeline.moments:
        if moment.what == "started":
            event = moment.event
        elif moment.what in {"retry", "held", "released"}:
            lane = moment.service or here
            found.append(Message(lane, lane, _noted(moment)))
        else:
            found.append(Message(here, moment.service, event or "message"))
            found.append(Message(moment.service, moment.service, _noted(moment)))
            here, event = moment.service, moment.event
    return found


def _noted(moment: Moment) -> str:
    if moment.what == "retry":
        return f"retry, attempt {moment.attempt}"
    if moment.what in {"held", "released"}:
        return f"{moment.what}: {moment.detail}" if moment.detail else moment.what
    outcome = "" if moment.what == "ok" else f" {moment.what}"
    waited = "" if moment.wait is None else f" after {ago(moment.wait)} of waiting"
    return f"{moment.step}{outcome}, {ago(moment.work or 0)}{waited}"


def lanes(drawn: Sequence[Message]) -> list[str]:
    """The lifelines in the order in which they take part."""
    return list(dict.fromkeys([START, *(name for message in drawn for name in (message.source, message.target))]))


def mermaid(timeline: Timeline) -> str:
    """A Mermaid sequence diagram."""
    drawn = messages(timeline)
    ids = {name: f"p{number}" for number, name in enumerate(lanes(drawn))}
    lines = ["sequenceDiagram", *(f"  participant {ids[name]} as {_plain(name)}" for name in ids)]
    for message in drawn:
        if message.source == message.target:
            lines.append(f"  Note over {ids[message.source]}: {_plain(message.text)}")
        else:
            lines.append(f"  {ids[message.source]}->>{ids[message.target]}: {_plain(message.text)}")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text that can't end a Mermaid statement or start markup."""
    return "".join(f"#{ord(character)};" if character in '#;<>"`{}' else character for character in safe(text))


def svg(timeline: Timeline, title: str) -> str:
    """A drawing that needs no other program."""
    drawn = messages(timeline)
    columns = {name: SIDE + 60 + LANE * number for number, name in enumerate(lanes(drawn))}
    bottom = TOP + ROW * (len(drawn) + 1)
    canvas = Canvas(width=max(columns.values()) + LANE + SIDE, height=bottom + SIDE, title=title)
    canvas.text(SIDE // 2, 20, title, weight="bold")
    for name, x in columns.items():
        canvas.text(x, TOP - 12, name, anchor="middle", weight="bold")
        canvas.line(x, TOP, x, bottom, dashed=True)
    for number, message in enumerate(drawn):
        _draw(canvas, columns, message, TOP + ROW * (number + 1))
    return canvas.finish()


def _draw(canvas: Canvas, columns: dict[str, int], message: Message, y: int) -> None:
    x1, x2 = columns[message.source], columns[message.target]
    if x1 == x2:
        canvas.circle(x1, y - 4, 4)
        canvas.text(x1 + 10, y, message.text, size=11)
        return
    canvas.arrow(x1, y, x2, y)
    canvas.text((x1 + x2) // 2, y - 6, message.text, anchor="middle", size=11)
