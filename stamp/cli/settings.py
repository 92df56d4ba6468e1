"""The options that commands share. A value comes from the flag, else STAMP_*, else pyproject.toml, else the default."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import msgspec

from stamp.cli.output import FORMATS
from stamp.cli.problems import usage
from stamp.duration import seconds
from stamp.errors import BadConfiguration, DefinitionError

F = TypeVar("F", bound=Callable[..., Any])


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One shared option."""

    flags: tuple[str, ...]
    metavar: str
    help: str
    default: str | None = None

    @property
    def name(self) -> str:
        """As in pyproject.toml."""
        return self.flags[0].lstrip("-")

    @property
    def parameter(self) -> str:
        """As the argument of a command's function."""
        return "form" if self.name == "output" else self.name

    @property
    def variable(self) -> str:
        """As in the environment."""
        return f"STAMP_{self.name.upper()}"


SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(flags=("--broker",), metavar="URL", help="The broker.", default="amqp://localhost/"),
        Setting(
            flags=("--store",),
            metavar="URL",
            help="The database of a service; {service} stands for its name. Without one: at least once.",
        ),
        Setting(
            flags=("--app",), metavar="MODULE", help="Where workflows and services are: a module, a file, MODULE:NAME."
        ),
        Setting(flags=("--service",), metavar="NAME", help="A service by name."),
        Setting(flags=("--schemas",), metavar="DIR", help="The folder of frozen schemas.", default="schemas"),
        Setting(flags=("--output", "-o"), metavar="FORMAT", help="Output format.", default="table"),
    )
}


def option(name: str, **changes: Any) -> Callable[[F], F]:
    """A shared option for a command; `changes` go to `click.option`."""
    setting = SETTINGS[name]
    default = changes.get("default", setting.default)
    sources = [changes.get("envvar", setting.variable), f"default {default}" if default else None]
    source = f"[{'; '.join(filter(None, sources))}]"
    given: dict[str, Any] = {
        "envvar": setting.variable,
        "metavar": setting.metavar,
        "default": lambda: configured(setting),
        "help": f"{changes.pop('help', setting.help)} {source}",
        **changes,
    }
    return click.option(*setting.flags, setting.parameter, **given)


def output_option(*formats: str, **changes: Any) -> Callable[[F], F]:
    """`-o` with the formats that a command knows."""
    known = formats or FORMATS
    return option("output", type=click.Choice(known), metavar="|".join(known), **changes)


def length(flag: str, text: str) -> float:
    """Seconds in the value of an option. Raises `Problem`: on a command line it is the usage that is wrong."""
    try:
        return seconds(text)
    except DefinitionError as error:
        raise usage(f"{flag}: {error.what}", fix=error.fix) from None


def configured(setting: Setting) -> str | None:
    """The value from pyproject.toml, or the default."""
    value = project().get(setting.name, setting.default)
    return None if value is None else str(value)


def project() -> Mapping[str, Any]:
    """The table [tool.stamp] of the nearest pyproject.toml, from this folder upwards. Raises `BadConfiguration`."""
    path = _nearest("pyproject.toml")
    if path is None:
        return {}
    with open(path, "rb") as file:
        text = file.read()
    if b"[tool.stamp" not in text:
        return {}
    import tomllib  # noqa: PLC0415  few commands run below a project file that has anything to say

    try:
        table = tomllib.loads(text.decode()).get("tool", {}).get("stamp", {})
    except ValueError as error:
        raise BadConfiguration(f"{path} is not TOML: {error}", fix="mend the file") from None
    unknown = [name for name, value in table.items() if name not in SETTINGS and not isinstance(value, dict)]
    if unknown:
        raise BadConfiguration(
            f"[tool.stamp] in {path} has no option {unknown[0]!r}", fix=f"one of: {', '.join(SETTINGS)}"
        )
    return {name: value for name, value in table.items() if name in SETTINGS}


def _nearest(name: str) -> str | None:
    """The file of that name in this folder or the first one above that has it."""
    folder, above = os.path.realpath(os.curdir), ""
    while folder != above:
        if os.path.isfile(path := os.path.join(folder, name)):
            return path
        folder, above = os.path.dirname(folder), folder
    return None
