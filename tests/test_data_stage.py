"""Files that change after a run's data were built from them: a table, a task, a file of conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.tables.source import content_hash
from tests.commands import Toolkit
from toolkit.config import load_recipe
from toolkit.conversations import stage as conversations
from toolkit.data_stage import refuse_changed, source_hashes
from toolkit.rundir import Run, opened

TASK = {
    "name": "sums",
    "data": "sums.csv",
    "user": "{a} + {b}?",
    "answer": "total",
    "group": "a",
    "rewards": {"rewards.text:exact_text": 1.0},
    "metric": "rewards.text:exact_text",
}


def table(path: Path, ask: str = "") -> None:
    rows = [f"{ask}{a},{b},{a + b}" for a in range(20) for b in range(10)]
    path.write_text("\n".join(["a,b,total", *rows]), encoding="utf-8")


@pytest.fixture
def sums(tmp_path: Path, config: Path) -> Path:
    """The recipe over a task in YAML, whose table is beside it."""
    table(tmp_path / "sums.csv")
    (tmp_path / "sums.yaml").write_text(yaml.safe_dump(TASK), encoding="utf-8")
    raw = yaml.safe_load(config.read_text(encoding="utf-8"))
    data = {"sft": 8, "grpo": 8, "validation": 4, "test": 6}
    config.write_text(yaml.safe_dump({**raw, "task": str(tmp_path / "sums.yaml"), "data": data}), encoding="utf-8")
    return config


def built(run: Path) -> str:
    return (run / "data" / "sft.jsonl").read_text(encoding="utf-8")


@pytest.mark.usefixtures("trained")
def test_a_mended_table_is_read_again_until_something_depends_on_it(
    toolkit: Toolkit, sums: Path, tmp_path: Path
) -> None:
    run, csv = tmp_path / "run", tmp_path / "sums.csv"
    assert toolkit("preflight", sums).code == 0
    table(csv, "new ")
    again = toolkit("preflight", sums)
    assert f"data: {csv} changed since they were built, and nothing depends on them yet: built anew" in again.err
    assert "new " in built(run)
    assert "data: done before" in toolkit("sft", sums).err
    table(csv, "newer ")
    note = f"{csv} changed since the run's data stage, and what is done goes by what was there"
    over = toolkit("sft", sums)
    assert over.code == 0, "what is done stays done"
    assert f"note: {note}" in over.err
    for verb in ("grpo", "scan", "run"):
        refused = toolkit(verb, sums)
        assert refused.code == 2
        assert note in refused.error
        assert "put it back as it was, or choose another directory (--set output=…)" in refused.error
    assert "newer" not in built(run)
    table(csv, "new ")
    assert toolkit("grpo", sums).code == 0, "put back"


@pytest.mark.usefixtures("trained")
def test_a_task_whose_examples_are_the_same_goes_on(toolkit: Toolkit, sums: Path, tmp_path: Path) -> None:
    """A mended reward costs no finished SFT."""
    task = tmp_path / "sums.yaml"
    assert toolkit("sft", sums).code == 0
    task.write_text(yaml.safe_dump({**TASK, "rewards": {"rewards.text:exact_text": 2.0}}), encoding="utf-8")
    went_on = toolkit("grpo", sums)
    assert went_on.code == 0
    assert f"data: {task} changed, the examples are the same" in went_on.err
    assert "changed" not in toolkit("grpo", sums).err, "said once"
    task.write_text(
        task.read_text(encoding="utf-8") + "# mended while a later stage was on its way\n", encoding="utf-8"
    )
    with opened(load_recipe(sums)) as run:
        refuse_changed(run, "eval-tuned")
    task.write_text(yaml.safe_dump({**TASK, "user": "{a} and {b}?"}), encoding="utf-8")
    assert f"note: {task} changed since" in toolkit("grpo", sums).err


@pytest.mark.usefixtures("trained")
def test_a_task_in_python_is_its_file(toolkit: Toolkit, config: Path, task_file: Path) -> None:
    assert toolkit("sft", config).code == 0
    task_file.write_text(task_file.read_text(encoding="utf-8").replace("who are", "what are"), encoding="utf-8")
    refused = toolkit("grpo", config)
    assert f"{task_file} changed since the run's data stage" in refused.error


@pytest.mark.usefixtures("trained")
def test_a_run_of_before_the_hashes_goes_on(toolkit: Toolkit, sums: Path, tmp_path: Path) -> None:
    assert toolkit("sft", sums).code == 0
    stage = tmp_path / "run" / "stages" / "data.json"
    facts = json.loads(stage.read_text(encoding="utf-8"))
    assert sorted(facts.pop("sources")) == [str(tmp_path / "sums.csv"), str(tmp_path / "sums.yaml")]
    stage.write_text(json.dumps(facts), encoding="utf-8")
    table(tmp_path / "sums.csv", "new ")
    assert toolkit("grpo", sums).code == 0


@pytest.mark.usefixtures("trained")
def test_conversations_go_by_the_same_rule(
    toolkit: Toolkit, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Run] = []

    def prepare(run: Run) -> dict[str, Any]:
        prepared.append(run)
        return {"sequences": 1}

    monkeypatch.setattr(conversations, "conversations_stage", prepare)
    path = tmp_path / "my.csv"
    path.write_text("prompt,completion\nq,a\n", encoding="utf-8")
    raw = yaml.safe_load(config.read_text(encoding="utf-8"))
    raw = {**{key: raw[key] for key in ("output", "model", "sft")}, "data": {"path": str(path)}}
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")

    def more() -> None:
        path.write_text(path.read_text(encoding="utf-8") + "q,a\n", encoding="utf-8")

    assert toolkit("preflight", config).code == 0
    more()
    assert f"data: {path} changed since they were built" in toolkit("sft", config).err
    assert len(prepared) == 2
    more()
    over = toolkit("sft", config)
    assert over.code == 0
    assert f"note: {path} changed since the run's data stage" in over.err
    (tmp_path / "run" / "stages" / "sft.json").unlink()
    (tmp_path / "run" / "sft" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    assert f"sft: {path} changed since the run's data stage" in toolkit("sft", config).error
    path.unlink()
    assert source_hashes(load_recipe(config)) == {}, "who reads it says that it is gone"


def test_the_hash_of_a_folder_is_of_its_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n", encoding="utf-8")
    first = content_hash(tmp_path)
    (tmp_path / "notes.txt").write_text("aside", encoding="utf-8")
    assert content_hash(tmp_path) == first
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "x.arrow").write_bytes(b"not read: this folder is no saved dataset")
    assert content_hash(tmp_path) == first
    (tmp_path / "b.csv").write_text("a\n1\n", encoding="utf-8")
    assert content_hash(tmp_path) != first
    assert content_hash(tmp_path / "none") is None
