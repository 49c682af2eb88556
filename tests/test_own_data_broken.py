"""Broken files, as people have them: a clear message with file and row, no traceback, the good rows kept."""

from __future__ import annotations

import csv
import io
import json
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.jsonl import read_jsonl
from toolkit.cli import main
from toolkit.conversations.report import kind_of

GOOD = [
    [{"role": "user", "content": f"Вопрос {i}?"}, {"role": "assistant", "content": f"Ответ {i}."}] for i in range(3)
]


def csv_with(cell: str) -> bytes:
    """Three good rows, the broken one third of the four."""
    file = io.StringIO(newline="")
    cells = [*(json.dumps(chat, ensure_ascii=False) for chat in GOOD[:2]), cell, json.dumps(GOOD[2])]
    csv.writer(file).writerows([["conversations"], *([each] for each in cells)])
    return file.getvalue().encode()


def csv_lines(line: str) -> bytes:
    """The same with a raw line of the file."""
    lines = csv_with("@").decode().split("\r\n")
    lines[3] = line
    return "\r\n".join(lines).encode()


def jsonl_with(line: bytes) -> bytes:
    rows = [json.dumps({"messages": chat}, ensure_ascii=False).encode() for chat in GOOD]
    return b"\n".join([*rows[:2], line, rows[2]]) + b"\n"


CELLS = json.loads((Path(__file__).parent / "broken_rows.json").read_text(encoding="utf-8"))
FILES = {
    **{name: ("a.csv", csv_with(cell), says) for name, (cell, says) in CELLS.items()},
    "an open quote": ("a.csv", csv_lines('"[{""role""'), "broken quotes"),
    "a cell too many": (
        "a.csv",
        csv_lines("x,y"),
        "has 2 cells, the header has 1; a cell that holds ',' wants double quotes",
    ),
    "a broken line of JSON": ("a.jsonl", jsonl_with(b'{"messages": [}'), "isn't JSON"),
    "a line that is a list": ("a.jsonl", jsonl_with(b"[1, 2]"), "want an object"),
    "another encoding in one row": (
        "a.jsonl",
        jsonl_with(json.dumps({"messages": GOOD[0]}, ensure_ascii=False).encode("cp1251")),
        "isn't Unicode text",
    ),
}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


@pytest.mark.parametrize("name", FILES)
def test_a_broken_row_is_named_and_the_good_ones_are_kept(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content, says = FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    row = 4 if file == "a.csv" else 3
    assert run("data", "inspect", str(path)) == 1
    said = capsys.readouterr()
    assert says in next(line for line in said.out.splitlines() if line.startswith(f"  row {row} of {path}: "))
    assert said.err.startswith(f"error: {path}: 1 of 4 rows (25.0%) can't be used")
    assert run("data", "inspect", str(path), "--set", "data.max_bad_share=1") == 0
    shown = capsys.readouterr()
    assert f"{path}: 4 rows, 3 conversations, 1 bad" in shown.out
    assert "Traceback" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"conversations\r\n", "has no rows"),
        ("a.csv", b"text,label\r\nx,y\r\n", "no known columns among text, label"),
        ("a.csv", b"prompt,prompt\r\nx,y\r\n", "two columns are called 'prompt'"),
        ("a.parquet", b"PAR1 and nothing more", "a.parquet"),
        ("a.xlsx", b"PK", "unknown kind of file '.xlsx'"),
        ("a.json", b'{"rows": 4}', "a.json"),
    ],
)
def test_a_file_without_one_good_row_is_told_in_a_line(
    file: str, content: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    assert run("data", "inspect", str(path)) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert all(line.startswith("error: ") for line in shown.splitlines())


def test_other_columns_are_told_once_with_the_command_that_maps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("вопрос,мой ответ\nа,б\nв,г\n", encoding="utf-8")
    assert run("data", "inspect", str(path)) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {path}, row 2: no known columns among вопрос, мой ответ")
    assert last == f"error: {path}: none of 2 rows can be used"
    mapping = shlex.split(first.partition("Map others: ")[2])
    assert run("data", "inspect", str(path), *mapping) == 0


@pytest.mark.parametrize("header", ["dialog_id,role,text", "id,from,value"])
def test_a_row_a_turn_is_told_as_what_it_is(header: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n1,user,раз\n1,assistant,два\n", encoding="utf-8")
    assert run("data", "inspect", str(path)) == 2
    said = capsys.readouterr().err
    assert "row 2: a row a turn isn't read" in said
    assert 'write one row a conversation, its turns in a column "conversations": [{"role": ' in said
    column = header.split(",")[2]
    same = ["--set", f"data.columns.user={column}", "--set", f"data.columns.assistant={column}"]
    assert run("data", "inspect", str(path), *same) == 2
    said = capsys.readouterr().err
    assert f"data.columns: user and assistant are both of the column '{column}'" in said
    assert "write one row a conversation" in said


def test_no_name_of_pythons_own_is_in_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    cell = "[{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': 'Ok', 'x': null}]"
    path.write_text(f'conversations\n"{cell}"\n', encoding="utf-8")
    assert run("data", "inspect", str(path)) == 2
    said = capsys.readouterr().err
    assert "a Python literal (it holds a name or an expression; null, true and false are JSON's" in said
    assert "ast." not in said


@pytest.mark.parametrize(
    ("given", "between"), [(",", ","), ("tab", "\t"), (r"\t", "\t"), ("\t", "\t"), ("|", "|"), (":", ":")]
)
def test_a_separator_is_given_as_anyone_would_write_it(given: str, between: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"prompt{between}completion\nq;1{between}a;1;2;3\n", encoding="utf-8")
    assert run("data", "inspect", str(path), "--set", f"data.separator={given}") == 0
    assert run("data", "inspect", str(path), "--set", f"data.separator={json.dumps(between)}") == 0


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("the last turn must be the assistant's, it is the user's",) * 2,
        ("turn 3: unknown role 'o b'; known: user", "turn …: unknown role …; known: user"),
        ('turn 3: unknown role "o\'b"; known: user', "turn …: unknown role …; known: user"),
        ("turn 2 (user) is empty", "turn … (user) is empty"),
        ("isn't JSON (line 3)", "isn't JSON …"),
        ("want a list of turns, got 'cut short…", "want a list of turns, got …"),
    ],
)
def test_a_kind_of_bad_row_is_its_reason_without_values(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind


@pytest.mark.slow
@pytest.mark.skipif(find_spec("unsloth") is None, reason="needs the training packages")
def test_training_keeps_the_good_rows_and_names_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Path(__file__).resolve().parents[1] / "configs" / "conversations.yaml"
    good = [json.dumps(GOOD[0], ensure_ascii=False).replace("0", str(i)) for i in range(24)]
    with (tmp_path / "broken.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [["conversations"], *([cell] for cell in good), *([cell] for cell, _ in CELLS.values())]
        )
    monkeypatch.chdir(tmp_path)
    accepted = ("--set", "data.max_bad_share=1", "--set", "output=run")
    assert run("sft", str(recipe), "--set", "data.path=broken.csv", *accepted) == 0
    rows = read_jsonl(tmp_path / "run" / "data" / "quarantine.jsonl")
    assert [row["row"] for row in rows] == list(range(26, 26 + len(CELLS)))
    assert all(says in row["reason"] for row, (_, says) in zip(rows, CELLS.values(), strict=True))
    assert (tmp_path / "run" / "stages" / "sft.json").is_file()
