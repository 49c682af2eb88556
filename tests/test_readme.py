"""What the README tells a person to type, typed."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BROKEN = json.loads((ROOT / "tests" / "broken_rows.json").read_text(encoding="utf-8"))  # cell, what is wrong with it
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)


SLOW = ("toolkit sft", "--model package:")  # they load real weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a person has who types the commands: a clone, and files of their own in it."""
    clone = tmp_path_factory.mktemp("readme")
    for name in ("configs", "tasks", "examples"):
        (clone / name).symlink_to(ROOT / name)
    chats = [
        [{"role": "user", "content": f"Сколько будет {i} + {i}?"}, {"role": "assistant", "content": str(2 * i)}]
        for i in range(24)
    ]
    cells = [json.dumps(chat, ensure_ascii=False) for chat in chats]
    for name, some in (("my.csv", cells), ("broken.csv", [*cells, *(cell for cell, _ in BROKEN.values())])):
        with (clone / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["conversations"], *([cell] for cell in some)])
    return clone


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command, comments=True)
    assert program == "toolkit"
    toolkit = Path(sys.executable).with_name("toolkit")
    return subprocess.run([toolkit, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def commands() -> list[Any]:
    marked = [pytest.mark.slow] if find_spec("unsloth") else pytest.mark.skip(reason="needs the training packages")
    return [pytest.param(each, marks=marked if any(part in each for part in SLOW) else []) for each in COMMANDS]


@pytest.mark.parametrize("command", commands())
def test_each_command_works(command: str, folder: Path) -> None:
    """In the README's order, in one folder: later commands use what earlier ones left."""
    done = run(command, folder)
    expected = re.search(r"# exit (\d+)", command)
    assert done.returncode == (int(expected[1]) if expected else 0), done.stderr
    assert "error:" not in done.stderr


@pytest.mark.slow
def test_training_on_a_broken_file_keeps_the_good_rows_and_names_the_others(folder: Path) -> None:
    """After the README's commands."""
    run_dir = folder / "runs" / "broken"
    if not (run_dir / "stages" / "sft.json").is_file():
        pytest.skip("the README's command that trains on it was left out")
    rows = [json.loads(line) for line in (run_dir / "data" / "quarantine.jsonl").read_text("utf-8").splitlines()]
    assert [row["row"] for row in rows] == list(range(26, 26 + len(BROKEN)))
    assert all(says in row["reason"] for row, (_, says) in zip(rows, BROKEN.values(), strict=True))


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
