"""What the README tells a person to type, typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    assert program == "toolkit"
    toolkit = Path(sys.executable).with_name("toolkit")
    return subprocess.run([toolkit, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_works(command: str, folder: Path) -> None:
    """In the README's order, in one folder: later commands use what earlier ones left."""
    done = run(command, folder)
    assert done.returncode in ((0, 11) if command.startswith("toolkit compare") else (0,)), done.stderr
    assert "error:" not in done.stderr


def test_make_has_the_targets() -> None:
    named = set(re.findall(r"^ +make (\w+)", README, re.MULTILINE))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_file_table_names_every_module() -> None:
    table = README[README.index("## Where things are") :]
    paths = [
        path for cell in re.findall(r"^\| (.+?) \|", table, re.MULTILINE) for path in re.findall(r"`([^`]+)`", cell)
    ]
    folders = {ROOT / path for path in paths if path.endswith("/")}
    parents: list[Path] = []
    for path in paths:  # a bare file name follows one in the same folder
        parents.append((ROOT / path).parent if "/" in path else parents[-1])
    files = {parent / Path(path).name for parent, path in zip(parents, paths, strict=True)}
    missing = [path for path in files | folders if not path.exists()]
    assert not missing
    modules = [path for name in ("toolkit", "tasks", "rewards", "eval") for path in (ROOT / name).glob("*.py")]
    unnamed = [path.name for path in modules if path not in files and path.name != "__init__.py"]
    assert set(unnamed) <= {"files.py", "manifest.py", "progress.py", "summary.py", "tables.py"}  # eval's own helpers


def test_the_demo_output_is_of_the_recipe_that_ships() -> None:
    import yaml

    recipe = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text(encoding="utf-8"))
    assert f"{recipe['task']}: {recipe['data']['test']} held-out examples" in README
    assert f"from {recipe['data']['sft']} examples" in README.replace("\n", " ")
