"""What SQLAlchemy's errors mean for a store: it wraps the driver's, and this looks inside."""

from __future__ import annotations

import sqlite3

from stamp.errors import BadConfiguration, StoreUnavailable
from stamp.stores import sqlite_work

try:
    from sqlalchemy.exc import DBAPIError, IntegrityError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError
except ImportError as missing:
    raise BadConfiguration(
        "the SQLAlchemy store needs SQLAlchemy, which is not installed",
        fix='pip install "state-stamp[sqlalchemy]"',
    ) from missing


def unavailable(error: BaseException, name: str) -> StoreUnavailable | None:
    """What an error of anybody's statement means: out of reach, or (`None`) not our business."""
    if isinstance(error, PoolTimeoutError):
        return StoreUnavailable(f"{name}: {error}", fix="give the engine a larger pool, or hold connections shorter")
    cause = driver_error(error)
    if isinstance(cause, sqlite3.Error):
        return sqlite_work.unavailable(cause, name)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return StoreUnavailable(f"{name}: {error}", fix="check that the server runs")
    return _postgres(cause, name, ours=False) if isinstance(error, DBAPIError) else None


def ours_unavailable(error: BaseException, name: str) -> StoreUnavailable | None:
    """What an error of the toolkit's own statement means; `None` when the user's rows caused it."""
    if isinstance(error, IntegrityError):
        return None
    if isinstance(error, OSError):
        return StoreUnavailable(f"{name}: {error or type(error).__name__}", fix="check that the server runs")
    if found := unavailable(error, name):
        return found
    cause = driver_error(error)
    if isinstance(cause, sqlite3.Error):
        if sqlite_work.unfinished(cause):
            return None
        return StoreUnavailable(f"{name}: {cause}", fix="run `stamp db upgrade`")
    return _postgres(cause, name, ours=True)


def driver_error(error: BaseException) -> BaseException:
    """The driver's own exception inside SQLAlchemy's (asyncpg's hides one level deeper)."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def failed_before(error: BaseException) -> bool:
    """PostgreSQL refuses every statement after one that failed."""
    return getattr(driver_error(error), "sqlstate", None) == "25P02"


def ended(error: BaseException) -> bool:
    """The savepoint is not there any more, so the transaction it was in isn't either."""
    cause = driver_error(error)
    return getattr(cause, "sqlstate", None) in {"3B001", "25P01"} or "no such savepoint" in str(cause)


def _postgres(cause: BaseException, name: str, *, ours: bool) -> StoreUnavailable | None:
    if not type(cause).__module__.startswith("asyncpg"):
        return None
    from stamp.stores import postgres_errors  # noqa: PLC0415  asyncpg is there, because it raised this

    return postgres_errors.ours_unavailable(cause, name) if ours else postgres_errors.unavailable(cause, name)
