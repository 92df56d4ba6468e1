"""What the runs of a comparison are started with: an example's lines, a file, or a sample made from the schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from stamp.cli.problems import Problem, usage
from stamp.cli.shipped import module
from stamp.cli.start import order, texts
from stamp.comparing.lab import Input
from stamp.comparing.sample import sample
from stamp.errors import OutputInvalid
from stamp.workflow import Workflow

NUMBER = b"{n}"
"""Stands for the number of the run in an input file."""

Inputs = Callable[[], Iterator[Input]]
"""Begins the same endless inputs again."""


def of_example(example: Any) -> Inputs:
    """The shipped lines that start a run, over and over; from the second time on under keys of their own."""
    lines = list(_lines(example))
    state = example.workflow.state_type

    def inputs() -> Iterator[Input]:
        for again in count():
            for line in lines:
                key = getattr(line, example.key)
                event = msgspec.structs.replace(line, **{example.key: f"{key}-{again}"}) if again else line
                yield Input(event, msgspec.convert(event, state, from_attributes=True))

    return inputs


def _lines(example: Any) -> Iterator[Any]:
    feed = module("feed")
    known: set[str] = set()
    for path in example.files:
        for _, line in feed.read(path, example):
            if isinstance(line, feed.Rejected) or getattr(line, example.key) in known:
                continue
            known.add(getattr(line, example.key))
            yield line


def of_file(path: Path, flow: Workflow) -> Inputs:
    """The lines of a file as `stamp start` takes them, over and over, with each run's number for `{n}`."""
    found = list(texts(path.read_bytes(), path.name))
    if not found:
        raise Problem(f"{path} is empty", code="E064", fix='lines such as {"event": {...}, "state": {...}}')
    for where, text in found:
        _read(text, where, flow, 1)

    def inputs() -> Iterator[Input]:
        number = count(1)
        while True:
            for where, text in found:
                yield _read(text, where, flow, next(number))

    return inputs


def _read(text: bytes, where: str, flow: Workflow, number: int) -> Input:
    try:
        found = order(text.replace(NUMBER, str(number).encode()), where, flow)
    except OutputInvalid as error:
        raise Problem(f"{where}: {error.what}", code="E064", fix="mend the line") from None
    except (ValueError, RecursionError) as error:
        raise Problem(f"{where}: {error}", code="E064", fix='lines such as {"event": {...}, "state": {...}}') from None
    return Input(found.event, found.state)


def of_schemas(flow: Workflow) -> Inputs:
    """One sample, the same for every run. Raises `Problem` for schemas that none can be made from."""
    event, state = flow.contract.event(flow.start.__name__), flow.contract.state
    made = {"event": sample(event.schema), "state": sample(state.schema)}
    if not event.is_valid(made["event"]) or not state.is_valid(made["state"]):
        raise usage(
            f"no sample can be made from the schemas of {flow.label}",
            fix='--input FILE with lines such as {"event": {...}, "state": {...}}',
        )
    text = msgspec.json.encode(made)
    return lambda: iter(lambda: _read(text, "sample", flow, 1), None)
