"""A workflow's table as a drawing: Mermaid, DOT or SVG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stamp.reading.svg import Canvas
from stamp.workflow import Step, Workflow

BOX_WIDTH, BOX_HEIGHT = 168, 54
GAP_X, GAP_Y = 150, 36
MARGIN = 24


@dataclass(frozen=True, slots=True)
class Edge:
    """An event on its way: from a step (or the start, empty) to a step, or to an end named by the event."""

    source: str
    target: str
    event: str
    terminal: bool = False


def edges(workflow: Workflow) -> list[Edge]:
    """The start, every emitted event, and every end."""
    return list(_edges(workflow))


def _edges(workflow: Workflow) -> Iterator[Edge]:
    start = workflow.start.__name__
    yield from (Edge("", first.name, start) for first in workflow.table.after(start))
    for step in workflow.steps:
        for event in step.outputs:
            yield from (Edge(step.name, after.name, event) for after in workflow.table.after(event))
            if workflow.terminal(event):
                yield Edge(step.name, event, event, terminal=True)
        if not step.outputs:
            yield Edge(step.name, "end", "", terminal=True)


def _marks(step: Step) -> list[str]:
    marks = [word for word, given in (("undo", step.undo), ("pivot", step.pivot)) if given]
    return marks if step.runs is None else [*marks, f"runs {step.runs.name}"]


def _label(step: Step) -> list[str]:
    marks = _marks(step)
    return [step.name, step.service + (f" · {', '.join(marks)}" if marks else "")]


def mermaid(workflow: Workflow) -> str:
    """A Mermaid flowchart."""
    ids = {step.name: f"s{number}" for number, step in enumerate(workflow.steps)}
    lines = ["flowchart LR", "  start((start))"]
    lines += [f'  {ids[step.name]}["{"<br/>".join(_label(step))}"]' for step in workflow.steps]
    ends: dict[str, str] = {}
    for edge in edges(workflow):
        target = ends.setdefault(edge.target, f"e{len(ends)}") if edge.terminal else ids[edge.target]
        source = ids[edge.source] if edge.source else "start"
        arrow = f" -->|{edge.event}| " if edge.event else " --> "
        lines.append(f"  {source}{arrow}{target}")
    lines += [f'  {name}(("ended"))' for name in ends.values()]
    return "\n".join(lines) + "\n"


def dot(workflow: Workflow) -> str:
    """A Graphviz digraph."""
    lines = [f'digraph "{workflow.name}" {{', "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    lines.append('  "(start)" [shape=point];')
    lines += [f'  "{step.name}" [label={_quoted(_label(step))}];' for step in workflow.steps]
    for edge in edges(workflow):
        target = f"(end) {edge.target}" if edge.terminal else edge.target
        lines.append(f'  "{edge.source or "(start)"}" -> "{target}" [label="{edge.event}"];')
    ends = dict.fromkeys(edge.target for edge in edges(workflow) if edge.terminal)
    lines += [f'  "(end) {name}" [shape=doublecircle, label=""];' for name in ends]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(lines: list[str]) -> str:
    return '"' + "\\n".join(lines) + '"'


def svg(workflow: Workflow) -> str:
    """A drawing that needs no other program: steps in columns by their distance from the start."""
    drawn = edges(workflow)
    places = _places(drawn)
    columns = 1 + max(column for column, _ in places.values())
    rows = 1 + max(row for _, row in places.values())
    canvas = Canvas(
        width=2 * MARGIN + columns * BOX_WIDTH + (columns - 1) * GAP_X,
        height=2 * MARGIN + 22 + rows * BOX_HEIGHT + (rows - 1) * GAP_Y,
        title=workflow.label,
    )
    canvas.text(MARGIN, MARGIN, workflow.label, weight="bold")
    for edge in drawn:
        if edge.source:
            _draw_edge(canvas, places[edge.source], places[_end(edge) if edge.terminal else edge.target], edge.event)
    for step in workflow.steps:
        _draw_step(canvas, _corner(places[step.name]), step)
    for edge in drawn:
        if edge.terminal:
            x, y = _corner(places[_end(edge)])
            canvas.circle(x + 12, y + BOX_HEIGHT // 2, 10)
    return canvas.finish()


def _end(edge: Edge) -> str:
    return f"end {edge.target}"


def _places(drawn: list[Edge]) -> dict[str, tuple[int, int]]:
    """Column and row of each step and end; a loop goes back to the column where its step already is."""
    columns: dict[str, int] = {}
    queue = [(drawn[0].target, 0)]
    while queue:
        name, column = queue.pop(0)
        if name in columns:
            continue
        columns[name] = column
        after = (_end(edge) if edge.terminal else edge.target for edge in drawn if edge.source == name)
        queue.extend((target, column + 1) for target in after)
    rows: dict[int, int] = {}
    places = {}
    for name, column in columns.items():
        places[name] = (column, rows.get(column, 0))
        rows[column] = rows.get(column, 0) + 1
    return places


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    column, row = place
    return MARGIN + column * (BOX_WIDTH + GAP_X), MARGIN + 22 + row * (BOX_HEIGHT + GAP_Y)


def _draw_step(canvas: Canvas, corner: tuple[int, int], step: Step) -> None:
    x, y = corner
    canvas.box(x, y, BOX_WIDTH, BOX_HEIGHT)
    name, below = _label(step)
    canvas.text(x + BOX_WIDTH // 2, y + 22, name, anchor="middle", weight="bold")
    canvas.text(x + BOX_WIDTH // 2, y + 40, below, anchor="middle", size=11)


def _draw_edge(canvas: Canvas, source: tuple[int, int], target: tuple[int, int], event: str) -> None:
    (x1, y1), (x2, y2) = _corner(source), _corner(target)
    back = target[0] <= source[0]
    begin = (x1 + BOX_WIDTH // 2, y1) if back else (x1 + BOX_WIDTH, y1 + BOX_HEIGHT // 2)
    finish = (x2 + BOX_WIDTH // 2, y2 + BOX_HEIGHT) if back else (x2, y2 + BOX_HEIGHT // 2)
    canvas.arrow(*begin, *finish)
    canvas.text((begin[0] + finish[0]) // 2, (begin[1] + finish[1]) // 2 - 6, event, anchor="middle", size=11)
