"""predict over a file: every row has a result, a bad one too; interrupted, it goes on; nothing is mixed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from eval.engines.base import Completion, Request, Sampling
from rewards.core import UserError
from rewards.response import render
from toolkit import cli, predict_file
from toolkit.predict_file import Columns

NOW = Columns("text", None, "2025-01-17")
TASK = "datetime_extraction_plain"


class Engine:
    """Answers with the number of the row; some rows are cut, malformed or refused. Counts what it was asked."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.stop_after = stop_after

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        for request in reversed(requests):
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(request.id)
            text = request.messages[-1]["content"]
            if "cut" in text:
                yield Completion(request.id, 0, "<reasoning>so", "length", 5)
            elif "refused" in text:
                yield Completion(request.id, 0, "too long", "error", 0)
            elif "odd" in text:
                yield Completion(request.id, 0, "well,\nI think", "stop", 3)
            else:
                yield Completion(request.id, 0, render('a "quoted",\nline', f"row {request.id}"), "stop", 9)

    def close(self) -> None: ...


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(predict_file, "load_engine", lambda *_: made)
    return made


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write(
        tmp_path / "in.csv",
        'text,when\nзавтра,2025-01-17\ncut,x\n"odd\none",2025-01-17\nrefused,\n,2025\na,b,c\nв 12,2025-02-01T10:30\n',
    )


def run(file: Path, out: Path, model: Path, columns: Columns = NOW, **changes: Any) -> dict[str, int]:
    arguments = {"task": TASK, "engine": "scripted", "max_tokens": 5, **changes}
    return predict_file.predict_file(file, out, str(model), columns, **arguments)


def read(out: Path) -> list[dict[str, str]]:
    if out.suffix == ".jsonl":
        return read_jsonl(out)
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_every_row_has_a_result(questions: Path, tmp_path: Path, fake_model: Path, engine: Engine, name: str) -> None:
    counts = run(questions, tmp_path / name, fake_model)
    assert counts == {"answered": 2, "truncated": 1, "wrong_format": 1, "error": 1, "bad_row": 2}
    rows = {int(row["row"]): row for row in read(tmp_path / name)}
    assert list(rows) == [2, 3, 4, 5, 6, 7, 8]
    assert (rows[2]["answer"], rows[2]["reasoning"], rows[2]["text"]) == ("row 2", 'a "quoted",\nline', "завтра")
    assert rows[3]["answer"] == ""
    assert "cut after 5 tokens" in rows[3]["problem"]
    assert rows[4]["problem"] == "missing_tag"
    assert rows[5]["problem"] == "too long"
    assert rows[6]["problem"] == "column 'text' is empty"
    assert "has 3 cells" in rows[7]["problem"]


def test_the_moment_may_be_a_column(questions: Path, tmp_path: Path, fake_model: Path, engine: Engine) -> None:
    counts = run(questions, tmp_path / "o.csv", fake_model, Columns("text", "when", None))
    assert counts == {"answered": 2, "wrong_format": 1, "bad_row": 4}
    assert "not an ISO date" in read(tmp_path / "o.csv")[1]["problem"]


@pytest.mark.parametrize("task", ["order_extraction", "russian_arithmetic", None])
def test_a_prompt_without_a_moment_needs_none(
    tmp_path: Path, fake_model: Path, engine: Engine, task: str | None
) -> None:
    """Tasks that state no moment, and a model of conversations, whose whole completion is the answer."""
    write(fake_model / "trained_for.json", json.dumps({"task": task}))
    file, out = write(tmp_path / "in.csv", "text\nдва чайника\nodd\n"), tmp_path / "o.csv"
    counts = run(file, out, fake_model, Columns("text", None, None), task=None)
    assert counts == ({"answered": 2} if task is None else {"answered": 1, "wrong_format": 1})
    whole = render('a "quoted",\nline', "row 2")
    assert [row["answer"] for row in read(out)] == ([whole, "well,\nI think"] if task is None else ["row 2", ""])
    engine.asked.clear()
    run(file, out, fake_model, Columns("text", None, None), task=None)
    assert engine.asked == [], "the same question goes on"


