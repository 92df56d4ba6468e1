"""One service of an example as a process of its own: `python -m common.serve EXAMPLE SERVICE`.

STAMP_BROKER is the broker's URL, STAMP_STORE that of the databases with `{service}` for the name.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

from common.databases import SERVICE
from common.example import load


async def serve(example: str, name: str) -> None:
    """Serve until SIGTERM, then drain. Prints `ready` when it consumes."""
    await (
        load(example)
        .services[name]
        .run(
            broker=os.environ["STAMP_BROKER"],
            store=os.environ["STAMP_STORE"].replace(SERVICE, name),
            ready=lambda: print("ready", flush=True),
        )
    )


def end_with_parent() -> None:
    """Drain when standard input ends: whoever started this process is gone, even if it was killed."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
