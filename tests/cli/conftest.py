"""Fixtures of the command line's tests."""

from tests.cli.desk import desk as desk
from tests.cli.desk import folder as folder