def test_a_text_that_the_task_does_not_take_is_a_bad_row(
    tmp_path: Path, task_file: Path, fake_model: Path, engine: Engine
) -> None:
    asking = 'ask=lambda text, now: ({"role": "user", "content": f"square of {int(text)}?"},))'
    write(task_file, task_file.read_text(encoding="utf-8").replace("1.0)}, exact)", f"1.0)}}, exact, {asking}"))
    file, out = write(tmp_path / "in.csv", "text\n7\nseven\n"), tmp_path / "o.csv"
    counts = run(file, out, fake_model, Columns("text", None, None), task=str(task_file))
    assert counts == {"answered": 1, "bad_row": 1}
    assert read(out)[1]["problem"].startswith("task 'word' can't ask 'seven': ValueError: ")


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
@pytest.mark.parametrize("torn", ["", '9,answered,"half', "9,answ", '{"row": 9, "stat'])
def test_an_interrupted_run_goes_on(
    tmp_path: Path, fake_model: Path, monkeypatch: pytest.MonkeyPatch, name: str, torn: str
) -> None:
    file, out = write(tmp_path / "in.csv", "text\n" + "x\n" * 9), tmp_path / name
    first, second = Engine(stop_after=4), Engine()
    monkeypatch.setattr(predict_file, "load_engine", lambda *_: first)
    with pytest.raises(KeyboardInterrupt):
        run(file, out, fake_model)
    with out.open("a", encoding="utf-8", newline="") as stream:
        stream.write(torn)
    monkeypatch.setattr(predict_file, "load_engine", lambda *_: second)
    assert run(file, out, fake_model) == {"answered": 9}
    assert sorted(map(int, first.asked + second.asked)) == list(range(2, 11))
    assert [row["answer"] for row in read(out)] == [f"row {number}" for number in range(2, 11)]


def test_a_finished_file_loads_no_engine(
    questions: Path, tmp_path: Path, fake_model: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "in.csv", "text\nx\n")
    run(file, tmp_path / "o.csv", fake_model)
    monkeypatch.setattr(predict_file, "load_engine", lambda *_: pytest.fail("loaded"))
    assert run(file, tmp_path / "o.csv", fake_model) == {"answered": 1}


def test_an_engine_error_is_asked_again(questions: Path, tmp_path: Path, fake_model: Path, engine: Engine) -> None:
    run(questions, tmp_path / "o.csv", fake_model)
    engine.asked.clear()
    run(questions, tmp_path / "o.csv", fake_model)
    assert engine.asked == ["5"]


@pytest.mark.parametrize("changes", [{"max_tokens": 6}, {"task": "datetime_extraction"}])
def test_other_results_are_not_mixed_in(
    questions: Path, tmp_path: Path, fake_model: Path, engine: Engine, changes: dict[str, Any]
) -> None:
    run(questions, tmp_path / "o.csv", fake_model)
    before = (tmp_path / "o.csv").read_bytes()
    with pytest.raises(UserError, match="holds other results"):
        run(questions, tmp_path / "o.csv", fake_model, **changes)
    assert (tmp_path / "o.csv").read_bytes() == before


