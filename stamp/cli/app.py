"""The `stamp` command itself: which commands there are, and what becomes of errors. Commands load when called."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from stamp.cli import problems

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Begin": {
        "demo": ("stamp.cli.demo:demo", "Run the ticket example from start to end."),
    },
    "Look at stamps": {
        "decode": ("stamp.cli.decode:decode", "Show the stamps in a file, whatever form they are in."),
        "validate": ("stamp.cli.validate:validate", "Check stamps, frozen schemas and apps, for CI."),
        "explain": ("stamp.cli.explain:explain", "Explain an error code or a held reason."),
    },
    "Run workflows": {
        "run": ("stamp.cli.run:run", "Run services until SIGTERM, then drain."),
        "start": ("stamp.cli.start:start", "Start runs from JSON."),
        "wait": ("stamp.cli.wait:wait", "Wait for runs to end."),
    },
    "Watch runs": {
        "list": ("stamp.cli.listing:list_runs", "List runs by status."),
        "status": ("stamp.cli.status:status", "Tell where one run stands, or ask the services."),
        "trace": ("stamp.cli.trace:trace", "Show one run in time: hops, waits, changes, what is ahead."),
        "tail": ("stamp.cli.tail:tail", "Follow messages live without touching a queue."),
        "peek": ("stamp.cli.peek:peek", "Show what waits in a queue without touching it."),
    },
    "Repair": {
        "held": ("stamp.cli.held:held", "List, show, release and repair held messages."),
        "audit": ("stamp.cli.audit:audit", "Account for every run; find and send again what is missing."),
        "db": ("stamp.cli.db:db", "The toolkit's tables: upgrade, status, prune, print."),
    },
    "Define": {
        "workflows": ("stamp.cli.workflows:workflows", "Show and check the tables of the workflows of an app."),
        "graph": ("stamp.cli.graph:graph", "Draw a workflow."),
        "schemas": ("stamp.cli.schemas:schemas", "Freeze schemas and check code against them."),
        "compare": ("stamp.cli.compare:compare", "Measure the four owners of state for a workflow."),
    },
    "Develop": {
        "broker": ("stamp.cli.broker:broker", "A private RabbitMQ node for development."),
    },
}
COMMANDS = {name: command for section in SECTIONS.values() for name, command in section.items()}


def load(name: str) -> click.Command | None:
    """The command of that name, imported now; `None` for an unknown one."""
    if name not in COMMANDS:
        return None
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


class LazyGroup(click.Group):
    """A group that knows its commands by name and loads one when it is called; help needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order of the sections."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now; `None` for an unknown name."""
        return load(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Names and one line each, by section, without importing anything."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()], col_max=12)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002  always our own
        **extra: Any,
    ) -> NoReturn:
        """Run and exit: with 0, the command's own code, or the code that belongs to the error."""
        _prepare_streams()
        with problems.stdout_may_close():
            try:
                code = super().main(args, prog_name or "stamp", complete_var, standalone_mode=False, **extra)
            except BaseException as error:
                code = problems.report(error)
        sys.exit(code if isinstance(code, int) else 0)


def _prepare_streams() -> None:
    """What a terminal of another encoding can't show is escaped: it never ends a command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


EPILOG = """\b
Examples:
  stamp decode message.json
  stamp explain E023
"""


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="state-stamp", prog_name="stamp")
def main() -> None:
    """Workflows whose versioned state travels in the message.

    Options are taken from the command line, then from STAMP_* in the environment, then from [tool.stamp] in
    pyproject.toml.
    """
