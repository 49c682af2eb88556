"""Rule-based parsers as engines: what they are given, how they are scored, and what is said when one is missing."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

from eval.engines.base import ModelSpec, Request, Sampling
from eval.engines.peers import PARSERS, Peer, answer_of
from eval.engines.registry import ENGINES, WITHOUT_TOKENIZER, check_engine, load_engine
from rewards.core import Example, Message, UserError
from rewards.response import render
from tasks.base import Task
from tasks.datetime_extraction import PLAIN, TASK

ASKED = Sampling(max_tokens=64)


def _tomorrow(text: str, now: datetime, lang: str) -> datetime | None:
    if "?" in text:
        raise ValueError("can't read that")
    return now.replace(tzinfo=None, hour=9, minute=0) + timedelta(days=1)


def _requests(examples: list[Example]) -> list[Request]:
    return [Request(example.id, (), example.messages) for example in examples]


def test_every_parser_is_an_engine_without_a_tokenizer() -> None:
    assert {f"peer:{name}" for name in PARSERS} == {name for name in ENGINES if name.startswith("peer:")}
    assert {f"peer:{name}" for name in PARSERS} <= WITHOUT_TOKENIZER


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_a_missing_parser_is_named_with_the_way_to_get_it(name: str) -> None:
    if find_spec(name):
        load_engine(f"peer:{name}", ModelSpec(Path(), None, name), {}).close()
        return
    with pytest.raises(UserError, match="peers"):
        check_engine(f"peer:{name}")


@pytest.mark.parametrize("task", [TASK, PLAIN], ids=lambda task: task.name)
def test_a_parser_answers_the_examples_behind_the_requests(task: Task) -> None:
    examples = [*task.examples("test", 400, 3), *task.examples("train", 20, 0)]
    completions = list(Peer(_tomorrow).generate(_requests(examples[10:]), ASKED))
    assert [completion.request_id for completion in completions] == [example.id for example in examples[10:]]
    scores = [task.metric(done.text, example) for done, example in zip(completions, examples[10:], strict=True)]
    assert 0 < sum(scores) < len(scores)


def test_an_answer_has_the_offset_of_the_prompt_and_a_failure_is_none() -> None:
    messages: tuple[Message, ...] = ({"role": "user", "content": "…"},)
    context = {"text": "завтра", "today": "2025-01-17", "now": "14:05", "offset": "-05:00"}
    example = Example("x", messages, ("2025-01-18T09:00:00-05:00",), None, {"lang": "ru"}, "", context)
    assert answer_of(_tomorrow, example) == "2025-01-18T09:00:00-05:00"
    assert (
        answer_of(_tomorrow, Example("x", messages, ("none",), None, {"lang": "ru"}, "", context | {"text": "?"}))
        == "none"
    )


def test_another_task_is_refused() -> None:
    with pytest.raises(UserError, match="datetime_extraction"):
        list(Peer(_tomorrow).generate([Request("row-1", (), ({"role": "user", "content": "2+2"},))], ASKED))


def test_public_rows_are_scored_at_their_granularity(tmp_path: Path) -> None:
    from benchmarks.public_rows import read_rows, table

    row = {"text": "завтра", "reference": "2025-01-17T10:00:00", "granularity": "day", "suite": "x", "source": "y"}
    for lang, future in (("ru", True), ("en", False)):
        full = row | {"lang": lang, "expected_start": "2025-01-18T10:00:00", "future": future}
        (tmp_path / f"datetime_public_{lang}.jsonl").write_text(json.dumps(full) + "\n", encoding="utf-8")
    (read,) = read_rows(tmp_path)
    assert read.key == "2025-01-18"
    assert "| timesense | 100.0 |" in table([read], {"timesense": [True]})
    with pytest.raises(SystemExit, match="--data"):
        read_rows(tmp_path / "nowhere")


def test_a_models_public_rows_are_scored_as_its_evaluation_scores_them(tmp_path: Path) -> None:
    from benchmarks.public_rows import Row, model_answers

    keys = ("2025-01-18", "2025-01-19", "2025-01-20")
    rows = [Row(f"public-ru-{n}", "ru", "завтра", datetime(2025, 1, 17, 10), key, "x") for n, key in enumerate(keys)]
    said = [render("", "2025-01-18T10:00:00+03:00"), render("", "none"), render("so " * 300, "2025-01-20T10:00:00")]
    lines = [json.dumps({"id": row.id, "completion": text}) for row, text in zip(rows, said, strict=True)]
    (tmp_path / "said.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert model_answers(rows, tmp_path / "said.jsonl", "scripted", tmp_path / "out") == [True, False, False]
