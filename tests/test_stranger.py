"""A stranger's path: the README's fast commands, typed as they stand, in a clean clone without a cache or a network.

The demo itself isn't: test_road.py runs its stages on real weights; here its evaluations are scripted ones.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.docs_blocks import ROOT
from tests.pages import write_demo
from tests.test_readme import BLOCKS, write_files

# Python runs this file first. A stranger's machine may have no network; ours must not show whether we needed one.
NO_NETWORK = """
import socket

def refuse(self, address):
    raise OSError(f"no network here, and {address} was wanted")

socket.socket.connect = socket.socket.connect_ex = refuse
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git holds, the README's files, and the demo's run directory; the toolkit runs from there."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    root = tmp_path_factory.mktemp("stranger")
    there = root / "reasoning-toolkit"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            (there / name).write_bytes((ROOT / name).read_bytes())
    write_files(there)
    write_demo(there / "runs" / "demo")
    for name in ("home", "bin", "python"):
        (root / name).mkdir()
    (root / "python" / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    script = root / "bin" / "toolkit"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m toolkit.cli "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return there


def typed(command: str, clone: Path) -> subprocess.CompletedProcess[str]:
    """Type a command in the clone, with an environment in which nothing of ours is left."""
    root = clone.parent
    environment = {
        "HOME": str(root / "home"),
        "PATH": f"{root / 'bin'}:/usr/bin:/bin",
        "PYTHONPATH": f"{root / 'python'}:{clone}",
        "LANG": "C.UTF-8",
    }
    return subprocess.run(
        command, shell=True, cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def commands() -> Iterator[Any]:
    for block in BLOCKS:
        if not block.directive:
            yield from block.commands()


@pytest.mark.parametrize("command", commands())
def test_each_command_works(command: str, clone: Path) -> None:
    """In the README's order, in one folder: later commands use what earlier ones left."""
    expected = re.search(r"# exit (\d+)", command)
    done = typed(command, clone)
    assert done.returncode == (int(expected[1]) if expected else 0), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "error:" not in done.stderr


@pytest.mark.skipif(which("make") is None, reason="needs make")
@pytest.mark.parametrize("command", [each for block in BLOCKS for each in block.commands() if each.startswith("make ")])
def test_make_knows_what_to_do(command: str, clone: Path) -> None:
    """Shown, not done: the environment would take minutes."""
    done = typed(f"{command} --dry-run", clone)
    assert done.returncode == 0, done.stderr
    assert "requirements/" in done.stdout  # there is no .venv yet


def test_the_path_has_all_its_stations() -> None:
    verbs = [" ".join(re.findall(r"^toolkit ?([a-z]*) ?([a-z]*)", command)[0]).strip() for command in commands()]
    stations = ["task list", "report runs", "data inspect", "task check", "baseline write", "gate"]
    assert [verb for verb in verbs if verb in stations] == stations


def test_the_clone_is_what_ran(clone: Path) -> None:
    """Without this the installed toolkit might have answered, and with its caches."""
    done = typed(f"{sys.executable} -c 'import toolkit, eval, rewards; print(toolkit.__file__, eval.__file__)'", clone)
    assert done.stdout.split() == [str(clone / name / "__init__.py") for name in ("toolkit", "eval")]
    done = typed(f"{sys.executable} -c 'import socket; socket.create_connection((\"127.0.0.1\", 9))'", clone)
    assert "no network here" in done.stderr


def test_what_the_commands_left(clone: Path) -> None:
    """After the README's commands."""
    rows = (clone / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 200
    baseline = json.loads((clone / "baseline.json").read_text(encoding="utf-8"))
    assert "datetime_extraction_plain" in json.dumps(baseline)
    assert "pass" in (clone / "gate.md").read_text(encoding="utf-8")
    assert (clone / "runs" / "demo" / "report.html").is_file()
    summary = json.loads((clone / "floor" / "summary.json").read_text(encoding="utf-8"))
    assert f"{summary['overall']['exact']['value']:.1%}" == "8.0%"
