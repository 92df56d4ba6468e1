"""What a held record says about an exception: whose code raised it, in little space, and no value."""

from __future__ import annotations

import json

from stamp.failure import LIMIT, trimmed


def raised(call: object) -> BaseException:
    try:
        call()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def deep(level: int) -> None:
    if level:
        deep(level - 1)
    raise KeyError("value-of-a-customer")


def chained() -> None:
    try:
        deep(1)
    except KeyError as error:
        raise OSError("value-of-a-customer") from error


def test_frames_are_named_by_file_line_and_function_and_values_stay_out() -> None:
    text = trimmed(raised(chained))
    names = [line.split(":")[1].split()[-1] for line in text.splitlines() if line.startswith("  ")]
    assert names == ["chained", "deep", "deep", "raised", "chained"]
    assert [line for line in text.splitlines() if not line.startswith("  ")] == ["KeyError", "OSError"]


def test_a_deep_traceback_is_cut_from_its_beginning() -> None:
    text = trimmed(raised(lambda: deep(200)))
    assert len(text.encode()) <= LIMIT
    assert text.splitlines()[-1].endswith('raise KeyError("value-of-a-customer")')


def test_of_a_library_only_the_last_frames_are_kept() -> None:
    text = trimmed(raised(lambda: json.loads("{")))
    assert [line.split()[0].split(":")[0] for line in text.splitlines()] == [
        "JSONDecodeError",
        "runtime/test_failure.py",
        "runtime/test_failure.py",
        "json/__init__.py",
        "json/decoder.py",
        "json/decoder.py",
    ]


def test_an_exception_that_was_never_raised_has_only_its_name() -> None:
    assert trimmed(ValueError("x")) == "ValueError"
