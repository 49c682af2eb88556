"""Files of conversations: every format gives the same turns, and what is broken costs its own row, with a reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from encodings.aliases import aliases
from pathlib import Path
from typing import Any

import pytest

from rewards.core import UserError
from tasks.tables.encodings import scan
from tasks.tables.rows import Bad, Row
from toolkit.config import ConversationsConfig
from toolkit.conversations.reading import Conversation, source_of, to_conversation

TURNS = [
    {"role": "system", "content": "Отвечай коротко."},
    {"role": "user", "content": 'Он сказал: "да; нет",\nа потом?'},
    {"role": "assistant", "content": "Не знаю, 'честно'."},
]
SHAREGPT = [
    {"from": {"user": "human", "assistant": "gpt"}.get(turn["role"], "system"), "value": turn["content"]}
    for turn in TURNS
]
ASKED, ANSWERED = TURNS[1]["content"], TURNS[2]["content"]


def read(path: Path | str, **options: Any) -> list[Conversation | Bad]:
    config = ConversationsConfig.model_validate({"path": str(path), **options})
    columns = config.columns.names()
    return [row if isinstance(row, Bad) else to_conversation(row, columns, {}) for row in source_of(config).rows()]


def good(found: list[Conversation | Bad]) -> list[list[Any]]:
    return [list(each.messages) for each in found if isinstance(each, Conversation)]


def csv_of(*rows: list[str], separator: str = ",") -> str:
    quoted = ([f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in rows)
    return "".join(separator.join(row) + "\r\n" for row in quoted)


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


TABLES: dict[str, tuple[str, str]] = {
    "json cells": ("a.csv", csv_of(["id", "conversations"], ["1", dumps(TURNS)])),
    "python literals": ("a.csv", csv_of(["conversations"], [repr(TURNS)])),
    "sharegpt": ("a.csv", csv_of(["conversations"], [dumps(SHAREGPT)])),
    "semicolons": ("a.csv", csv_of(["messages", "n"], [dumps(TURNS), "1"], separator=";")),
    "tabs": ("a.tsv", csv_of(["messages", "n"], [dumps(TURNS), "1"], separator="\t")),
    "jsonl": ("a.jsonl", dumps({"messages": TURNS}) + "\n\n"),
    "jsonl of text": ("a.jsonl", dumps({"conversations": repr(TURNS)})),
    "json": ("a.json", f" [\n{dumps({'conversations': SHAREGPT})}\n]"),
    "json in an object": ("a.json", json.dumps({"data": [{"messages": TURNS}]}, indent=1)),
    "json in an object on one line": ("a.json", dumps({"version": 1, "data": [{"messages": TURNS}]})),
    "json in an object called conversations": ("a.json", dumps({"conversations": [{"messages": TURNS}]})),
    "one row on several lines": ("a.json", json.dumps({"conversations": SHAREGPT}, indent=1)),
    "one row with a list of words": ("a.json", dumps({"messages": TURNS, "tags": ["a"]})),
    "jsonl called json": ("a.json", dumps({"messages": TURNS}) + "\n"),
    "system column": ("a.csv", csv_of(["system", "prompt", "completion"], [each["content"] for each in TURNS])),
    "question, answer": (
        "a.jsonl",
        dumps({"system": TURNS[0]["content"], "question": ASKED, "answer": ANSWERED}),
    ),
    "prompt as turns": ("a.jsonl", dumps({"prompt": TURNS[:2], "completion": TURNS[2:]})),
    "alpaca": (
        "a.json",
        dumps([{"system": TURNS[0]["content"], "instruction": ASKED, "input": "", "output": ANSWERED}]),
    ),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251", "utf-16"])
@pytest.mark.parametrize("kind", TABLES)
def test_every_format_in_every_encoding_gives_the_same_turns(tmp_path: Path, kind: str, encoding: str) -> None:
    name, text = TABLES[kind]
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    assert good(read(path)) == [TURNS]


CUT = {
    "a tsv of one column": ("a.tsv", f"conversations\n{dumps(TURNS[1:])}\n"),
    "a comma in a name of a tsv": ("a.tsv", "question, in Russian\tответ\nq\tx\n"),
    "as many tabs as commas": ("a.csv", "question, in Russian\tответ\nq\tx\n"),
    "as many semicolons as commas": ("a.csv", "question, in Russian;ответ\nq;x\n"),
    "Excel's first line": ("a.csv", "sep=;\r\nquestion, in, Russian;ответ\r\nq;x\r\n"),
    "Excel's first line of a tsv": ("a.tsv", "sep=|\nвопрос|ответ\nq|x\n"),
    "blank lines before the header": ("a.csv", "\n\nвопрос;ответ\nq;x\n"),
}


@pytest.mark.parametrize("name", CUT)
def test_cells_are_cut_where_the_person_meant(tmp_path: Path, name: str) -> None:
    file, text = CUT[name]
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    (found,) = source_of(ConversationsConfig(path=str(path))).rows()
    assert isinstance(found, Row)
    assert len(found.values) == (1 if "one column" in name else 2)
    assert list(found.values)[-1] in ("ответ", "conversations")


def test_a_separator_given_overrules_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("sep=;\nprompt,completion\nq,a\n", encoding="utf-8")
    assert [[turn["content"] for turn in each] for each in good(read(path, separator=","))] == [["q", "a"]]


def test_blank_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,completion\n\nq,a\n\n\n"two\nlines",b\nq\n', encoding="utf-8")
    assert [each.row if isinstance(each, Conversation) else each.number for each in read(path)] == [3, 6, 7]
    path.write_text("\na,a\n", encoding="utf-8")
    with pytest.raises(UserError, match="row 2: two columns are called 'a'"):
        read(path)


def test_mapped_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(csv_of(["вопрос", "ответ"], [ASKED, ANSWERED]), encoding="cp1251")
    assert good(read(path, columns={"user": "вопрос", "assistant": "ответ"})) == [TURNS[1:]]
    (bad,) = read(path, columns={"user": "вопрс", "assistant": "ответ"})
    assert isinstance(bad, Bad)
    assert bad.reason == "no column 'вопрс'; the columns are: вопрос, ответ"


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        ({"conversations": SHAREGPT[1:], "system": TURNS[0]["content"]}, {}),
        ({"messages": TURNS, "system": TURNS[0]["content"]}, {}),
        ({"messages": TURNS, "system": None}, {}),
        ({"prompt": TURNS[1:2], "completion": TURNS[2:], "system": TURNS[0]["content"]}, {}),
        ({"dialog": TURNS[1:], "system": TURNS[0]["content"]}, {"conversations": "dialog"}),
        ({"dialog": TURNS[1:], "роль": TURNS[0]["content"]}, {"conversations": "dialog", "system": "роль"}),
        ({"q": ASKED, "a": ANSWERED, "system": TURNS[0]["content"]}, {"user": "q", "assistant": "a"}),
    ],
)
def test_a_system_column_counts_beside_every_shape(
    tmp_path: Path, values: dict[str, Any], columns: dict[str, str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(dumps(values), encoding="utf-8")
    assert good(read(path, columns=columns)) == [TURNS]


def test_two_system_messages_that_differ_are_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(dumps({"messages": TURNS, "system": "Be verbose."}), encoding="utf-8")
    (bad,) = read(path)
    assert isinstance(bad, Bad)
    assert bad.reason == "column 'system' holds one system message and turn 1 another; take one of them out"


def test_parquet_and_saved_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list([{"messages": TURNS}] * 3)
    dataset.to_parquet(tmp_path / "a.parquet")
    dataset.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": dataset, "test": dataset.select([0])}).save_to_disk(tmp_path / "two")
    assert good(read(tmp_path / "a.parquet")) == [TURNS] * 3
    assert good(read(tmp_path / "one")) == [TURNS] * 3
    assert good(read(tmp_path / "two", split="test")) == [TURNS]
    with pytest.raises(UserError, match=r"has no split 'dev'; it has train, test"):
        read(tmp_path / "two", split="dev")


def test_a_dataset_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list([{"messages": TURNS}])
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict({"train": dataset}))
    assert good(read("someone/chats")) == [TURNS]

    def fail(name: str) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=r"someone/chats: no such file, and no dataset .*: no network"):
        read("someone/chats")


def test_a_folder_of_files(tmp_path: Path) -> None:
    for name in ("json cells", "jsonl"):
        (tmp_path / TABLES[name][0]).write_text(TABLES[name][1], encoding="utf-8")
    found = read(tmp_path)
    assert good(found) == [TURNS] * 2
    assert [Path(each.file).name for each in found if isinstance(each, Conversation)] == ["a.csv", "a.jsonl"]


def row(value: Any) -> str:
    return dumps({"messages": value})


def talk(*turns: tuple[str, Any]) -> str:
    return row([{"role": role, "content": content} for role, content in turns])


GOOD = row(TURNS)
# name of the file, its content between good rows, the row at fault, the reason, how many good rows remain
BROKEN: dict[str, tuple[str, bytes, int, str, int]] = {
    "not JSON": ("a.jsonl", f"{GOOD}\n{{'role'\n{GOOD}\n".encode(), 2, "isn't JSON", 2),
    "not an object": ("a.jsonl", f"{GOOD}\n[1, 2]\n{GOOD}\n".encode(), 2, r"want an object, got \[1, 2\]", 2),
    "unknown role": (
        "a.jsonl",
        f"{GOOD}\n{talk(('user', 'a'), ('tool', 'b'))}\n".encode(),
        2,
        "turn 2: unknown role 'tool'",
        1,
    ),
    "empty content": (
        "a.jsonl",
        f"{GOOD}\n{talk(('user', 'a'), ('assistant', None))}\n".encode(),
        2,
        r"turn 2 \(assistant\) is empty",
        1,
    ),
    "ends with the user": (
        "a.jsonl",
        f"{talk(('user', 'a'))}\n{GOOD}\n".encode(),
        1,
        "the last turn must be the assistant's",
        1,
    ),
    "two users": (
        "a.jsonl",
        f"{GOOD}\n{talk(('user', 'a'), ('user', 'b'), ('assistant', 'c'))}\n".encode(),
        2,
        "turns 1 and 2 are both the user's",
        1,
    ),
    "begins with the assistant": (
        "a.jsonl",
        f"{GOOD}\n{talk(('assistant', 'a'), ('user', 'b'))}\n".encode(),
        2,
        "turn 1 is the assistant's; a conversation begins with the user",
        1,
    ),
    "late system message": (
        "a.jsonl",
        f"{GOOD}\n{talk(('user', 'a'), ('system', 'b'), ('assistant', 'c'))}\n".encode(),
        2,
        "only the first may be one",
        1,
    ),
    "no turns": ("a.jsonl", f"{GOOD}\n{row([])}\n".encode(), 2, "has no turns", 1),
    "turn without a role": (
        "a.jsonl",
        f"{GOOD}\n{row([{'speaker': 'x'}])}\n".encode(),
        2,
        "turn 1 has neither 'role' nor 'from'; it has speaker",
        1,
    ),
    "half a surrogate": (
        "a.jsonl",
        (
            GOOD + '\n{"messages": [{"role": "user", "content": "\\ud83d"}, {"role": "assistant", "content": "b"}]}'
        ).encode(),
        2,
        "isn't Unicode text",
        1,
    ),
    "open quote": (
        "a.csv",
        csv_of(["prompt", "completion"], ["a", "b"]).encode() + b'c,"d\r\n"e","f"\r\ng,h\r\n',
        3,
        "broken quotes",
        3,
    ),
    "open quote at the end": (
        "a.csv",
        csv_of(["prompt", "completion"], ["a", "b"]).encode() + b'c,"d\r\ne,f\r\n',
        3,
        "broken quotes",
        2,
    ),
    "cells too many": (
        "a.csv",
        csv_of(["prompt", "completion"], ["a", "b"], ["a", "b", "c"], ["c", "d"]).encode(),
        3,
        "has 3 cells, the header has 2",
        2,
    ),
    "a code in a cell": (
        "a.csv",
        csv_of(["conversations"], [dumps(TURNS)], ["__import__('os').system('true')"]).encode(),
        3,
        "neither JSON .* nor a Python literal",
        1,
    ),
    "a printed array": (
        "a.csv",
        csv_of(["conversations"], ["[{'role': 'user'}\n {'role': 'assistant'}]"], [dumps(TURNS)]).encode(),
        2,
        "a printed array, no commas",
        1,
    ),
    "bytes that aren't UTF-8": (
        "a.csv",
        (csv_of(["prompt", "completion"], ["вопрос " * 9, "ответ"])).encode() + b'"\xff","b"\r\n',
        3,
        "isn't Unicode text",
        1,
    ),
    "json that breaks off": ("a.json", f"[{GOOD}, {GOOD}, {GOOD[:40]}".encode(), 3, "the file breaks here", 2),
    "two arrays": ("a.json", f"[{GOOD}]\n[{GOOD}]\n".encode(), 2, "more follows where the array ends", 1),
    "too deep": ("a.jsonl", f"{GOOD}\n{'[' * 100_000}\n".encode(), 2, "isn't JSON", 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_row_is_named_and_the_good_ones_are_kept(tmp_path: Path, name: str) -> None:
    file, content, number, reason, kept = BROKEN[name]
    path = tmp_path / file
    path.write_bytes(content)
    found = read(path)
    bad = [each for each in found if isinstance(each, Bad)]
    assert [(each.file, each.number) for each in bad] == [(str(path), number)]
    assert re.search(reason, bad[0].reason)
    assert len(good(found)) == kept


WHOLE: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.csv", b"", "is empty"),
    "blank": ("a.csv", b"\n\n", "is empty; the first row must name the columns"),
    "two columns of one name": ("a.csv", b"a,a\n1,2\n", "row 1: two columns are called 'a'"),
    "no parquet": ("a.parquet", b"PAR1 nonsense", "can't be read as Parquet"),
    "another kind": ("a.xlsx", b"PK", "unknown kind of file '.xlsx'; data is a .csv"),
    "an object without rows": ("a.json", b'{"a":\n 1}', "want an array of objects"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_broken_file_is_one_message(tmp_path: Path, name: str) -> None:
    file, content, reason = WHOLE[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("path", ["nowhere.csv", "no/such.jsonl"])
def test_no_such_file(path: str) -> None:
    with pytest.raises(UserError, match="no such file"):
        read(path)


LONG = "q" * 200_000


@pytest.mark.parametrize("first", [LONG, "a\u2028b\x85c\x1cd"], ids=["long", "separators"])
def test_jsonl_called_json_may_begin_with_any_line(tmp_path: Path, first: str) -> None:
    path = tmp_path / "a.json"
    rows = [{"prompt": first, "completion": "1"}, {"prompt": "q", "completion": "2"}]
    path.write_text("".join(dumps(each) + "\n" for each in rows), encoding="utf-8")
    assert [each[-1]["content"] for each in good(read(path))] == ["1", "2"]


def test_a_long_object_on_one_line_holds_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(dumps({"data": [{"prompt": LONG, "completion": str(i)} for i in range(9)]}), encoding="utf-8")
    assert [each[-1]["content"] for each in good(read(path))] == [str(i) for i in range(9)]


def test_what_follows_an_object_on_several_lines_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"messages": TURNS}, indent=1) * 2, encoding="utf-8")
    (bad,) = read(path)
    assert isinstance(bad, Bad)
    assert (bad.reason, bad.fatal) == ("isn't JSON: more follows where the first object ends", True)


def test_a_long_json_array_comes_item_by_item(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = [{"prompt": "q" * (i * 37 % 9000), "completion": str(i)} for i in range(1, 400)]
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    assert [each[-1]["content"] for each in good(read(path))] == [str(i) for i in range(1, 400)]


def encoded(make: Callable[[], bytes], path: Path) -> str:
    path.write_bytes(make())
    return scan(path).encoding


def test_encodings_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    assert encoded(lambda: b"plain", path) == "utf-8"
    assert encoded("привет".encode, path) == "utf-8"
    assert encoded(lambda: "привет".encode("cp1251"), path) == "cp1251"
    assert encoded(lambda: ("привет " * 50).encode() + b"\xff", path) == "utf-8"
    assert encoded(lambda: b"a" * (2 << 20) + "привет".encode("cp1251"), path) == "cp1251"
    assert encoded(lambda: b"a" + "ж".encode() * (1 << 20), path) == "utf-8"  # a letter across two blocks
    with pytest.raises(UserError, match="unknown encoding 'utf8000'"):
        scan(path, "utf8000")


@pytest.mark.parametrize(
    ("given", "written"), [("utf-8", "utf-8-sig"), ("UTF8", "utf-8-sig"), ("utf16", "utf-16"), ("utf-16-le", "utf-16")]
)
def test_a_mark_is_taken_off_under_an_encoding_given(tmp_path: Path, given: str, written: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("prompt,completion\nвопрос,ответ\n".encode(written))
    assert [[turn["content"] for turn in each] for each in good(read(path, encoding=given))] == [["вопрос", "ответ"]]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
@pytest.mark.parametrize("given", sorted({*aliases.values(), "idna", "punycode", "undefined", "utf16", "utf_8_sig"}))
def test_any_codec_reads_or_refuses(tmp_path: Path, given: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for content in ("вопрос,ответ\nя,ты\n".encode(), b"a,b\n\x1b$(\xff\\", b"\\u12\n"):
        path.write_bytes(content)
        with suppress(UserError):
            read(path, encoding=given)


@pytest.mark.parametrize(("given", "says"), [("hex", "unknown encoding 'hex'"), ("idna", "unknown"), ("utf16", "-le")])
def test_what_is_no_encoding_of_text_is_told(tmp_path: Path, given: str, says: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt,completion\nq,a\n")
    with pytest.raises(UserError, match=says):
        read(path, encoding=given)


@pytest.mark.parametrize(
    "values",
    [
        '{"question": "q", "answer": NaN}',
        '{"question": "q", "answer": 1e400}',
        '{"instruction": "q", "input": -Infinity, "output": "a"}',
        '{"prompt": NaN, "completion": "a"}',
        '{"messages": [{"role": "user", "content": [{"type": "text", "text": NaN}]}, {"role": "gpt", "content": "a"}]}',
    ],
)
def test_a_number_that_is_none_is_a_bad_row(tmp_path: Path, values: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(values, encoding="utf-8")
    (bad,) = read(path)
    assert isinstance(bad, Bad)
    assert re.search("nan|inf", bad.reason)


def test_a_parquet_number_that_is_none_is_a_bad_row(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"question": ["q", "r"], "answer": [1.5, float("nan")]}), tmp_path / "a.parquet")
    first, second = read(tmp_path / "a.parquet")
    assert isinstance(first, Conversation)
    assert isinstance(second, Bad)
    assert second.reason.startswith("column 'answer' holds nan, want text or a finite number")
