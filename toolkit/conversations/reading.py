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
    """A row's turns: perhaps a system message, then user and assistant in turn, the assistant last."""

    file: str
    row: int
    messages: tuple[Message, ...]


def source_of(config: ConversationsConfig) -> Source:
    """The file that a recipe's data section names."""
    return open_source(config.path, config.encoding, config.separator, config.split)


def to_conversation(row: Row, columns: Mapping[str, str], shapes: dict[tuple[str, ...], Shape]) -> Conversation | Bad:
    """The row as a conversation, or what is wrong with it. shapes: how rows of given columns are read, a cache."""
    names = tuple(row.values)
    try:
        if names not in shapes:
            shapes[names] = shape_of(names, columns)
        return Conversation(row.file, row.number, checked(shapes[names](row.values)))
    except BadValue as error:
        return Bad(row.file, row.number, str(error), raw_of(dict(row.values)))
