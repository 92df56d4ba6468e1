"""Fixtures of the command line's tests."""

from tests.cli.desk import desk, folder

__all__ = ["desk", "folder"]
