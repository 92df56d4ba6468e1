"""Errors as people meet them: `error[E023]: what`, `why:`, `fix:`, and an exit code that scripts can rely on.

0 ok                                      69 broker or database out of reach
1 the answer is no                        70 our bug
2 usage                                   78 bad configuration
3 partly done                            130 interrupted
4 not found
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from brokers import errors as broker_errors
from stamp import errors
from stamp.reading.text import masked, safe

OK, NO, USAGE, PARTLY, NOT_FOUND = 0, 1, 2, 3, 4
UNREACHABLE, BUG, CONFIGURATION, INTERRUPTED = 69, 70, 78, 130

BROKER_CODES: dict[type[BaseException], tuple[str, int]] = {
    broker_errors.BrokerUnreachable: ("E040", UNREACHABLE),
    broker_errors.PublishUnknown: ("E041", UNREACHABLE),
    broker_errors.PublishRefused: ("E042", UNREACHABLE),
    broker_errors.Unroutable: ("E043", NO),
    broker_errors.MessageTooLarge: ("E044", NO),
    broker_errors.NotFound: ("E045", NOT_FOUND),
    broker_errors.TopologyMismatch: ("E046", CONFIGURATION),
    broker_errors.AccessRefused: ("E047", CONFIGURATION),
    broker_errors.ProtocolMisuse: ("E048", CONFIGURATION),
    broker_errors.NodeFailed: ("E049", UNREACHABLE),
}
"""The code and the exit code of each error that a broker adapter lets out."""

STAMP_EXITS: dict[type[errors.StampError], int] = {
    errors.StoreUnavailable: UNREACHABLE,
    errors.DefinitionError: CONFIGURATION,
    errors.BadConfiguration: CONFIGURATION,
    errors.SchemaMissing: CONFIGURATION,
    errors.UnknownKey: CONFIGURATION,
    errors.NotRunning: BUG,
}
"""Where an error of the toolkit is not simply the answer no."""


class Problem(Exception):  # noqa: N818  also what is no error, such as a run that is not there
    """What a command could not do. `code` is explained by `stamp explain`."""

    def __init__(self, what: str, *, code: str, status: int = NO, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.status = status
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.what}"]
        lines += [f"  why: {self.why}"] if self.why else []
        lines += [f"  fix: {self.fix}"] if self.fix else []
        return "\n".join(safe(masked(line)) for line in lines)


def usage(what: str, *, fix: str = "") -> Problem:
    """The command line can't be understood."""
    return Problem(what, code="E060", status=USAGE, fix=fix)


def bad_app(what: str, *, why: str = "", fix: str = "") -> Problem:
    """The module named by `--app` can't be used."""
    return Problem(what, code="E061", status=CONFIGURATION, why=why, fix=fix)


def not_found(what: str, *, why: str = "", fix: str = "") -> Problem:
    """Nothing of that name."""
    return Problem(what, code="E062", status=NOT_FOUND, why=why, fix=fix)


def problem_of(error: BaseException) -> Problem:
    """Any error as a problem with a code; what nobody foresaw is our bug."""
    match error:
        case Problem():
            return error
        case click.UsageError():
            where = error.ctx.command_path if error.ctx else "stamp"
            return usage(" ".join(error.format_message().split()), fix=f"{where} --help")
        case click.ClickException():
            return Problem(error.format_message(), code="E064")
        case errors.StampError():
            return _of_stamp(error)
        case broker_errors.BrokerError():
            return _of_broker(error)
        case _:
            return _of_system(error) if isinstance(error, OSError) and error.strerror else _bug(error)


def _of_stamp(error: errors.StampError) -> Problem:
    status = next((code for kind, code in STAMP_EXITS.items() if isinstance(error, kind)), NO)
    why = (type(error).__doc__ or "").partition("\n")[0]
    return Problem(error.what, code=error.code, status=status, why=why, fix=error.fix or f"stamp explain {error.code}")


def _of_broker(error: broker_errors.BrokerError) -> Problem:
    code, status = next(
        (value for kind, value in BROKER_CODES.items() if isinstance(error, kind)), ("E048", UNREACHABLE)
    )
    what, found, fix = str(error).partition(" (fix: ")
    fix = fix.removesuffix(")") if found else ""
    why = (type(error).__doc__ or "").partition("\n")[0]
    return Problem(what or type(error).__name__, code=code, status=status, why=why, fix=fix or f"stamp explain {code}")


def _of_system(error: OSError) -> Problem:
    """A folder that can't be written, a full disk: nobody's bug."""
    place = f"{error.filename}: " if error.filename else ""
    return Problem(f"{place}{error.strerror}", code="E064", fix="see that it exists, is writable and has room")


def _bug(error: BaseException) -> Problem:
    import traceback  # noqa: PLC0415  for our own bugs

    place = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
    where = "".join(f" at {os.path.basename(frame.filename)}:{frame.lineno}" for frame in place)
    return Problem(
        f"{type(error).__name__}: {error}{where}",
        code="E070",
        status=BUG,
        why="nobody foresaw this error: it is a bug of this program, or of a module that it was told to load",
        fix="set STAMP_DEBUG=1 for the traceback and report it",
    )


def report(error: BaseException) -> int:
    """Tell about an error on stderr; its exit code."""
    if "PacifyFlush" in type(sys.stdout).__name__:  # click's sign that the reader has gone; the class is not public
        return OK
    if isinstance(error, SystemExit | click.exceptions.Exit):
        code = error.code if isinstance(error, SystemExit) else error.exit_code
        return code if isinstance(code, int) else OK if code is None else NO
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return USAGE
    if isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    if os.environ.get("STAMP_DEBUG"):
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    problem = problem_of(_only(error))
    click.echo(str(problem), err=True)
    return problem.status


def _only(error: BaseException) -> BaseException:
    """The error in a group of one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def stdout_may_close() -> Iterator[None]:
    """`stamp tail | head -1` is no error: whoever reads may stop reading."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
