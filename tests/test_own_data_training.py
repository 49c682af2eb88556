"""Conversations as training rows: which tokens are labelled, under four templates, and what is prepared and cached."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from eval.prompts import load_tokenizer, render_conversation, render_prompt, template_hash
from rewards.core import Example, Message, UserError
from toolkit import parallel
from toolkit.config import ConversationsConfig, check_recipe
from toolkit.conversations import preparing
from toolkit.conversations.inspecting import config_of, inspect
from toolkit.conversations.preparing import QUARANTINE, prepare
from toolkit.conversations.reading import Conversation
from toolkit.conversations.rendering import Rendered, Renderer
from toolkit.conversations.report import summary_lines
from toolkit.conversations.showing import histogram, html_page
from toolkit.conversations.stage import prepare_run
from toolkit.data import write_examples
from toolkit.rundir import open_run
from toolkit.templates import template_names, template_text, use_template
from toolkit.training.rows import IGNORED, cached_rows, sft_rows

SPECIAL = {
    "chatml": ("<|im_end|>", ["<|im_start|>"]),
    "llama-3.1": ("<|eot_id|>", ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]),
    "gemma": ("<end_of_turn>", ["<bos>", "<start_of_turn>"]),
    "qwen-3": ("<|im_end|>", ["<|im_start|>"]),
}


def tokenizer_of(template: str | None, end: str = "<|im_end|>", others: list[str] | None = None) -> Any:
    """Bytes as tokens, and the special tokens of a template: enough to see what is labelled."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({each: i for i, each in enumerate(alphabet)}, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": others or []})
    if others and others[0] in ("<|begin_of_text|>", "<bos>"):
        tokenizer.bos_token = others[0]
    tokenizer.chat_template = None if template is None else template_text(template)
    return tokenizer


def chat(*contents: str, system: str | None = None) -> tuple[Message, ...]:
    head: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    turns = [Message(role=("user", "assistant")[i % 2], content=each) for i, each in enumerate(contents)]
    return (*head, *turns)


def rendered(tokenizer: Any, messages: tuple[Message, ...]) -> list[Rendered]:
    renderer = Renderer(tokenizer, [tokenizer.eos_token_id])
    found = [each for each in renderer.rows([Conversation("a.csv", 2, messages)]) if isinstance(each, Rendered)]
    renderer.segments = renderer.linear = None  # the slow ways, which need no luck with the template
    assert [each.row for each in renderer.rows([Conversation("a.csv", 2, messages)]) if isinstance(each, Rendered)] == [
        each.row for each in found
    ]
    return found


