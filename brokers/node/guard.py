"""Ends what a process started when that process dies without a word (SIGKILL, power of the test runner)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brokers.node.process import Process

# Reading its standard input ends when our end of the pipe does, by `close` or by our death. It compares
# start times, because a pid may by then belong to another process.
_SCRIPT = """
cat >/dev/null
for note in "$1"/*; do
    [ -f "$note" ] || continue
    { read -r born; read -r folder; } <"$note"
    pid=${note##*/}
    now=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20)
    if [ "$now" = "$born" ]; then kill -KILL "-$pid"; fi
    if [ -n "$folder" ]; then rm -rf -- "$folder"; fi
done
rm -rf -- "$1"
"""


class Guard:
    """A small shell that waits for its maker's end, then kills the processes it was told to watch."""

    def __init__(self) -> None:
        self._notes: Path | None = None
        self._shell: subprocess.Popen[bytes] | None = None

    def watch(self, process: Process, folder: Path | None) -> None:
        """From now on, end this process and delete the folder when our own process dies."""
        notes = self._notes or self._begin()
        (notes / str(process.pid)).write_text(f"{process.born}\n{folder or ''}\n")

    def forget(self, process: Process) -> None:
        """It has ended already."""
        if self._notes is not None:
            (self._notes / str(process.pid)).unlink(missing_ok=True)

    def close(self) -> None:
        """Watch no more; what was watched has been ended by its owner. Idempotent."""
        if self._notes is not None:
            shutil.rmtree(self._notes, ignore_errors=True)
        if self._shell is not None and self._shell.stdin is not None:
            with suppress(BrokenPipeError):
                self._shell.stdin.close()
            self._shell.wait()
        self._notes = self._shell = None

    def _begin(self) -> Path:
        self._notes = Path(tempfile.mkdtemp(prefix="rabbitmq-guard-"))
        self._shell = subprocess.Popen(  # noqa: S603 (a constant script)
            ["/bin/sh", "-c", _SCRIPT, "guard", str(self._notes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self._notes
