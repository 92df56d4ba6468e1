"""The benchmarks run, and what the page says is what was measured. Nothing here looks at a clock."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import branches, codec, report
from benchmarks.__main__ import main, parser
from benchmarks.plot import svg
from stamp.codec import STAMP

FIGURE = {"median", "min", "max"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> report.Results:
    file = tmp_path_factory.mktemp("benchmarks") / "results.json"
    main(["codec", "--rounds", "2", "--count", "3", "--json", str(file)])
    results: report.Results = json.loads(file.read_text())
    return results


def test_the_codec_emits_a_figure_for_each_length_and_stage(measured: report.Results) -> None:
    section = measured["codec"]
    assert [str(length) for length in (*codec.LENGTHS, *codec.LATER)] == list(section["hops"])
    assert set(section["long"]["us"]) == FIGURE
    assert all(set(figures["us"]) == FIGURE for figures in section["hops"].values())
    assert set(codec.STAGES) == set(section["stages_at_8"])


def test_a_branch_is_measured_in_a_run_of_each_width_with_an_owner_and_without() -> None:
    section = branches.run(rounds=1, branches=2, widths=(2, 3))
    assert {style: set(by_width) for style, by_width in section["styles"].items()} == {
        "stamp": {"2", "3"},
        "front-controller": {"2", "3"},
    }


def test_results_name_their_date_and_machine(measured: report.Results) -> None:
    section = measured["codec"]
    assert {"cores", "memory_gib", "python", "libraries"} <= set(section["machine"])
    assert (section["rounds"], section["hops_per_round"]) == (2, 3)


@pytest.mark.parametrize("length", codec.LENGTHS)
def test_a_measured_stamp_has_the_history_it_is_named_after(length: int) -> None:
    assert len(codec.case(length).decode().stamp.history) == length


def test_the_hop_at_the_longest_history_folds_it() -> None:
    (following,) = codec.case(max(codec.LENGTHS)).hop()
    assert json.loads(following.message.headers[STAMP])["base"]["count"] > 0


def test_a_profile_names_the_functions_of_a_hop() -> None:
    assert "codec.py" in codec.profile(3)


def test_a_new_result_leaves_the_other_stores_as_they_were() -> None:
    old = {"codec": 1, "chain": {"none": 1, "sqlite": 1}}
    assert report.merged(old, {"chain": {"none": 2}}) == {"codec": 1, "chain": {"none": 2, "sqlite": 1}}


def test_the_tables_on_the_page_are_those_of_the_committed_results() -> None:
    page = report.PAGE.read_text()
    assert page == report.written_into(page, report.tables(report.load()))


def test_the_picture_is_that_of_the_committed_results() -> None:
    assert report.PICTURE.read_text() == svg(report.load())


def test_the_picture_is_well_formed() -> None:
    assert ElementTree.fromstring(svg(report.load())).tag.endswith("svg")


def test_a_page_without_its_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match="has no lines"):
        report.written_into("nothing", "tables")


def test_results_go_into_the_docs_unless_a_file_is_named() -> None:
    assert parser().parse_args(["codec"]).json == report.RESULTS
    assert parser().parse_args(["chain", "--json", "mine.json"]).json == Path("mine.json")
