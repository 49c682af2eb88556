from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from eval.prompts import Tokenizer, load_tokenizer, render_prompt, stop_token_ids
from rewards.core import Example, UserError
from rewards.response import parse, render
from tasks.registry import load_task
from toolkit.training.rows import IGNORED, chat_of, sft_rows

PLAIN = Example("e", ({"role": "user", "content": "1+1?"},), ("2", "two"), reasoning="1+1=2")


@pytest.fixture(scope="module")
def tokenizer(smollm2_dir: Path) -> Tokenizer:
    pytest.importorskip("transformers")
    return load_tokenizer(smollm2_dir)


def examples_of(task: str) -> list[Example]:
    return list(load_task(task).examples("train", 150, 0))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["datetime_extraction", "datetime_extraction_plain"])
@pytest.mark.parametrize("direct", [False, True], ids=["reasoning", "direct"])
def test_labels_are_the_response_and_its_end_and_nothing_else(
    tokenizer: Tokenizer, smollm2_dir: Path, task: str, direct: bool
) -> None:
    examples = examples_of(task)
    (end,) = stop_token_ids(tokenizer, smollm2_dir)
    assert {example.tags["lang"] for example in examples} == {"ru", "en"}
    rows = sft_rows(examples, tokenizer, smollm2_dir, 2000, direct)
    assert len(rows) == len(examples)
    for example, row in zip(examples, rows, strict=True):
        ids, labels = row["input_ids"], row["labels"]
        prompt = render_prompt(tokenizer, example.messages)
        assert len(ids) == len(labels)
        assert ids[: len(prompt)] == prompt
        assert labels[: len(prompt)] == [IGNORED] * len(prompt)
        assert labels[len(prompt) :] == ids[len(prompt) :]
        assert labels[-1] == end
        assert labels.count(end) == 1
        response = tokenizer.decode(labels[len(prompt) : -1])
        assert response == render(None if direct else example.reasoning, example.answers[0])
        assert parse(response).answer == example.answers[0]
        assert (parse(response).reasoning == "") == direct


@pytest.mark.slow
def test_the_prompt_is_where_generation_begins(tokenizer: Tokenizer, smollm2_dir: Path) -> None:
    """What the model sees before its answer in training is, as text, what the chat template opens a turn with."""
    (row,) = sft_rows([PLAIN], tokenizer, smollm2_dir, 1000, False)
    prompt = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label == IGNORED]
    text = tokenizer.decode(prompt)
    assert text.endswith("<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(row["input_ids"]) == text + render("1+1=2", "2") + "<|im_end|>"


@pytest.mark.slow
def test_an_example_too_long_is_named(tokenizer: Tokenizer, smollm2_dir: Path) -> None:
    longer = replace(PLAIN, id="the-long-one", reasoning="and so on, " * 50)
    lengths = [len(row["input_ids"]) for row in sft_rows([PLAIN, longer], tokenizer, smollm2_dir, 1000, False)]
    assert len(sft_rows([PLAIN, longer], tokenizer, smollm2_dir, lengths[1], False)) == 2
    with pytest.raises(UserError) as caught:
        sft_rows([PLAIN, longer], tokenizer, smollm2_dir, lengths[1] - 1, False)
    assert str(caught.value).startswith(
        f"example 'the-long-one' takes {lengths[1]} tokens, model.max_length is {lengths[1] - 1}; "
    )


@pytest.mark.slow
def test_a_template_that_never_ends_a_turn_is_refused(tokenizer: Tokenizer, smollm2_dir: Path) -> None:
    endless = copy.deepcopy(tokenizer)
    assert isinstance(endless.chat_template, str)
    endless.chat_template = endless.chat_template.replace("<|im_end|>", "")
    with pytest.raises(UserError, match=r"example 'e': no end token \(ids \[2\]\) closes the assistant's turn"):
        sft_rows([PLAIN], endless, smollm2_dir, 1000, False)


@pytest.mark.slow
def test_no_template_is_refused(tokenizer: Tokenizer, smollm2_dir: Path) -> None:
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(UserError, match="the tokenizer has no chat template"):
        sft_rows([PLAIN], bare, smollm2_dir, 1000, False)


def test_an_example_without_reasoning_has_an_empty_block() -> None:
    empty = "<reasoning></reasoning><answer>2</answer>"
    assert chat_of(PLAIN, False)[-1] == {"role": "assistant", "content": render("1+1=2", "2")}
    assert chat_of(PLAIN, True)[-1]["content"] == empty
    assert chat_of(replace(PLAIN, reasoning=None), False)[-1]["content"] == empty
