"""Tests over styles: the promises that hold whoever owns the state."""

import pytest

pytest.register_assert_rewrite("tests.styles.stages")
