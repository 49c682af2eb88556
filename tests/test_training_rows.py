from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.prompts import Tokenizer, load_tokenizer, render_prompt, stop_token_ids
from rewards.core import Example, Message, UserError
from rewards.response import parse, render
from tasks.registry import load_task
from toolkit.training.rows import IGNORED, sft_row, sft_rows

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
def test_the_prompt_is_where_generation_begins(tokenizer: Tokenizer) -> None:
    """What the model sees before its answer in training is, as text, what the chat template opens a turn with."""
    row = sft_row(PLAIN, tokenizer, [tokenizer.eos_token_id or -1])
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
    with pytest.raises(UserError, match=r"the chat template ends no turn with an end token \(ids \[2\]\)"):
        sft_rows([PLAIN], endless, smollm2_dir, 1000, False)


@pytest.mark.slow
def test_no_template_is_refused(tokenizer: Tokenizer, smollm2_dir: Path) -> None:
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(UserError, match="the tokenizer has no chat template"):
        sft_rows([PLAIN], bare, smollm2_dir, 1000, False)


class Letters:
    """A tokenizer of characters. A turn is `role:text` and `close`; the model's own turn begins with `opening`."""

    chat_template = "by hand"

    def __init__(self, close: str = "$", opening: str = "assistant:") -> None:
        self.close, self.opening = close, opening

    def apply_chat_template(self, conversation: Sequence[Sequence[Message]], **kwargs: Any) -> list[list[int]]:
        opening = self.opening if kwargs["add_generation_prompt"] else ""
        texts = ["".join(f"{turn['role']}:{turn['content']}{self.close}" for turn in turns) for turns in conversation]
        return [[ord(letter) for letter in text + opening] for text in texts]

    def decode(self, token_ids: list[int], **kwargs: Any) -> str:
        return "".join(map(chr, token_ids))


def labelled(tokenizer: Letters, direct: bool = False) -> str:
    row = sft_row(PLAIN, tokenizer, [ord("$")], direct)
    return tokenizer.decode([label for label in row["labels"] if label != IGNORED])


def test_only_the_response_and_its_end_are_labelled() -> None:
    tokenizer = Letters()
    assert labelled(tokenizer) == render("1+1=2", "2") + "$"
    assert labelled(tokenizer, direct=True) == "<reasoning></reasoning><answer>2</answer>$"
    assert tokenizer.decode(sft_row(PLAIN, tokenizer, [ord("$")])["input_ids"]).startswith("user:1+1?$assistant:<rea")


def test_what_a_template_writes_after_the_end_is_no_target() -> None:
    """Generation stops at the end token; what follows it would be taught and never be seen."""
    assert labelled(Letters(close="$\n")) == render("1+1=2", "2") + "$"


def test_an_example_without_reasoning_has_an_empty_block() -> None:
    tokenizer = Letters()
    row = sft_row(replace(PLAIN, reasoning=None), tokenizer, [ord("$")])
    assert tokenizer.decode(row["input_ids"]).endswith("<reasoning></reasoning><answer>2</answer>$")


def test_a_template_that_rewrites_its_own_prompt_is_refused() -> None:
    """Such as one that opens a thinking block for generation, and drops it from a finished conversation."""
    with pytest.raises(UserError, match="the chat template renders a finished conversation unlike its prompt"):
        labelled(Letters(opening="assistant:<think>\n"))


def test_a_turn_without_an_end_token_is_refused() -> None:
    with pytest.raises(UserError, match="the chat template ends no turn with an end token"):
        labelled(Letters(close="\n"))