def marked(tokenizer: Any, row: Any) -> str:
    """The row's text, the labelled stretches in [[ ]]."""
    text, inside = "", False
    pieces: list[list[int]] = []
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        assert label in (IGNORED, token)
        if (label != IGNORED) is not inside or not pieces:
            inside = label != IGNORED
            pieces.append([])
        pieces[-1].append(token)
    for number, piece in enumerate(pieces):
        decoded = tokenizer.decode(piece, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        text += f"[[{decoded}]]" if number % 2 else decoded
    return text


DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
EXPECTED = {
    "chatml": [
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nвопрос<|im_end|>\n<|im_start|>assistant\n[[ответ<|im_end|>]]\n"
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[[a\n\nb<|im_end|>]]"
    ],
    "llama-3.1": [
        f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{DATES}S<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nвопрос<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[[ответ<|eot_id|>]]"
        "<|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[[a\n\nb<|eot_id|>]]"
    ],
    "gemma": [
        "<bos><start_of_turn>user\nS\n\nвопрос<end_of_turn>\n<start_of_turn>model\n[[ответ<end_of_turn>]]\n"
        "<start_of_turn>user\nq<end_of_turn>\n<start_of_turn>model\n[[a\n\nb<end_of_turn>]]"
    ],
    # Qwen 3 writes an empty block of thoughts into the last answer only: two sequences.
    "qwen-3": [
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nвопрос<|im_end|>\n<|im_start|>assistant\n"
        "[[<think>\n\n</think>\n\nответ<|im_end|>]]",
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nвопрос<|im_end|>\n<|im_start|>assistant\nответ<|im_end|>\n"
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[[<think>\n\n</think>\n\na\n\nb<|im_end|>]]",
    ],
}


@pytest.mark.parametrize("name", template_names())
def test_white_space_around_a_turn_is_rendered_as_the_template_does_it(name: str) -> None:
    """Gemma's and Llama's templates take it off. Rows that kept it would teach prompts that nobody asks with."""
    tokenizer = tokenizer_of(name, *SPECIAL[name])
    messages = chat("\n  вопрос ", "ответ\n", " q\n\n", "a ", system="S\n")
    trims = name in ("gemma", "llama-3.1")
    assert [("a <" in marked(tokenizer, each.row)) for each in rendered(tokenizer, messages)][-1] is not trims
    linear = Renderer(tokenizer, [tokenizer.eos_token_id]).linear
    assert linear is None or linear.trims is trims


def test_every_shipped_template_is_tested() -> None:
    assert sorted(EXPECTED) == sorted(SPECIAL) == template_names()


@pytest.mark.parametrize("name", EXPECTED)
def test_every_answer_is_labelled_up_to_its_end_token(name: str) -> None:
    tokenizer = tokenizer_of(name, *SPECIAL[name])
    rows = rendered(tokenizer, chat("вопрос", "ответ", "q", "a\n\nb", system="S"))
    assert [marked(tokenizer, each.row) for each in rows] == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_row_of_one_answer_is_what_evaluation_renders(name: str) -> None:
    tokenizer = tokenizer_of(name, *SPECIAL[name])
    messages = chat("q", system="S")
    answer: Message = {"role": "assistant", "content": "<reasoning>r</reasoning><answer>1</answer>"}
    (row,) = rendered(tokenizer, (*messages, answer))
    ids, prompt = row.row["input_ids"], render_prompt(tokenizer, messages)
    assert ids == render_conversation(tokenizer, [*messages, answer])[: len(ids)]
    assert row.row["labels"] == [IGNORED] * len(prompt) + ids[len(prompt) :]
    assert (ids[: len(prompt)], ids[-1]) == (prompt, tokenizer.eos_token_id)


def test_thoughts_stay_in_the_last_answer_and_leave_the_earlier_ones() -> None:
    tokenizer = tokenizer_of("qwen-3", *SPECIAL["qwen-3"])
    thought = "<think>\nt{}\n</think>\n\n"
    rows = rendered(tokenizer, chat("q", thought.format(1) + "a", "r", thought.format(2) + "b"))
    first, second = (marked(tokenizer, each.row) for each in rows)
    assert first.endswith("[[<think>\nt1\n</think>\n\na<|im_end|>]]")
    assert "t1" not in second
    assert second.endswith("[[<think>\nt2\n</think>\n\nb<|im_end|>]]")


def test_generation_markers_agree_with_the_labels() -> None:
    tokenizer = tokenizer_of("chatml", *SPECIAL["chatml"])
    messages = chat("q", "a", "r", "b")
    plain = rendered(tokenizer, messages)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
        "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    (row,) = rendered(tokenizer, messages)
    assert row.row == plain[0].row
    theirs = tokenizer.apply_chat_template(list(messages), return_assistant_tokens_mask=True, return_dict=True)
    ours = [int(label != IGNORED) for label in row.row["labels"]]
    assert theirs["assistant_masks"][: len(ours)] == ours
    assert set(theirs["assistant_masks"][len(ours) :]) <= {0}


def test_templates_by_name_and_by_file(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(None, *SPECIAL["chatml"])
    with pytest.raises(UserError, match="no chat template"):
        Renderer(tokenizer, [0])
    use_template(tokenizer, None)
    assert tokenizer.chat_template is None
    (tmp_path / "mine.jinja").write_text("{{ messages }}", encoding="utf-8")
    use_template(tokenizer, str(tmp_path / "mine.jinja"))
    assert tokenizer.chat_template == "{{ messages }}"
    with pytest.raises(UserError, match=r"'nope': neither a name \(chatml, gemma, llama-3\.1, qwen-3\) nor a file"):
        use_template(tokenizer, "nope")
    with pytest.raises(UserError, match="writes <start_of_turn>, <end_of_turn>, which the model's tokenizer"):
        use_template(tokenizer, "gemma")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "no end token"),
        ("{{ messages | length }}{% if add_generation_prompt %}!{% endif %}", "unlike its prompt"),
        ("{% if messages | length > 1 %}{{ raise_exception('no') }}{% endif %}", "the chat template refuses it: no"),
    ],
)
def test_a_template_that_does_not_fit_is_a_reason(tmp_path: Path, template: str, reason: str) -> None:
    tokenizer = tokenizer_of(None, *SPECIAL["chatml"])
    tokenizer.chat_template = template
    bad = Renderer(tokenizer, [tokenizer.eos_token_id]).rows([Conversation("a.csv", 7, chat("q", "a"))])
    assert reason in str(bad[0])
    assert str(bad[0]).startswith("a.csv, row 7: ")
    with pytest.raises(UserError, match=f"^example 'e': .*{reason}|^the chat template refuses"):
        sft_rows([Example("e", chat("q"), ("a",), "r")], tokenizer, tmp_path, 1000, False)


