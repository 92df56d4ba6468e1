"""The system's time, on the running event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SystemClock:
    """Real time: `now` is the system's clock, callbacks run on the running event loop."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once after `seconds`; the returned function cancels it. Needs a running loop."""
        return asyncio.get_running_loop().call_later(seconds, callback).cancel
