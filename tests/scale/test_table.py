"""The table of a deployment's growth says what was measured. Nothing here looks at a clock."""

from __future__ import annotations

import os

import pytest

from benchmarks.__main__ import parser
from benchmarks.measure import rows
from benchmarks.scale import HEADS, LAYOUTS, Layout, cores_allow, table


def test_each_deployment_has_a_line_of_its_own() -> None:
    names = [Layout(*layout).name for layout in LAYOUTS]
    figures = rows([{"hops_s": 1000.0, "client_us": 90.0, "broker_us": 70.0}])
    ones = dict.fromkeys(names, 1.0)
    section = {"layouts": dict.fromkeys(names, figures), "ratio_to_first": ones, "best_to_best": ones}
    lines = table(section).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in names]
    assert {line.count("|") for line in lines} == {len(HEADS) + 1}


def test_the_command_line_knows_the_measurement() -> None:
    options = parser().parse_args(["scale", "--store", "sqlite", "--wait", "2"])
    assert (options.store, options.wait) == ("sqlite", 2.0)


def test_the_cores_bound_what_more_processes_can_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    figures = {"client_us": {"median": 100.0}, "broker_us": {"median": 60.0}}
    assert [cores_allow(Layout(processes, 1), figures) for processes in (1, 2)] == [10_000, 12_500]
