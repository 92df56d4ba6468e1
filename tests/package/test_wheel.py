"""What is installed is what was built: the wheel works with the source tree out of reach."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STAMP_"))}
    done = subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True, timeout=110)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the wheel, and the dependencies of this one: nothing is downloaded."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=home).stdout.strip()
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=home)
    theirs = run(
        sys.executable, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=home
    ).stdout.strip()
    packages = [path for path in Path(theirs).iterdir() if "stamp" not in path.name and path.suffix != ".pth"]
    for package in packages:
        target = Path(purelib) / package.name
        if not target.exists():
            target.symlink_to(package)
    return home


def test_the_wheel_carries_packages_schemas_and_the_example_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"stamp", "brokers"}
    for wanted in (
        "stamp/schemas/stamp/1.json",
        "stamp/schemas/workflows/NEW_TICKET/1.json",
        "stamp/schemas/workflows/COMPLETE_ORDER/1.json",
        "stamp/examples/tickets/tickets.jsonl",
        "stamp/examples/orders/orders.jsonl",
        "stamp/py.typed",
        "brokers/py.typed",
    ):
        assert wanted in names


def test_the_installed_package_does_not_see_the_source_tree(installed: Path) -> None:
    where = run(installed / "bin" / "python", "-c", "import stamp, brokers; print(stamp.__file__)", cwd=installed)
    assert where.stdout.startswith(str(installed))


@pytest.mark.parametrize("example", ["tickets", "orders"])
def test_the_demo_works_from_the_wheel_alone(installed: Path, tmp_path: Path, example: str) -> None:
    done = run(installed / "bin" / "stamp", "demo", "--example", example, cwd=tmp_path)
    assert "missing" in done.stdout


def test_the_command_line_starts_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert "decode" in run(installed / "bin" / "stamp", "--help", cwd=tmp_path).stdout
