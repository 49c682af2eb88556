"""Training rows: token ids and labels, rendered by the same functions that evaluation uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

from eval.prompts import render_conversation, render_prompt, stop_token_ids
from rewards.core import Example, UserError
from rewards.response import render

IGNORED = -100  # the label that cross-entropy leaves out


class Row(TypedDict):
    """One sequence: labels are the ids of the completion, IGNORED before it."""

    input_ids: list[int]
    labels: list[int]


def sft_row(example: Example, tokenizer: Any, stop_ids: Iterable[int], direct: bool = False) -> Row:
    """Prompt and gold response as ids; only the response and the token that ends the turn are labelled.

    Raises UserError when the chat template doesn't let a conversation begin with its own prompt, or when no end token
    closes the turn: a model trained without one never stops.
    """
    text = render(None if direct else example.reasoning, example.answers[0])
    prompt = render_prompt(tokenizer, example.messages)
    whole = render_conversation(tokenizer, [*example.messages, {"role": "assistant", "content": text}])
    if whole[: len(prompt)] != prompt:
        raise UserError("the chat template renders a finished conversation unlike its prompt; give another template")
    stops = set(stop_ids)
    ends = [place for place in range(len(prompt), len(whole)) if whole[place] in stops]
    if not ends:
        raise UserError(
            f"the chat template ends no turn with an end token (ids {sorted(stops)}); give another template"
        )
    # Templates may go on after the end token (a new line, say), but generation stops there: so do the labels.
    whole = whole[: ends[-1] + 1]
    return {"input_ids": whole, "labels": [IGNORED] * len(prompt) + whole[len(prompt) :]}


def sft_rows(examples: Iterable[Example], tokenizer: Any, model_dir: Any, max_length: int, direct: bool) -> list[Row]:
    """Rows for all examples. Raises UserError for one longer than max_length: cut examples would teach cut answers."""
    stop_ids = stop_token_ids(tokenizer, model_dir)
    rows = []
    for example in examples:
        row = sft_row(example, tokenizer, stop_ids, direct)
        if len(row["input_ids"]) > max_length:
            raise UserError(
                f"example {example.id!r} takes {len(row['input_ids'])} tokens, model.max_length is {max_length}; "
                "raise it or shorten the prompt"
            )
        rows.append(row)
    return rows
