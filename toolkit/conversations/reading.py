"""From a source to conversations that can be trained on; each row that can't is a Bad with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewards.core import Message
from tasks.tables.rows import Bad, BadValue, Row, raw_of
from tasks.tables.shapes import Shape, checked, shape_of
from tasks.tables.source import Source, open_source
from toolkit.config import ConversationsConfig

# What Excel shows for a failed formula, in English and Russian, and what programs write for an absent value.
NOTHING = frozenset(
    (
        *("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"),
        *("#Н/Д", "#ССЫЛКА!", "#ЗНАЧ!", "#ДЕЛ/0!", "#ИМЯ?", "#ЧИСЛО!", "#ПУСТО!"),
        *("nan", "NaN", "NULL", "null", "None"),
    )
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row's turns: perhaps a system message, then user and assistant in turn, the assistant last.

    silent: which of its answers, from 0, aren't to be learned. noted: what a person should know of the row: what it
    holds and nobody renders, and turns that look like errors.
    """

    file: str
    row: int
    messages: tuple[Message, ...]
    silent: frozenset[int] = frozenset()
    noted: tuple[str, ...] = ()


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
    beside = [turn["left_out"] for turn in answers if "left_out" in turn]
    noted = dict.fromkeys([*beside, *_tools(row, columns), *_errors(messages)])
    return Conversation(row.file, row.number, messages, silent, tuple(noted))


def _errors(messages: Sequence[Message]) -> list[str]:
    """A note of turns that a spreadsheet or a program wrote for what it didn't have."""
    said = [turn["content"] for turn in messages]
    return [f"{text} is all that a turn says; is it an error's or an empty cell?" for text in said if text in NOTHING]


def _tools(row: Row, columns: Mapping[str, str]) -> list[str]:
    """A note of tools that the row offers: calls are refused, and an answer without one may be learned."""
    named = [name for name in ("tools", "functions") if name in row.values and name not in columns.values()]
    some = [name for name in named if str(row.values[name] or "").strip() not in ("", "[]", "{}", "null", "None")]
    return [f"{name} of a row aren't put into the prompt" for name in some]
