"""No hop is dearer than the committed baseline. Counted, not timed: no other process can blur it."""

from __future__ import annotations

import pytest

from benchmarks import counting, guard, guarded


@pytest.fixture(scope="module")
def counted() -> guard.Figures:
    return guard.counts()


def test_no_hop_needs_more_instructions_or_calls_than_the_baseline_allows(counted: guard.Figures) -> None:
    known = guard.baseline()
    assert guard.dearer(counted, known["counts"], guard.counts_margin(known)) == []


def test_counting_again_comes_to_the_same_within_a_percent(counted: guard.Figures) -> None:
    again = guard.counts()
    assert {work: pytest.approx(figures, rel=0.01) for work, figures in counted.items()} == again


def test_a_hop_that_is_a_quarter_dearer_is_told() -> None:
    then = {"codec": {"instructions": 1000.0}}
    (told,) = guard.dearer({"codec": {"instructions": 1250.0}}, then, guard.COUNTS_MARGIN)
    assert told == "codec: instructions 1000 -> 1250, 1.25 × where 1.2 is allowed"


def test_a_hop_that_is_a_little_dearer_is_not() -> None:
    then = {"codec": {"instructions": 1000.0}}
    assert guard.dearer({"codec": {"instructions": 1150.0}}, then, guard.COUNTS_MARGIN) == []


def test_the_baseline_knows_the_work_that_is_measured(counted: guard.Figures) -> None:
    known = guard.baseline()
    assert set(known["counts"]) == set(counted)
    assert set(known["cpu"]) == {"codec", "memory broker"}


def test_instructions_are_counted_in_what_is_called_too() -> None:
    def inner() -> int:
        return sum(number for number in range(100))

    with counting.instructions() as little:
        inner()
    with counting.instructions() as twice:
        inner()
        inner()
    assert 1.9 < twice.number / little.number < 2.1


def test_calls_of_functions_in_c_are_counted() -> None:
    with counting.calls() as count:
        [len(str(number)) for number in (1, 2, 3)]
    assert count.number >= 3


def test_processor_time_is_measured_for_all_three() -> None:
    assert min(guarded.codec_slice(1), guarded.calibration_slice(1), guarded.memory_slice()) > 0
