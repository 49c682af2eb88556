"""Tokens turn by turn, for a Linear template whose fixed text shares no token with what stands beside it.

The fixed text is then tokenized once, a repeated turn (the system message) once a batch, and no offsets are needed to
find the labels. Whether a tokenizer allows it is tried out on awkward conversations, and watched: the first
conversation of every batch is tokenized whole as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from rewards.core import Message
from toolkit.conversations.linear import Linear, awkward
from toolkit.training.rows import IGNORED, Row


@dataclass(frozen=True, slots=True)
class Segments:
    """fixed: ids of each text of the template, by its name in Linear. closing: how many ids of `end` are labelled."""

    backend: Any
    linear: Linear
    fixed: dict[str, list[int]]
    closing: int

    def rows(self, batch: Sequence[Sequence[Message]]) -> list[Row] | None:
        """Training rows of checked conversations; None when the tokenizer joins what stands side by side."""
        contents = list({self.linear.said(turn): None for chat in batch for turn in chat})
        encoded = self.backend.encode_batch_fast(contents, add_special_tokens=False)
        ids = {text: each.ids for text, each in zip(contents, encoded, strict=True)}
        rows = [self._row(chat, ids) for chat in batch]
        return rows if not rows or self._is_whole(batch[0], rows[0]) else None

    def _row(self, chat: Sequence[Message], ids: dict[str, list[int]]) -> Row:
        fixed, closing = self.fixed, self.closing
        system = chat[0]["role"] == "system"
        turns = chat[1:] if system else chat
        if system:
            input_ids = [*fixed["before_system"], *ids[self.linear.said(chat[0])], *fixed["after_system"]]
        else:
            input_ids = list(fixed["before_user"])
        labels = [IGNORED] * len(input_ids)
        last = len(turns) - 1
        for place in range(0, len(turns), 2):
            asked, answer = (ids[self.linear.said(turn)] for turn in turns[place : place + 2])
            after = fixed["end"][:closing] if place + 1 == last else fixed["to_user"]
            input_ids += asked
            input_ids += fixed["to_assistant"]
            labels += [IGNORED] * (len(input_ids) - len(labels))
            input_ids += answer
            input_ids += after
            labels += answer
            labels += after[:closing]
            labels += [IGNORED] * (len(after) - closing)
        return {"input_ids": input_ids, "labels": labels}

    def _is_whole(self, chat: Sequence[Message], row: Row) -> bool:
        text, spans = self.linear.whole(chat)
        whole = self.backend.encode(text, add_special_tokens=False)
        dropped = len(self.fixed["end"]) - self.closing
        if whole.ids[: len(whole.ids) - dropped] != row["input_ids"]:
            return False
        starts = [place for place, label in enumerate(row["labels"]) if label != IGNORED]
        firsts = [place for place in starts if place == 0 or row["labels"][place - 1] == IGNORED]
        return firsts == [whole.char_to_token(start) for start, _ in spans]


def segments_of(linear: Linear, backend: Any, stops: frozenset[int]) -> Segments | None:
    """The Segments of a template under a tokenizer, or None where tokens reach over a border, or none ends a turn."""
    fixed: dict[str, list[int]] = {
        each.name: backend.encode(text, add_special_tokens=False).ids
        for each in fields(linear)
        if isinstance(text := getattr(linear, each.name), str)
    }
    closing = next((n for n in range(len(fixed["end"]), 0, -1) if fixed["end"][n - 1] in stops), 0)
    if not closing or fixed["to_user"][:closing] != fixed["end"][:closing]:
        return None
    found = Segments(backend, linear, fixed, closing)
    return found if all(found.rows([chat]) is not None for chat in awkward()) else None
