"""Loading an app: the module in which workflows and services are defined."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from stamp.cli.problems import bad_app, not_found, usage
from stamp.errors import DefinitionError

if TYPE_CHECKING:
    from stamp.service import Service
    from stamp.workflow import Workflow


class App(msgspec.Struct, frozen=True):
    """The workflows and services found in a module."""

    name: str
    workflows: Mapping[tuple[str, int], Workflow]
    services: Mapping[str, Service]

    def newest(self) -> list[Workflow]:
        """The newest version of each workflow, by name."""
        newest = {name: self.workflows[name, version] for name, version in sorted(self.workflows)}
        return list(newest.values())

    def workflow(self, wanted: str) -> Workflow:
        """A workflow by `NAME` (its newest version) or `NAME@VERSION`. Raises `Problem` naming those which exist."""
        name, _, version = wanted.partition("@")
        found = [
            workflow
            for (known, number), workflow in sorted(self.workflows.items())
            if known == name and version in {"", str(number)}
        ]
        if not found:
            known_names = ", ".join(sorted(f"{name}@{version}" for name, version in self.workflows)) or "none"
            raise not_found(f"{self.name} has no workflow {wanted!r}", fix=f"one of: {known_names}")
        return found[-1]

    def service(self, wanted: str) -> Service:
        """A service by name. Raises `Problem` naming those which exist."""
        if wanted not in self.services:
            raise not_found(
                f"{self.name} has no service {wanted!r}", fix=f"one of: {', '.join(self.services) or 'none'}"
            )
        return self.services[wanted]


NOTHING = App("no app", {}, {})


def optional(target: str | None) -> App:
    """The app, or one without anything when none was named."""
    return load(target) if target else NOTHING


def required(target: str | None) -> App:
    """The app. Raises `Problem` when none was named."""
    if not target:
        raise usage("which app?", fix='--app MODULE, STAMP_APP, or app = "MODULE" below [tool.stamp]')
    return load(target)


def load(target: str) -> App:
    """The app in `package.module`, `path/to/file.py`, or one object of it: `MODULE:NAME`. Raises `Problem`."""
    place, _, name = target.partition(":")
    module = _imported(place)
    found = list(_things(_named(module, name, place))) if name else list(_things(vars(module)))
    if not found:
        raise bad_app(f"{target} has neither workflows nor services", fix="define them at the top level of the module")
    return _app(target, found)


def _app(target: str, found: Iterable[Any]) -> App:
    from stamp.service import Service  # noqa: PLC0415  services bring the event loop; many commands need none

    services: dict[str, Service] = {}
    workflows: dict[tuple[str, int], Workflow] = {}
    for thing in found:
        if not isinstance(thing, Service):
            workflows[thing.name, thing.version] = thing
        elif services.setdefault(thing.name, thing) is not thing:
            raise bad_app(f"{target} has two services called {thing.name!r}", fix="rename one of them")
        else:
            workflows.update({(flow.name, flow.version): flow for flow in thing.workflows})
    return App(target, workflows, services)


def _things(value: object) -> Iterator[Any]:
    """Services and workflows in a namespace, a collection or by themselves, each once."""
    from stamp.service import Service  # noqa: PLC0415
    from stamp.workflow import Workflow  # noqa: PLC0415

    match value:
        case Service() | Workflow():
            yield value
        case dict():
            values = value.values()
            yield from {id(thing): thing for inner in values for thing in _shallow(inner, Service | Workflow)}.values()
        case list() | tuple() | set() | frozenset():
            yield from _shallow(value, Service | Workflow)
        case _:
            return


def _shallow(value: object, kinds: Any) -> Iterator[Any]:
    match value:
        case dict():
            inner: Iterable[object] = value.values()
        case list() | tuple() | set() | frozenset():
            inner = value
        case _:
            inner = (value,)
    yield from (thing for thing in inner if isinstance(thing, kinds))


def _named(module: ModuleType, name: str, place: str) -> object:
    value: object = module
    for part in name.split("."):
        if not hasattr(value, part):
            known = ", ".join(known for known, thing in vars(module).items() if list(_things(thing))) or "none"
            raise bad_app(f"{place} has no {name!r}", fix=f"services and workflows there: {known}")
        value = getattr(value, part)
    return value


def _imported(place: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    file = _file(place)
    name = place if file is None else _module_name(file)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise bad_app(
                f"there is no module {name!r}", why=f"looked in {here} first", fix="run in the folder of the app"
            ) from None
        raise _raised(place, error) from error
    except DefinitionError:
        raise
    except (Exception, SystemExit) as error:
        raise _raised(place, error) from error


def _file(place: str) -> Path | None:
    """The file meant, for a path, and for a dotted name that leads to a file from here.

    A folder on the way need not be a package: then the app's own package is found from the file upwards.
    """
    if place.endswith(".py") or "/" in place:
        return Path(place)
    file = Path(*place.split(".")).with_suffix(".py")
    return file if file.is_file() else None


def _raised(place: str, error: Exception | SystemExit) -> Exception:
    import traceback  # noqa: PLC0415  for an app that is broken

    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and "/stamp/cli/" not in frame.filename]
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return bad_app(
        f"importing {place} raised {type(error).__name__}: {error}{where}",
        why="the module runs when it is loaded",
        fix=f"python -c 'import {place}' shows the traceback" if "/" not in place else "run the file with python",
    )


def _module_name(path: Path) -> str:
    """The dotted name of a file, with the folder above its packages importable."""
    if path.is_dir():
        path = path / "__init__.py"
    if not path.is_file():
        raise bad_app(f"there is no file {path}", fix="give a module, or the path of a .py file")
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.resolve().parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return ".".join(parts)
