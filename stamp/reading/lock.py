"""The lock beside frozen schemas: a digest of each file, so that an edit by hand does not pass for a contract.

`<folder>/workflows/lock.json` maps `<NAME>/<version>.json` to the SHA-256 of its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from stamp.errors import BadConfiguration

LOCK = "lock.json"


def digests(folder: Path) -> dict[str, str]:
    """The digest of every frozen file below `folder`, by its name."""
    root = folder / "workflows"
    files = sorted(root.glob("*/*.json"))
    return {file.relative_to(root).as_posix(): sha256(file.read_bytes()).hexdigest() for file in files}


def relock(folder: Path) -> int:
    """Write the lock anew from the files that are there; how many it holds."""
    found = digests(folder)
    (folder / "workflows" / LOCK).write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return len(found)


def locked(folder: Path) -> Mapping[str, str]:
    """What is wrong with each file, or "": changed, missing, or not in the lock. Raises `BadConfiguration`."""
    path = folder / "workflows" / LOCK
    found = digests(folder)
    try:
        lock = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        lock = {}
    except ValueError as error:
        raise BadConfiguration(f"{path} is not JSON: {error}", fix="stamp schemas freeze writes it again") from None
    return {name: _problem(found.get(name), lock.get(name)) for name in sorted({*found, *lock})}


def _problem(found: str | None, lock: str | None) -> str:
    if lock is None:
        return "not in the lock: stamp schemas freeze"
    if found is None:
        return "in the lock, but the file is gone"
    return "" if found == lock else "the file was changed after it was frozen"
