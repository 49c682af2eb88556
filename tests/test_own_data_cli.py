"""Own data by its commands: inspect, a recipe without a task, and a whole SFT on real weights."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from rewards.core import UserError
from tests.commands import Toolkit
from tests.test_task_declared import write as write_task
from toolkit.cli import main
from toolkit.config import ConversationsConfig, DataConfig, check_recipe, dump_recipe, load_recipe
from toolkit.rundir import open_run
from toolkit.stages import ensure, stages_of

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "conversations.yaml"
TURNS = [{"role": "user", "content": "Сколько будет дважды два?"}, {"role": "assistant", "content": "Четыре."}]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def write_csv(path: Path, cells: list[str]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["conversations"], *([cell] for cell in cells)])
    return str(path)


def test_inspect_counts_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "a.csv", [json.dumps(TURNS), repr(TURNS)])
    assert run("data", "inspect", path) == 0
    assert f"{path}: 2 rows, 2 conversations, 0 bad" in capsys.readouterr().out


def test_a_bad_file_is_told_in_lines_and_not_in_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "a.csv", [json.dumps(TURNS), "[oops", json.dumps(TURNS)])
    page = tmp_path / "a.html"
    assert run("data", "inspect", path, "--html", str(page)) == 1
    said = capsys.readouterr()
    assert f"{path}: 3 rows, 2 conversations, 1 bad" in said.out
    assert f"row 3 of {path}: neither JSON" in said.out
    (error,) = (line for line in said.err.splitlines() if line.startswith("error: "))
    assert "1 of 3 rows (33.3%) can't be used, data.max_bad_share is 1.0%" in error
    assert "1 of 3 rows (33.3%)" in page.read_text(encoding="utf-8")
    assert run("data", "inspect", path, "--set", "data.max_bad_share=1") == 0
    assert "3 rows, 2 conversations, 1 bad" in capsys.readouterr().out


def test_the_quarantine_is_written_without_a_model_and_can_be_read(tmp_path: Path) -> None:
    good = json.dumps(TURNS, ensure_ascii=False)
    path, quarantine = write_csv(tmp_path / "a.csv", ["[Где ключи?", good]), tmp_path / "bad.jsonl"
    assert run("data", "inspect", path, "--quarantine", str(quarantine)) == 1
    text = quarantine.read_text(encoding="utf-8")
    assert "Где ключи?" in text
    assert json.loads(json.loads(text)["raw"]) == {"conversations": "[Где ключи?"}
    (tmp_path / "b.jsonl").write_text('{"prompt": "\\ud83d", "completion": "a"}\n', encoding="utf-8")
    assert run("data", "inspect", str(tmp_path / "b.jsonl"), "--quarantine", str(quarantine)) == 2
    assert "\ud83d" in json.loads(quarantine.read_text(encoding="utf-8"))["raw"]


def test_no_output_overwrites_what_is_read(tmp_path: Path, toolkit: Toolkit) -> None:
    path = Path(write_csv(tmp_path / "a.csv", [json.dumps(TURNS), "[oops"]))
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(CONFIG.read_text(encoding="utf-8"), encoding="utf-8")
    task = Path(write_task(tmp_path))
    (tmp_path / "link.csv").symlink_to(path)
    before = {each: each.read_bytes() for each in tmp_path.iterdir()}
    with_recipe = ["data", "inspect", recipe_file, "--set", f"data.path={path}"]
    for command, option, out in (
        (["data", "inspect", path], "--html", path),
        (["data", "inspect", path], "--quarantine", tmp_path / "link.csv"),
        (["data", "inspect", tmp_path], "--quarantine", path),
        (with_recipe, "--html", path),
        (with_recipe, "--html", recipe_file),
        (["data", "build", "--task", task, "--n", "5"], "--out", tmp_path / "sums.csv"),
        (["data", "build", "--task", task, "--n", "5"], "--out", task),
    ):
        error = toolkit(*command, option, out).error
        assert error.startswith(f"{option} {out}: would overwrite what is read (")
        assert error.endswith(f"choose another {option}")
    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == before
    for _ in range(2):
        toolkit("data", "inspect", path, "--html", tmp_path / "a.html", "--quarantine", tmp_path / "bad.jsonl")
    assert (tmp_path / "a.html").is_file()


def test_twins_in_several_files_are_named_with_their_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"a.csv": ["Да.", "Да."], "b.csv": ["Да.", "Нет."]}
    for name, (first, second) in answers.items():
        text = f"prompt,completion\nПервый?,{first}\nВторой?,{second}\n"
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert run("data", "inspect", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "repeated (same prompt, same answer): 1 rows: rows 2 of a.csv, 2 of b.csv\n" in shown
    assert "in conflict (same prompt, other answers): 2 rows: rows 3 of a.csv, 3 of b.csv\n" in shown


def recipe(**changes: Any) -> dict[str, Any]:
    return {"output": "o", "model": {"reference": "m"}, "sft": {}, **changes}


def test_the_shipped_recipe_names_a_file_and_no_task() -> None:
    loaded = load_recipe(CONFIG, ["data.path=other.csv", "data.columns.conversations=dialog"])
    assert isinstance(loaded.data, ConversationsConfig)
    assert (loaded.task, loaded.data.path, loaded.data.columns.names()) == (
        None,
        "other.csv",
        {"conversations": "dialog"},
    )
    assert stages_of(loaded) == ["data", "sft", "merge"]


@pytest.mark.parametrize("data", [{"path": "a.csv"}, {"sft": 1, "grpo": 1, "test": 1}])
def test_a_recipe_survives_its_own_dump(tmp_path: Path, data: dict[str, Any]) -> None:
    loaded = check_recipe(recipe(data=data, **({} if "path" in data else {"task": "t"})), "w")
    (tmp_path / "r.yaml").write_text(dump_recipe(loaded), encoding="utf-8")
    assert load_recipe(tmp_path / "r.yaml") == loaded
    assert isinstance(loaded.data, ConversationsConfig if "path" in data else DataConfig)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": {"path": "a.csv"}, "task": "t"}, "w: name a task or data.path, not both"),
        ({"data": {"sft": 1, "grpo": 1, "test": 1}}, "w: name a task, or a file of conversations with data.path"),
        ({"data": {"path": "a.csv"}, "grpo": {}}, "w: grpo and rewards need a task"),
        ({"data": {"path": "a.csv", "seperator": ";"}}, "unknown key 'data.seperator'; did you mean 'separator'?"),
        ({"data": {"sft": 1, "grpo": 1, "tests": 1}, "task": "t"}, "unknown key 'data.tests'; did you mean 'test'?"),
        ({"data": {"path": "a.csv", "columns": {"user": "q"}}}, "w: data.columns: name conversations, or user"),
    ],
)
def test_a_recipe_names_a_task_or_a_file(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        check_recipe(recipe(**changes), "w")
    assert says in str(caught.value)


def test_a_task_with_fewer_rows_than_the_recipe_wants_is_told(tmp_path: Path) -> None:
    changes = {"task": "order_extraction", "data": {"sft": 200, "grpo": 60, "test": 9}, "output": str(tmp_path / "run")}
    opened = open_run(check_recipe(recipe(**changes), "w"))
    left = r"train has 240 examples; data\.sft takes the first 200, so 40 are left for data\.grpo \(60 wanted\)"
    with pytest.raises(UserError, match=rf"'order_extraction': {left}"):
        ensure(opened, "data", lambda line: None)


def test_inspect_refuses_a_recipe_of_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "inspect", str(ROOT / "configs" / "demo.yaml")) == 2
    assert "its data come from the task 'datetime_extraction_plain'" in capsys.readouterr().err


@pytest.mark.slow
def test_from_a_file_to_an_adapter(tmp_path: Path, smollm2_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    chats = [[{"role": "user", "content": f"{TURNS[0]['content']} {i}"}, TURNS[1]] for i in range(24)]
    cells = [*(json.dumps(chat, ensure_ascii=False) for chat in chats), "[broken"]
    path = write_csv(tmp_path / "my.csv", cells)
    settings = {
        "data.path": path,
        "data.max_bad_share": "0.1",
        "output": str(tmp_path / "run"),
        "model.reference": str(smollm2_dir),
        "model.backend": "transformers",
        "model.chat_template": "chatml",
        "sft.max_steps": "2",
        "sft.batch_size": "4",
    }
    arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    assert run("sft", str(CONFIG), *arguments) == 0
    folder = tmp_path / "run"
    assert json.loads((folder / "data" / "quarantine.jsonl").read_text(encoding="utf-8"))["row"] == 26
    assert "25 rows, 24 conversations, 1 bad" in capfd.readouterr().err
    assert (folder / "sft" / "adapter" / "adapter_config.json").is_file()
    facts = json.loads((folder / "stages" / "sft.json").read_text(encoding="utf-8"))
    assert facts["steps"] == 2
    template = (folder / "sft" / "adapter" / "chat_template.jinja").read_text(encoding="utf-8")
    assert template.startswith("{#- ChatML")

    write_csv(Path(path), cells[:-2])
    (folder / "stages" / "sft.json").unlink()
    assert run("sft", str(CONFIG), *arguments) == 2
    assert "changed since the run's data stage" in capfd.readouterr().err


def test_the_chat_template_flag_is_the_recipe_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def inspected(config: Any, model: Any, quarantine: Any) -> Any:
        seen.append(model.chat_template)
        raise UserError("seen")

    monkeypatch.setattr("toolkit.conversations.inspecting.inspect", inspected)
    path = write_csv(tmp_path / "a.csv", [json.dumps(TURNS)])
    assert run("data", "inspect", path, "--model", "m", "--chat-template", "gemma") == 2
    assert seen == ["gemma"]
    folder = tmp_path / "run"
    assert run("sft", str(CONFIG), "--chat-template", "qwen-3", "--set", f"output={folder}") == 2  # there is no my.csv
    assert load_recipe(folder / "recipe.yaml").model.chat_template == "qwen-3"
