"""The chat template's marks within what people said: tokenized there they are real turn borders and ends."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Any

from rewards.core import Message
from rewards.response import TAGS

THOUGHTS = ("<think>", "</think>")


class Marks:
    """The strings that a tokenizer makes control tokens of: its special ones, those that end a turn, and what else of
    its added tokens the template writes (DeepSeek's turn marks aren't special).

    Tags of thoughts and answers aren't among them: they belong into an answer.
    """

    def __init__(self, backend: Any, stops: Collection[int], rendered: str) -> None:
        added = backend.get_added_tokens_decoder().items()
        strings = {each.content for id_, each in added if each.special or id_ in stops or each.content in rendered}
        self.of_template = frozenset(each for each in strings if each in rendered)
        words = sorted((each for each in strings if each.strip() and each not in (*THOUGHTS, *TAGS)), reverse=True)
        self.pattern = re.compile(_any_of(words)) if words else None

    def problem(self, messages: Iterable[Message]) -> str | None:
        """What is wrong with a conversation that holds one."""
        if self.pattern is None:
            return None
        for number, turn in enumerate(messages, 1):
            if found := self.pattern.search(turn["content"]):
                mark = found.group()
                kind = "mark of the chat template" if mark in self.of_template else "special token of the model"
                return f"turn {number} holds {mark!r}, a {kind}; take it out"
        return None


def _any_of(words: list[str]) -> str:
    """An expression for any of the words, sorted from the last. What they begin with alike is tried once: some
    tokenizers have thousands of special tokens, and all begin with "<".
    """
    start = os.path.commonprefix(words)  # noqa: RUF071 - of letters, not of folders
    rests = [word[len(start) :] for word in words]
    if not any(rests):
        return re.escape(start)
    return f"{re.escape(start)}(?:{'|'.join(_any_of(list(same)) for _, same in groupby(rests, lambda rest: rest[:1]))})"
