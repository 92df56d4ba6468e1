"""`stamp run` serves on uvloop where it is installed, and plainly elsewhere."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace

import pytest

from stamp.cli.link import serve_async


class Quick(asyncio.SelectorEventLoop): ...


async def running() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_an_installed_uvloop_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(new_event_loop=Quick))
    assert isinstance(serve_async(running()), Quick)


def test_without_uvloop_the_loop_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert isinstance(serve_async(running()), asyncio.SelectorEventLoop)
