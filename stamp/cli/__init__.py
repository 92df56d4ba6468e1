"""The command line: `stamp`. One file per group of commands, each loaded when it is called."""

from stamp.cli.app import main

__all__ = ["main"]
