"""An environment of their own for the peers, so that nothing of theirs comes near the project's."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.progress import say

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".stamp" / "peers" / "env"
PYTHON = FOLDER / "bin" / "python"
PATIENCE = 600.0
LAST_WORDS = 400


def prepare(wanted: Iterable[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Install each peer's packages by name, unless they are there; by peer, why it could not be installed."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    return {peer: why for peer, packages in wanted if (why := _installed(peer, packages))}


def _installed(peer: str, packages: Sequence[str]) -> str:
    if _pip("show", *[name.partition("[")[0] for name in packages]).returncode == 0:
        return ""
    say(f"peers: installing {peer}")
    done = _pip("install", "--quiet", *packages)
    return "" if done.returncode == 0 else last_words(done.stderr or done.stdout)


def last_words(text: str) -> str:
    """The end of what a process printed, without places of this machine and addresses: it is shown on a page."""
    plain = re.sub(r"https?://\S+|(?<![\w.])/[\w./-]+", "…", text)
    return plain.strip()[-LAST_WORDS:]


def _pip(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