def test_a_strangers_file_is_left_alone(questions: Path, tmp_path: Path, fake_model: Path, engine: Engine) -> None:
    out = write(tmp_path / "mine.csv", "precious")
    with pytest.raises(UserError, match="no file of ours"):
        run(questions, out, fake_model)
    assert out.read_text() == "precious"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns("phrase", None, "2025-01-17"), "no column 'phrase'"),
        (Columns("text", "at", None), "no column 'at'"),
        (Columns("text", None, "x"), "--now 'x'"),
    ],
)
def test_a_wrong_column_is_said_at_once(
    questions: Path, tmp_path: Path, fake_model: Path, engine: Engine, columns: Columns, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(questions, tmp_path / "o.csv", fake_model, columns)
    assert engine.asked == []


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        (
            "out.jsonl",
            '{"row": 1, "status": "answered", "extra": 2}',
            "out.jsonl:8: no result of ours (Result.__init__",
        ),
        ("out.jsonl", '{"row": 1, "st}', "out.jsonl:8: no result of ours (Unterminated string"),
        ("out.jsonl", '{"row": "1", "status": "answered"}', "out.jsonl:8: row '1' is no number; remove the line, or"),
        ("out.csv", None, "out.csv:1: its columns are row, answer, ours row, status, answer,"),
    ],
)
def test_a_file_of_another_form_is_one_line_and_left_alone(
    questions: Path, tmp_path: Path, fake_model: Path, engine: Engine, name: str, line: str | None, says: str
) -> None:
    out = tmp_path / name
    run(questions, out, fake_model)
    text = "row,answer\r\n1,завтра\r\n" if line is None else out.read_text(encoding="utf-8") + line + "\n"
    out.write_text(text, encoding="utf-8")
    before = out.read_bytes()
    with pytest.raises(UserError) as caught:
        run(questions, out, fake_model)
    assert says in str(caught.value)
    assert str(caught.value).endswith("choose another --out")
    assert out.read_bytes() == before


def test_no_answer_at_all_is_an_error(tmp_path: Path, fake_model: Path, engine: Engine) -> None:
    with pytest.raises(UserError, match="no row was answered") as refused:
        run(write(tmp_path / "in.csv", "text\nodd\n"), tmp_path / "o.csv", fake_model)
    assert refused.value.exit_code == 1


def test_bytes_that_are_no_text_are_a_bad_row_or_an_answer(tmp_path: Path, fake_model: Path, engine: Engine) -> None:
    rows = [f"строка {number}".encode() for number in range(30)]
    (tmp_path / "in.csv").write_bytes(b"text\n" + b"\n".join([*rows, b"\xff\xfe"]) + b"\n")
    counts = run(tmp_path / "in.csv", tmp_path / "o.csv", fake_model)
    assert counts["answered"] >= 30
    assert sum(counts.values()) == 31


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--file", "a.csv"],
        ["--file", "a.csv", "--out", "b.csv", "--now", "2025-01-17", "--now-column", "at"],
        ["x", "--file", "a.csv", "--out", "b.csv", "--now", "2025-01-17"],
    ],
)
def test_arguments_that_do_not_fit(arguments: list[str], fake_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "--model", str(fake_model), *arguments])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_wrong_column_spoils_nothing(tmp_path: Path, fake_model: Path, engine: Engine) -> None:
    calls, out = write(tmp_path / "calls.csv", "said\nзавтра\n"), tmp_path / "out.csv"
    with pytest.raises(UserError, match=r"no column 'text' \(--text-column\); its columns: said"):
        run(calls, out, fake_model)
    assert run(calls, out, fake_model, Columns("said", None, "2025-01-17")) == {"answered": 1}
    out.unlink()
    assert run(calls, out, fake_model, Columns("said", None, "2025-01-18")) == {"answered": 1}, "nothing is mixed"


def test_a_column_that_a_later_row_has_is_there(tmp_path: Path, fake_model: Path, engine: Engine) -> None:
    rows = write(tmp_path / "in.jsonl", '{"at": 1}\n{"said": "завтра"}\n')
    assert run(rows, tmp_path / "out.csv", fake_model, Columns("said", None, "2025-01-17")) == {
        "bad_row": 1,
        "answered": 1,
    }


def test_a_row_without_an_answer_shows_in_the_exit_code(tmp_path: Path, fake_model: Path, engine: Engine) -> None:
    ends = []
    for name, text in (("whole", "text\nзавтра\n"), ("partly", "text,x\nзавтра,1\n,2\n")):
        file = str(write(tmp_path / f"{name}.csv", text))
        line = ["predict", "--model", str(fake_model), "--task", TASK, "--file", file, "--out", f"{file[:-4]}_out.csv"]
        with pytest.raises(SystemExit) as end:
            cli.main([*line, "--now", "2025-01-17", "--engine", "scripted"])
        ends.append(end.value.code or 0)
    assert ends == [0, 1]
