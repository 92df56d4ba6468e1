"""One channel's own line through a tapped connection: its frames go straight to the socket, its confirms come from it.

aiormq hands each frame to a task that writes, and each confirm through two tasks to whoever waits: four turns of the
loop for what is one call here. What was on its way before is never overtaken: where anything waits, the library carries
on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from brokers.rabbitmq.tap import FRAME, METHOD, tap_of
from brokers.rabbitmq.unframe import CONFIRM, confirm

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel as Underlay
    from aiormq.channel import Channel


def written(underlay: Underlay, data: bytes) -> bool:
    """Whether these frames went to the socket at once: only where nothing waits before them and the socket keeps up."""
    tap = tap_of(underlay.connection)
    writer = None if tap is None else tap.writer
    waiting = cast("Channel", underlay).write_queue
    if writer is None or underlay.is_closed or writer.is_closing() or not waiting.empty():
        return False
    if writer.transport.get_write_buffer_size():
        return False
    writer.write(data)
    return True


class Confirms:
    """The confirms of a channel, taken before the library reads them.

    A returned message comes before its confirm, and the library reads it later. So from anything else on this channel
    on, confirms go the library's way too, until it has no message left to wait for.
    """

    def __init__(self, underlay: Channel) -> None:
        self._underlay = underlay
        self._soon = asyncio.get_running_loop().call_soon
        self._behind = False

    def belong_to(self, underlay: Channel) -> bool:
        """Whether they are of this channel; a later one may have its number."""
        return self._underlay is underlay

    def caught_up(self) -> None:
        """To be asked now and then: when the library waits for nothing, it has read all there was."""
        self._behind = self._behind and bool(self._underlay.confirmations)

    def takes(self, kind: int, frame: bytes) -> bool:
        """Whether the frame is a confirm that may be counted now. Raises `UnusualError` for one that can't be read."""
        if self._behind or kind != METHOD or not frame.startswith(CONFIRM, FRAME.size):
            self._behind = True
            return False
        # Not now: a message that came in the same turn begins its hop before what the last one left is settled.
        self._soon(self._land, *confirm(frame[FRAME.size : -1]))
        return True

    def untaken(self) -> bytes:
        """No frame is taken before its message is whole."""
        return b""

    def _land(self, tag: int, multiple: bool) -> None:
        waiting = self._underlay.confirmations
        for number in [known for known in waiting if known <= tag] if multiple else [tag]:
            confirmation = waiting.pop(number, None)
            if confirmation is not None and not confirmation.done():
                cast("asyncio.Future[None]", confirmation).set_result(None)


def take_confirms(underlay: Channel) -> None:
    """To be called before a burst: from the first one on the confirms of this channel are taken, until it closes."""
    tap = tap_of(underlay.connection)
    if tap is None:
        return
    known = tap.diverted(underlay.number)
    if isinstance(known, Confirms) and known.belong_to(underlay):
        known.caught_up()
        return
    undo = tap.divert(underlay.number, Confirms(underlay))
    underlay.closing.add_done_callback(lambda _: undo())