def test_a_token_across_the_border_of_an_answer_is_a_reason() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizer_of("chatml", *SPECIAL["chatml"])
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    settings["model"]["vocab"]["Ċa"] = 9000  # a new line and an a in one token
    settings["model"]["merges"] = [["Ċ", "a"]]
    settings["pre_tokenizer"]["use_regex"] = False
    tokenizer._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(settings))
    renderer = Renderer(tokenizer, [tokenizer.eos_token_id])
    assert renderer.segments is None
    good, bad = renderer.rows([Conversation("a.csv", row, chat("q", answer)) for row, answer in ((2, "b"), (3, "ab"))])
    assert isinstance(good, Rendered)
    assert marked(tokenizer, good.row).endswith("[[b<|im_end|>]]")
    assert str(bad) == "a.csv, row 3: the answer's first letters join the prompt's last ones in one token"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model directory as far as data are concerned: a tokenizer and a config."""
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    tokenizer_of("chatml", *SPECIAL["chatml"]).save_pretrained(folder)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").touch()
    return folder


def table(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text(
        "\n".join(json.dumps({"prompt": asked, "completion": told}) for asked, told in rows), encoding="utf-8"
    )
    return str(path)


def rows_of(folder: Path, name: str) -> list[dict[str, list[int]]]:
    datasets = pytest.importorskip("datasets")
    return list(datasets.Dataset.from_file(str(folder / f"{name}.arrow")))


def test_prepared_rows_are_counted_and_cached(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "a.jsonl", [(f"q{i}", f"a{i}") for i in range(200)])
    config = ConversationsConfig(path=path, validation=0.2)
    first = prepare(config, model, None, 100)
    train, validation = rows_of(first.dir, "train"), rows_of(first.dir, "validation")
    assert len(train) + len(validation) == 200 == first.report["sequences"]
    assert len(validation) == first.report["validation"]
    assert 20 < len(validation) < 60
    assert sum(len(row["input_ids"]) for row in train + validation) == first.report["tokens"]
    assert sum(first.report["lengths"].values()) == 200

    monkeypatch.setattr(preparing, "in_chunks", None)
    assert prepare(config, model, None, 100) == first  # from the cache
    table(tmp_path / "a.jsonl", [(f"q{i}", f"a{i}") for i in range(100)])
    monkeypatch.undo()
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    assert prepare(config, model, None, 100).report["rows"] == 100
    assert prepare(config, model, None, 101).dir != prepare(config, model, None, 100).dir


def test_rows_are_those_of_the_adapter_that_training_goes_on_with(tmp_path: Path, model: Path) -> None:
    """It brings its own tokenizer and template, which training and serving take."""
    own = tokenizer_of("llama-3.1", *SPECIAL["llama-3.1"])
    own.save_pretrained(tmp_path / "adapter")
    text = json.dumps({"base_model_name_or_path": str(model), "r": 32, "lora_alpha": 64})
    (tmp_path / "adapter" / "adapter_config.json").write_text(text, encoding="utf-8")
    (tmp_path / "adapter" / "adapter_model.safetensors").touch()
    raw = {
        "output": str(tmp_path / "run"),
        "model": {"reference": str(tmp_path / "adapter"), "backend": "transformers"},
        "data": {"path": table(tmp_path / "a.jsonl", [("q", "a")]), "validation": 0},
        "sft": {},
    }
    run = open_run(check_recipe(raw, "here"))
    [row] = rows_of(prepare_run(run).dir, "train")
    assert row["input_ids"] == rendered(own, chat("q", "a"))[0].row["input_ids"]
    assert isinstance(run.recipe.data, ConversationsConfig)
    assert inspect(run.recipe.data, run.recipe.model).template == f"the tokenizer's own, hash {template_hash(own)}"


TWO_ENDS = """{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|><|end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.mark.parametrize("prepared", [True, False], ids=["a file's", "a task's"])
def test_kept_rows_are_made_anew_once_the_models_files_are_mended(
    tmp_path: Path, prepared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end tokens decide what is labelled, and templates read special tokens as variables."""
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    tokenizer = tokenizer_of("chatml", "<|im_end|>", ["<|im_start|>", "<|end|>", "<a>", "<b>"])
    tokenizer.chat_template, tokenizer.bos_token = TWO_ENDS, "<a>"
    end, last = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|end|>"])
    examples = [Example("e", chat("q"), ("a",), reasoning=None)]
    write_examples(tmp_path / "e.jsonl", examples)
    config = ConversationsConfig(path=table(tmp_path / "a.jsonl", [("q", "a")]), validation=0)

    def row(eos: list[int]) -> tuple[str, int]:
        """The first token and the last labelled one."""
        tokenizer.save_pretrained(tmp_path)
        (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}), encoding="utf-8")
        if prepared:
            [found] = rows_of(prepare(config, tmp_path, None, 200).dir, "train")
        else:
            [found] = cached_rows(tmp_path / "e.jsonl", load_tokenizer(tmp_path), tmp_path, 200, False)
        labels = [int(each) for each in found["labels"]]
        return tokenizer.convert_ids_to_tokens(int(found["input_ids"][0])), labels[-1]

    assert row([end]) == ("<a>", end)
    assert row([end, last]) == ("<a>", last)
    tokenizer.bos_token = "<b>"
    assert row([end, last]) == ("<b>", last)


def test_many_rows_go_through_processes_in_their_order(tmp_path: Path, model: Path) -> None:
    path = table(tmp_path / "a.jsonl", [(f"q{i}", f"a{i}") for i in range(parallel.ALONE + 700)])
    config = ConversationsConfig(path=path, validation=0)
    tokenizer = tokenizer_of("chatml", *SPECIAL["chatml"])
    rows = rows_of(prepare(config, model, None, 100).dir, "train")
    assert [
        int(re.findall(r"a(\d+)<", tokenizer.decode(row["input_ids"], skip_special_tokens=False))[0]) for row in rows
    ] == list(range(parallel.ALONE + 700))


def test_too_many_bad_rows_stop_the_run_and_are_in_the_quarantine(tmp_path: Path, model: Path) -> None:
    path = table(tmp_path / "a.jsonl", [("q", "a"), ("", "b"), ("r", " "), ("s", "c")])
    quarantine = tmp_path / QUARANTINE
    with pytest.raises(
        UserError, match=r"2 of 4 rows \(50\.0%\) can't be used, data\.max_bad_share is 1\.0%"
    ) as caught:
        prepare(ConversationsConfig(path=path), model, None, 100, quarantine)
    assert f"{path}, row 2: turn 1 (user) is empty" in str(caught.value)
    written = read_jsonl(quarantine)
    assert [(each["row"], each["reason"]) for each in written] == [
        (2, "turn 1 (user) is empty"),
        (3, "turn 2 (assistant) is empty"),
    ]
    going_on = ConversationsConfig(path=path, max_bad_share=0.5, validation=0)
    report = prepare(going_on, model, None, 100, quarantine).report
    assert (report["rows"], report["bad"], report["sequences"]) == (4, 2, 2)
    assert len(read_jsonl(quarantine)) == 2


def test_a_long_conversation_is_an_error_unless_it_may_be_dropped(tmp_path: Path, model: Path) -> None:
    path = table(tmp_path / "a.jsonl", [("q", "a"), ("q" * 300, "b")])
    with pytest.raises(UserError, match=r"a\.jsonl, row 2: takes 3\d\d tokens, model\.max_length is 100"):
        prepare(ConversationsConfig(path=path), model, None, 100)
    report = prepare(ConversationsConfig(path=path, too_long="drop", validation=0), model, None, 100).report
    assert (report["too_long"], report["sequences"], report["rows"]) == (1, 1, 2)


def test_what_left_nothing_to_train_on_is_told(tmp_path: Path, model: Path) -> None:
    path = str(tmp_path / "a.csv")
    Path(path).write_text(f"prompt,completion\nq,{'a' * 300}\nr,{'b' * 900}\n", encoding="utf-8")
    says = r"no conversation is left to train on: 2 of 2 sequences are longer than model\.max_length \(100\)"
    with pytest.raises(UserError, match=says):
        inspect(*config_of(path, ["model.max_length=100", "data.validation=0"], str(model)))
    says = r"no conversation is left to train on: 2 are held out for validation; lower data\.validation \(0\.9999"
    with pytest.raises(UserError, match=says):
        inspect(*config_of(path, ["model.max_length=2000", "data.validation=0.99999"], str(model)))


def test_twins_are_reported(tmp_path: Path, model: Path) -> None:
    rows = [("Привет!", "a"), ("b", "c"), ("привет", "A."), ("B?", "d"), ("x", "y")]
    report = prepare(ConversationsConfig(path=table(tmp_path / "a.jsonl", rows), validation=0), model, None, 99).report
    assert report["twins"] == {
        "repeated": 1,
        "conflicting": 2,
        "near": 0,
        "repeated_examples": ["rows 1, 3"],
        "conflicting_examples": ["rows 2, 4"],
        "near_examples": [],
    }


def test_near_duplicates_are_reported_and_repetitions_are_not_near_ones(tmp_path: Path, model: Path) -> None:
    long = "Как мне перенести запись к врачу с понедельника на среду, если регистратура не отвечает с утра"
    rows = [(long, "Через сайт."), ("Где ключи?", "На столе."), (f"{long} 2", "Через сайт"), (long, "через сайт!")]
    report = prepare(ConversationsConfig(path=table(tmp_path / "a.jsonl", rows), validation=0), model, None, 999).report
    twins = report["twins"]
    assert (twins["repeated"], twins["near"], twins["near_examples"]) == (1, 2, ["rows 1, 3"])
    lines = "\n".join(summary_lines(report))
    assert "near-duplicates (most of the text is the same): 2 rows: rows 1, 3" in lines


def test_inspect_tells_what_the_model_will_see(tmp_path: Path, model: Path) -> None:
    path = table(tmp_path / "a.jsonl", [("q <b>", "<think>\nt\n</think>\n\na"), ("q" * 600, "b")])
    without = inspect(*config_of(path, [], None))
    assert (without.report["rows"], without.samples) == (2, ())
    found = inspect(*config_of(path, ["model.chat_template=qwen-3", "data.validation=0"], str(model)))
    assert found.template.startswith("qwen-3, hash ")
    assert found.problems[0].startswith("1 of 2 sequences (50.0%) are longer than model.max_length (512)")
    tokens = found.samples[0][1]
    assert "".join(token.text for token in tokens if token.supervised) == "<think>\nt\n</think>\n\na<|im_end|>"
    page = html_page(found)
    assert "q <b>" not in page
    assert found.problems[0] in page
    assert found.notes == ()
    acknowledged = inspect(*config_of(path, ["data.too_long=drop", "data.validation=0"], str(model)))
    assert acknowledged.problems == ()


def test_inspect_shows_the_good_rows_beside_too_many_bad_ones(tmp_path: Path, model: Path) -> None:
    path = table(tmp_path / "a.jsonl", [("q", "a"), ("", "b")])
    found = inspect(*config_of(path, ["model.chat_template=chatml", "data.validation=0"], str(model)))
    assert (found.report["conversations"], found.report["sequences"], len(found.samples)) == (1, 1, 1)
    assert found.problems[0].startswith(f"{path}: 1 of 2 rows (50.0%) can't be used")


def test_rows_of_one_number_in_two_files_are_two_conversations(tmp_path: Path, model: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"prompt,completion\nЧто {name}?,Ответ {name}.\n", encoding="utf-8")
    found = inspect(*config_of(str(tmp_path), ["model.chat_template=chatml", "data.validation=0"], str(model)))
    assert not any("rewrites earlier turns" in note for note in found.notes)


def test_inspect_notes_reasoning_that_the_template_drops(tmp_path: Path, model: Path) -> None:
    rows = [{"messages": list(chat("q", "<think>\nt\n</think>\n\na", "r", "<reasoning>x</reasoning>"))}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    template = tmp_path / "strips.jinja"
    template.write_text(
        template_text("chatml").replace("message['content']", "message['content'].split('</think>')[-1]"),
        encoding="utf-8",
    )
    found = inspect(*config_of(str(path), [f"model.chat_template={template}", "data.validation=0"], str(model)))
    assert f"<think> of an answer is gone after rendering, first in {path}, row 1" in found.notes


def test_a_histogram_has_a_line_for_each_range() -> None:
    assert histogram({}, 512) == []
    assert histogram({"12": 1, "120": 2}, 512, width=2) == ["         20 █ 1", "        120 ██ 2"]
    assert histogram({"12": 1, "120": 2, "8192": 1, "9216": 1}, 120, width=2) == [
        "         20 █ 1",
        "        120 ██ 2",
        "   over 120 ██ 2",
    ]
    assert histogram({"8192": 1}, 512, width=1) == ["   over 512 █ 1"]


KILLED = """
import os
from toolkit.parallel import in_chunks
def work(part):
    if 1000 in part:
        os.kill(os.getpid(), 9)
    return len(part)
from toolkit.ending import exit_code
raise SystemExit(exit_code(lambda: list(in_chunks(range(5000), work))))
"""


def test_a_process_that_is_killed_ends_the_work_in_words() -> None:
    root = str(Path(__file__).resolve().parents[1])
    line, environment = [sys.executable, "-c", KILLED], {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 14
    assert "was killed, most likely for want of memory" in done.stderr
    assert "Traceback" not in done.stderr
