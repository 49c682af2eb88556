"""What stands beside the turns (weights, history, thoughts, tools) is honoured, a bad row, or counted in a note."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from rewards.core import UserError
from tasks.tables.rows import Bad
from tests.commands import Toolkit
from tests.test_own_data_reading import csv_of, read
from tests.test_own_data_training import chat, marked, tokenizer_of
from tests.test_own_data_training import model as model
from toolkit.conversations.inspecting import config_of, inspect
from toolkit.conversations.preparing import prepare
from toolkit.conversations.reading import Conversation
from toolkit.conversations.rendering import Rendered, Renderer
from toolkit.conversations.report import Counts, Tally
from toolkit.conversations.twins import fingerprints

ASKED = {"role": "user", "content": "q"}


def answer(content: str, **beside: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **beside}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def one(path: Path, row: dict[str, Any]) -> Conversation | Bad:
    (found,) = read(write(path / "a.jsonl", row))
    return found


def test_an_answer_of_weight_0_is_read_and_not_learned(tmp_path: Path) -> None:
    turns = [ASKED, answer("no", weight=0), ASKED, answer("yes", weight=1), ASKED, answer("too", weight=None)]
    found = one(tmp_path, {"messages": turns})
    assert isinstance(found, Conversation)
    assert found.silent == {0}
    assert [turn["content"] for turn in found.messages if turn["role"] == "assistant"] == ["no", "yes", "too"]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([ASKED, answer("a", weight=0.5)], "turn 2: the weight must be 0 or 1, got 0.5"),
        ([ASKED, answer("a", weight=False)], "turn 2: the weight must be 0 or 1, got False"),
        ([ASKED, answer("a", weight="1")], "turn 2: the weight must be 0 or 1, got '1'"),
        ([ASKED, answer("a", weight=0)], "every answer has weight 0: there is nothing to learn"),
        ([ASKED, answer("a", function_call={"name": "f"})], "turn 2 calls tools, which isn't supported"),
    ],
)
def test_marks_that_cant_be_followed_are_bad_rows(tmp_path: Path, turns: list[Any], reason: str) -> None:
    found = one(tmp_path, {"messages": turns})
    assert isinstance(found, Bad)
    assert found.reason == reason


@pytest.mark.parametrize("template", ["chatml", "gemma", "qwen-3"])
@pytest.mark.parametrize("silent", [{0}, {1}, {0, 2}])
def test_no_label_is_on_it_in_any_template(template: str, silent: set[int]) -> None:
    marks = {"gemma": ("<end_of_turn>", ["<bos>", "<start_of_turn>"])}
    tokenizer = tokenizer_of(template, *marks.get(template, ("<|im_end|>", ["<|im_start|>"])))
    messages = chat("q", "a0", "q", "a1", "q", "a2")
    batch = [Conversation("a", 2, messages, frozenset(silent)), Conversation("a", 3, messages)]
    renderer = Renderer(tokenizer, [tokenizer.eos_token_id])
    rows = [each for each in renderer.rows(batch) if isinstance(each, Rendered)]
    for number, wanted in ((2, {0, 1, 2} - silent), (3, {0, 1, 2})):
        texts = "".join(marked(tokenizer, each.row) for each in rows if each.source.row == number)
        learned = "".join(part.partition("]]")[0] for part in texts.split("[[")[1:])
        assert {place for place in range(3) if f"a{place}" in learned} == wanted
        assert learned.count(tokenizer.eos_token) == len(wanted)


def test_alpacas_history_is_the_earlier_turns(tmp_path: Path) -> None:
    row = {"instruction": "i", "input": "", "output": "o", "system": "s"}
    for history in ([["q0", "a0"], ["q1", "a1"]], '[["q0", "a0"], ["q1", "a1"]]'):
        found = one(tmp_path, {**row, "history": history})
        assert isinstance(found, Conversation)
        assert [turn["content"] for turn in found.messages] == ["s", "q0", "a0", "q1", "a1", "i", "o"]
    for empty in ("[]", "", None, "None", "null", "nan", math.nan):
        assert isinstance(found := one(tmp_path, {**row, "history": empty}), Conversation)
        assert len(found.messages) == 3
    assert isinstance(bad := one(tmp_path, {**row, "history": ["q0"]}), Bad)
    assert bad.reason == "column 'history' must hold a list of [question, answer], got ['q0']"


def test_what_isnt_rendered_is_counted_in_a_note(toolkit: Toolkit, tmp_path: Path) -> None:
    plain = {"messages": [ASKED, answer("a")]}
    path = write(
        tmp_path / "a.jsonl",
        {"messages": [ASKED, answer("a", reasoning_content="think")], "tools": [{"type": "function"}]},
        {"messages": [ASKED, answer("a", weight=0, reasoning_content="think"), ASKED, answer("b")]},
        {**plain, "tools": []},
        {**plain, "tools": None},
    )
    shown = toolkit("data", "inspect", path).out
    assert "  answers that aren't learned (weight 0): 1\n" in shown
    assert "  note: 2 x reasoning_content beside an answer isn't trained on; write it into the content" in shown
    assert f"  note: 1 x tools of a row aren't put into the prompt (first in {path}, row 1)\n" in shown
    assert "note: " not in toolkit("data", "inspect", write(tmp_path / "b.jsonl", plain)).out


def test_of_other_columns_the_one_with_turns_is_named(tmp_path: Path) -> None:
    """Of a dialog and a date, the date isn't the answer."""
    row = {"Дата": "2025-01-17", "Диалог": json.dumps([ASKED, answer("a")]), "n": 1}
    for names in (["Диалог", "Дата"], ["Дата", "Диалог"], ["Дата", "n", "Диалог"]):
        found = one(tmp_path, {name: row[name] for name in names})
        assert isinstance(found, Bad)
        assert found.reason.endswith("Turns in 'Диалог': --set 'data.columns.conversations=Диалог'")
    assert isinstance(found := one(tmp_path, {"Вопрос": "q", "Ответ": "a"}), Bad)
    assert "'data.columns.user=Вопрос' --set 'data.columns.assistant=Ответ'" in found.reason


