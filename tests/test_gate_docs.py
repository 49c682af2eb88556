"""What docs/gate.md and examples/ci tell a person to type, typed, on small evaluations."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from benchmarks.jsonl import read_jsonl
from eval.gating.rules import GATE, KINDS, TOP, VALID, read_rules
from rewards.core import Example
from tasks.base import Task
from tests.scripted import evaluate_script
from toolkit.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOC = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
# each command with the exit code that the page shows after it, 0 where it shows none
COMMANDS = [
    (command, int(code or 0))
    for command, code in re.findall(r"^\$ (toolkit .+?)(?:; echo \$\?\n(?:.*\n)*?(\d+))?$", DOC, re.M)
]
WRONG = {"sft": set(range(0, 240, 3)), "tuned": set(range(12, 240, 3)) | set(range(1, 37, 3))}  # 4 gained, 12 lost


def evaluation(directory: Path, completions: list[str]) -> None:
    examples = [
        Example(
            f"e{i}",
            ({"role": "user", "content": str(i)},),
            ("yes",),
            tags={"lang": "ru" if i % 2 else "en"},
            group=f"g{i}",
        )
        for i in range(240)
    ]
    task = Task("yes", "1", lambda split, n, seed: iter(()), {}, lambda text, example: float("yes" in text))
    evaluate_script(directory, task, examples, completions)


def said(word: str) -> str:
    return f"<reasoning>so</reasoning><answer>{word}</answer>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's directories: base (half of it cut), sft, tuned, and tuned twice more."""
    root = tmp_path_factory.mktemp("gate")
    runs = root / "runs" / "demo" / "eval"
    runs.mkdir(parents=True)
    evaluation(runs / "base", ["word " * 20 if i % 2 else "no" for i in range(240)])
    for name in ("sft", "tuned"):
        evaluation(runs / name, [said("no" if i in WRONG[name] else "yes") for i in range(240)])
    for name in ("again", "half"):
        shutil.copytree(runs / "tuned", runs / name)
    records = runs / "half" / "records.jsonl"
    rows = read_jsonl(records)
    rows[1]["score"] = 1.0
    records.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (root / "gates.toml").write_text(re.search(r"```toml\n(.+?)```", DOC, re.S)[1], encoding="utf-8")  # type: ignore[index]
    return root


@pytest.mark.parametrize(("command", "code"), COMMANDS)
def test_each_command_ends_as_the_page_says(
    command: str, code: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the page's order, in one folder."""
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as end:
        main(shlex.split(command)[1:])
    out = capsys.readouterr()
    assert int(end.value.code or 0) == code, out.out + out.err


def test_the_page_has_its_commands() -> None:
    verbs = {command.split()[1] for command, _ in COMMANDS}
    assert {"baseline", "gate", "noise", "compare"} <= verbs
    assert {code for _, code in COMMANDS} >= {0, 13}


def test_the_files_that_the_commands_wrote(folder: Path) -> None:
    assert ElementTree.parse(folder / "gate.xml").getroot().tag == "testsuites"
    assert (folder / "gate.md").read_text(encoding="utf-8").startswith("## Model gate: ")
    assert json.loads((folder / "noise.json").read_text(encoding="utf-8"))["flips"] == 1


def test_the_page_names_every_key_and_code() -> None:
    for key in (*TOP, *VALID, *GATE, *KINDS):
        assert re.search(rf"[`\[]{key}", DOC), key
    for code in (0, 2, 10, 11, 12, 13, 14):
        assert re.search(rf"^\| {code} \|", DOC, re.M)


def test_the_example_is_the_pages_and_valid() -> None:
    path = ROOT / "examples" / "ci" / "gates.toml"
    shown = re.search(r"```toml\n(.+?)```", DOC, re.S)
    assert shown is not None
    assert tomllib.loads(shown[1]) == tomllib.loads(path.read_text(encoding="utf-8"))
    assert len(read_rules(path).gates) == 3


def test_the_workflow_runs_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    workflow = yaml.safe_load((ROOT / "examples" / "ci" / "model-gate.yaml").read_text(encoding="utf-8"))
    steps = [step.get("run", "") for step in workflow["jobs"]["gate"]["steps"]]
    commands = [step.split("toolkit ", 1)[1] for step in steps if "bin/toolkit " in step]
    assert len(commands) == 2
    for command in commands:
        with pytest.raises(SystemExit) as end:
            main([command.split()[0], "--help"])
        assert end.value.code == 0
        help_text = capsys.readouterr().out
        used = set(
            re.findall(r"--[a-z-]+", command + workflow["jobs"]["gate"]["env"]["EVALUATION"] * ("eval" in command[:5]))
        )
        assert used <= set(re.findall(r"--[a-z-]+", help_text))


def test_the_workflows_baseline_is_the_evaluation_of_its_job() -> None:
    text = (ROOT / "examples" / "ci" / "model-gate.yaml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)["jobs"]["gate"]
    told = re.search(r"^#   (toolkit eval .+)\n#   (toolkit baseline .+)$", text, re.M)
    assert told is not None
    asked = f"toolkit eval --model MODEL --task {job['env']['TASK']} {job['env']['EVALUATION']} --out evaluation"
    assert told[1] == asked
    assert told[2] == "toolkit baseline write evaluation --out model/baseline.json"
    (evaluate,) = (step["run"] for step in job["steps"] if step.get("name") == "Evaluate")
    assert evaluate.endswith("|| [ $? -eq 13 ]")  # the gate, not this step, judges an invalid evaluation
