"""From a source to conversations that can be trained on; each row that can't is a Bad with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rewards.core import Message
from tasks.tables.rows import Bad, BadValue, Row, raw_of
from tasks.tables.shapes import Shape, checked, shape_of
from tasks.tables.source import Source, open_source
from toolkit.config import ConversationsConfig


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row's turns: perhaps a system message, then user and assistant in turn, the assistant last.

    silent: which of its answers, from 0, aren't to be learned. left_out: what the row holds and nobody renders.
    """

    file: str
    row: int
    messages: tuple[Message, ...]
    silent: frozenset[int] = frozenset()
    left_out: tuple[str, ...] = ()


def source_of(config: ConversationsConfig) -> Source:
    """The file that a recipe's data section names."""
    return open_source(config.path, config.encoding, config.separator, config.split)


def to_conversation(row: Row, columns: Mapping[str, str], shapes: dict[tuple[str, ...], Shape]) -> Conversation | Bad:
    """The row as a conversation, or what is wrong with it. shapes: how rows of given columns are read, a cache."""
    names = tuple(row.values)
    try:
        if names not in shapes:
            shapes[names] = shape_of(row.values, columns)
        turns = shapes[names](row.values)
        messages = checked(turns)
        answers = [turn for turn in turns if turn["role"] == "assistant"]
        silent = frozenset(number for number, turn in enumerate(answers) if turn.get("silent"))
        if len(silent) == len(answers):
            raise BadValue("every answer has weight 0: there is nothing to learn")
    except BadValue as error:
        return Bad(row.file, row.number, str(error), raw_of(dict(row.values)))
    left_out = dict.fromkeys([*(turn["left_out"] for turn in answers if "left_out" in turn), *_tools(row, columns)])
    return Conversation(row.file, row.number, messages, silent, tuple(left_out))


def _tools(row: Row, columns: Mapping[str, str]) -> list[str]:
    """A note of tools that the row offers: calls are refused, and an answer without one may be learned."""
    named = [name for name in ("tools", "functions") if name in row.values and name not in columns.values()]
    some = [name for name in named if str(row.values[name] or "").strip() not in ("", "[]", "{}", "null", "None")]
    return [f"{name} of a row aren't put into the prompt" for name in some]