@pytest.mark.parametrize("encoding", ["cp1251", "cp866", "utf-16", "utf-8", "utf-8-sig"])
def test_an_encoding_other_than_utf_8_is_said_first(toolkit: Toolkit, tmp_path: Path, encoding: str) -> None:
    """Windows-1251 is a guess, under which DOS and KOI8 text is nonsense without a bad row."""
    path = tmp_path / "a.csv"
    path.write_bytes("prompt,completion\nвопрос,ответ\n".encode(encoding))
    first = toolkit("data", "inspect", path).out.splitlines()[0]
    read_as = {"cp866": ", read as cp1251", "cp1251": ", read as cp1251", "utf-16": ", read as utf-16"}.get(
        encoding, ""
    )
    assert first == f"{path}{read_as}: 1 rows, 1 conversations, 0 bad"
    (tmp_path / "b.csv").write_text("prompt,completion\nq,a\n", encoding="utf-8")
    assert toolkit("data", "inspect", tmp_path).out.startswith(f"{tmp_path}{read_as}: 2 rows")


def test_a_header_that_cant_be_read_says_what_to_give(toolkit: Toolkit, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("prompt,completion\nq,a\n".encode("utf-16-le"))
    assert toolkit("data", "inspect", path).error.endswith(
        "row 1: the header holds a NUL character; give data.encoding"
    )


def test_cells_of_errors_are_counted_with_the_first_row(toolkit: Toolkit, tmp_path: Path) -> None:
    cells = ["да", "#Н/Д", "#REF!", "#Н/Д", " nan ", "None of them", "NULL", "nano", "none"]
    rows = [["question", "answer"], *([f"q{n}", cell] for n, cell in enumerate(cells))]
    path = tmp_path / "a.csv"
    path.write_text(csv_of(*rows), encoding="utf-8")
    shown = [line for line in toolkit("data", "inspect", path).out.splitlines() if "note: " in line]
    ask = "is all that a turn says; is it an error's or an empty cell?"
    assert shown == [
        f"  note: {count} x {cell} {ask} (first in {path}, row {row})"
        for count, cell, row in ((2, "#Н/Д", 3), (1, "#REF!", 4), (1, "nan", 6), (1, "NULL", 8))
    ]


def test_the_first_row_is_the_files_first_also_in_processes() -> None:
    later, first = Counts(), Counts()
    first.first_noted += {"x": "row 2"}
    later.first_noted += {"x": "row 9", "y": "row 8"}
    tally, (_, near) = Tally("a", 1), fingerprints([])
    for each in (first, later):
        tally.add(each, [], [], near)
    assert tally.to_json()["first_noted"] == {"x": "row 2", "y": "row 8"}


HELD = "turn 2 holds '<|im_end|>', a mark of the chat template; take it out"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (chat("q", "<|im_end|> a"), HELD),
        (chat("q", "a<|im_end|>\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\nb"), HELD),
        (chat("q <|im_start|>", "a"), "turn 1 holds '<|im_start|>', a mark of the chat template; take it out"),
        (chat("q", "a", system="<|im_end|>"), HELD.replace("turn 2", "turn 1")),
        (chat("q", "a <pad>"), "turn 2 holds '<pad>', a special token of the model; take it out"),
        (chat("q", "a <|turn|>"), "turn 2 holds '<|turn|>', a special token of the model; take it out"),
    ],
)
@pytest.mark.parametrize("slow", [False, True])
def test_what_would_become_a_border_of_turns_is_a_bad_row(messages: Any, reason: str, slow: bool) -> None:
    tokenizer = tokenizer_of("chatml", "<|im_end|>", ["<|im_start|>", "<|turn|>", "<|turn|>s"])
    renderer = Renderer(tokenizer, [tokenizer.eos_token_id])
    good = Conversation("a", 3, chat("q <|im_end", "<think> |im_end|> <|im_sta rt|> im_start"))
    bad, kept = renderer.rows([good, Conversation("a", 2, messages)], offsets=slow)
    assert bad == Bad("a", 2, reason)
    assert isinstance(kept, Rendered)
    assert kept.source is good
    assert kept.row["input_ids"].count(tokenizer.eos_token_id) == 2


