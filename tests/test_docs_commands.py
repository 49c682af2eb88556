"""What the pages under docs/ tell a person to type, typed, in the order of each page."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.progress import QUIET
from rewards.response import render
from tasks.registry import load_task
from tests.docs_blocks import ROOT, SHELLS, Block, blocks, pages
from tests.pages import write_demo
from tests.test_scoring_docs import DAYS, TASK
from toolkit.cli import main
from toolkit.data import example_lines
from toolkit.doctor import gather

ALL = [block for page in pages() for block in blocks(page)]
WITH_COMMANDS = [block for block in ALL if block.commands()]
RUN = [block for block in WITH_COMMANDS if block.directive in ("", "slow")]
PAGE = {path.stem: path.read_text(encoding="utf-8") for path in pages()}


def typed() -> Iterator[Any]:
    for block in RUN:
        for command in block.commands():
            marks = [pytest.mark.slow] if block.directive == "slow" else []
            yield pytest.param(block, command, marks=marks, id=f"{block.page.stem}:{block.line} {command[:50]}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a person has who reads: a clone, the demo's run directory, and the files that the pages show or describe."""
    clone = tmp_path_factory.mktemp("docs")
    for name in ("configs", "tasks", "examples"):
        (clone / name).symlink_to(ROOT / name)
    (clone / "phrase.csv").write_text(re.search(r"```csv\n(.+?)```", PAGE["tutorial"], re.S)[1], encoding="utf-8")  # type: ignore[index]
    mine = re.search(r"^    name: orders\n(?:    .+\n)+", PAGE["own_data"], re.M)
    assert mine is not None
    (clone / "my.yaml").write_text(re.sub(r"^    ", "", mine[0], flags=re.M), encoding="utf-8")
    shutil.copy(ROOT / "tasks" / "order_extraction" / "orders.csv", clone)
    _write_scored(clone)
    write_demo(clone / "runs" / "demo")
    shutil.copytree(clone / "runs" / "demo", clone / "runs" / "demo-again")
    shutil.copytree(clone / "runs" / "demo" / "eval" / "sft", clone / "timesense")
    return clone


def _write_scored(clone: Path) -> None:
    """The files of docs/scoring.md."""
    rewards = re.search(r"^    rewards:\n(?:      .+\n)+", PAGE["scoring"], re.M)
    assert rewards is not None
    (clone / "days.csv").write_text(DAYS, encoding="utf-8")
    (clone / "days.yaml").write_text(TASK + re.sub(r"^    ", "", rewards[0], flags=re.M), encoding="utf-8")
    (clone / "task_v2.py").write_text(
        "from dataclasses import replace\n\nfrom tasks.datetime_extraction import PLAIN\n\n\n"
        "def same_day(completion, example):\n    return float(example.answers[0][:10] in completion)\n\n\n"
        "TASK = replace(PLAIN, version='2', metric=same_day)\n",
        encoding="utf-8",
    )
    from tasks.russian_arithmetic import TASK as ARITHMETIC

    with (clone / "samples.jsonl").open("w", encoding="utf-8") as file:
        for i, each in enumerate(ARITHMETIC.examples("test", 20, 0)):
            for sample in range(4):
                said = render("", each.answers[0] if sample < i % 5 else f"-{sample}")
                file.write(json.dumps({"id": each.id, "completion": said}, ensure_ascii=False) + "\n")


@pytest.mark.parametrize(("block", "command"), typed())
def test_each_command_ends_as_the_page_says(
    block: Block, command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv(QUIET, "")
    monkeypatch.setattr(gather, "memory", lambda: (24.0, 22.0))  # whatever the tests beside this one hold
    expected = int((re.search(r"# exit (\d+)", command) or [0, 0])[1])
    words = shlex.split(command.removeprefix(".venv/bin/"), comments=True)
    if words[0] != "toolkit":
        done = subprocess.run(command, shell=True, cwd=home, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
        assert done.returncode == expected
        return
    with pytest.raises(SystemExit) as end:
        main(words[1:])
    printed = capsys.readouterr()
    assert int(end.value.code or 0) == expected, f"{block.place}: {command}\n{printed.out}{printed.err}"


def test_the_tutorial_shows_a_line_that_is_built() -> None:
    """The second of its `data build`, but for the breaks."""
    shown = re.search(r"```json\n(.+?)```", PAGE["tutorial"], re.S)
    assert shown is not None
    _, second = example_lines(load_task("datetime_extraction_plain"), "train", 2, 0)
    assert json.dumps(json.loads(shown[1])) == json.dumps(json.loads(second))  # the order of the keys too


@pytest.mark.parametrize("block", [each for each in WITH_COMMANDS if each.directive], ids=lambda block: block.place)
def test_what_is_not_run_here_has_a_reason(block: Block) -> None:
    for name in re.findall(r"tests/test_\w+\.py", block.directive):
        assert (ROOT / name).is_file(), f"{block.place}: no such test: {name}"
    if block.directive.startswith("not run: "):
        assert len(block.directive) > len("not run: ") + 4


def test_each_page_that_another_test_runs_is_run_there() -> None:
    for block in WITH_COMMANDS:
        if block.directive.startswith("run by "):
            test = (ROOT / block.directive.removeprefix("run by ")).read_text(encoding="utf-8")
            assert block.page.name in test, block.place


def test_no_command_hides_in_another_language() -> None:
    """A block of output or of YAML isn't looked into, so none of its lines may be a command to type."""
    hidden = re.compile(r"^(\$ |toolkit |\.venv/bin/|make )")
    for block in ALL:
        if block.language is not None and block.language not in SHELLS:
            assert [line for line in block.lines if hidden.match(line)] == [], block.place


def test_the_pages_hold_commands_and_most_pages_are_run() -> None:
    """The reader of blocks itself: it would pass every page if it found nothing."""
    assert len(WITH_COMMANDS) > 40
    assert len({block.page for block in RUN}) >= 5
    (several,) = [block for block in WITH_COMMANDS if "--served-model-name" in " ".join(block.lines)]
    assert [command.split()[0] for command in several.commands()] == ["vllm", "toolkit"]
    (joined,) = [command for block in WITH_COMMANDS for command in block.commands() if "--out cut" in command]
    assert joined.startswith("toolkit eval --model")
    assert "--max-tokens 8" in joined


def test_a_new_block_is_run_unless_it_says_why_not(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "A\n\n    toolkit new VERB\n    its output\n\n```bash\ndocker run x \\\n  y\n# why\n```\n\n"
        "<!-- not run: GPU -->\n\n"
        "```console\n$ npx thing\nsaid\n```\n\nText\n\n```yaml\na: 1\n```\n",
        encoding="utf-8",
    )
    found = [(block.commands(), block.directive) for block in blocks(page)]
    assert found == [
        (["toolkit new VERB"], ""),
        (["docker run x y"], ""),
        (["npx thing"], "not run: GPU"),
        ([], ""),
    ]
