"""toolkit eval with several models, in another order, and with a template of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.jsonl import read_jsonl
from toolkit.cli import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def script(path: Path, said: str) -> Path:
    rows = [{"id": f"test-0-{i}", "completion": said} for i in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def scores(directory: Path) -> list[float]:
    return [row["score"] for row in read_jsonl(directory / "records.jsonl")]


def test_each_model_gets_its_own_directory(tmp_path: Path, task_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = script(tmp_path / "right.jsonl", "tuned"), script(tmp_path / "wrong.jsonl", "base")
    shared = ["eval", "--task", task_file, "--n", 10, "--engine", "scripted", "--out", tmp_path / "out"]
    assert run(*shared, "--model", f"a={wrong}", "--model", f"b={right}", "--shuffle", 3) == 0
    assert scores(tmp_path / "out" / "a") == [0.0] * 10
    assert scores(tmp_path / "out" / "b") == [1.0] * 10
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("word: ")]
    assert titles == ["word: a", "word: b"]
    assert run("compare", tmp_path / "out" / "a", tmp_path / "out" / "b") == 0
    how = json.loads((tmp_path / "out" / "a" / "manifest.json").read_text(encoding="utf-8"))["how"]
    assert how == {"shuffle": 3, "any_template": False, "start": 0}


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (["a={file}", "{file}"], "write --model NAME=MODEL"),
        (["a={file}", "../b={file}"], "write --model NAME=MODEL"),
        (["a={file}", "b=a text"], "takes files of completions"),
        (["a={file}", "a={file}"], "the same name"),
    ],
)
def test_names_that_wont_do(
    tmp_path: Path, task_file: Path, capsys: pytest.CaptureFixture[str], models: list[str], said: str
) -> None:
    file = script(tmp_path / "m.jsonl", "tuned")
    chosen = [part for model in models for part in ("--model", model.format(file=file))]
    assert run("eval", "--task", task_file, "--engine", "scripted", "--out", tmp_path / "out", *chosen) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