def test_marks_that_arent_special_tokens_are_those_that_the_template_writes() -> None:
    tokenizer = tokenizer_of("chatml", "<|im_end|>", ["<|im_start|>"])
    tokenizer.add_tokens(["<｜User｜>", "<think>", "<tool>"])
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<｜User｜>' if m.role == 'user' else '<think>' }}{{ m.content }}"
        "{{ '<|im_end|>' if m.role != 'user' }}{% endfor %}{{ '<think>' if add_generation_prompt }}"
    )
    marks = Renderer(tokenizer, [tokenizer.eos_token_id]).marks
    reason = "turn 2 holds '<｜User｜>', a mark of the chat template; take it out"
    assert marks.problem(chat("q", "a <｜User｜> b")) == reason
    assert marks.problem(chat("q", "<think>\na <tool> b\n\n")) is None


def test_many_special_tokens_cost_little() -> None:
    tokenizer = tokenizer_of("chatml", "<|im_end|>", ["<|im_start|>", *(f"<unused{n}>" for n in range(6000))])
    marks = Renderer(tokenizer, [tokenizer.eos_token_id]).marks
    long = chat("q", "<unused><b>x</b> <unused6000> " * 20_000)
    begun = time.process_time()
    assert marks.problem(long) is None
    assert time.process_time() - begun < 2
    assert marks.problem(chat("q", "a <unused77> b")) is not None


@pytest.mark.parametrize("verb", ["inspect", "data stage"])
def test_inspect_and_the_data_stage_refuse_marks(tmp_path: Path, model: Path, verb: str) -> None:
    rows = [("q", "пять"), ("сколько?", "<|im_end|> пять")]
    (tmp_path / "a.csv").write_text(csv_of(["question", "answer"], *map(list, rows)), encoding="utf-8")
    overrides = ["model.chat_template=chatml", "data.validation=0"]
    config, spec = config_of(str(tmp_path / "a.csv"), overrides, str(model))
    if verb == "inspect":
        report = inspect(config, spec).report
        assert (report["bad"], report["sequences"]) == (1, 1)
        assert [bad["reason"] for bad in report["first_bad"]] == [HELD]
    else:
        with pytest.raises(UserError, match=r"row 3: turn 2 holds '<\|im_end\|>', a mark of the chat template"):
            prepare(config, model, "chatml", 512)


def test_a_tag_that_is_no_special_token_is_not_called_one(tmp_path: Path, model: Path) -> None:
    text = "<reasoning>r</reasoning><answer>1</answer>"
    path = write(tmp_path / "a.jsonl", {"prompt": "q", "completion": text})
    tokenizer = tokenizer_of("chatml", "<|im_end|>", ["<|im_start|>", "<unk>"])
    tokenizer.unk_token = "<unk>"
    tokenizer.save_pretrained(model)
    overrides = ["model.chat_template=chatml", "data.validation=0"]
    assert inspect(*config_of(str(path), overrides, str(model))).notes == ()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<answer>"]})
    tokenizer.save_pretrained(model)
    (note,) = inspect(*config_of(str(path), overrides, str(model))).notes
    assert note.startswith("<answer> is a special token")
