"""What the doctor and the preflight say: a finding is a message of a TOML file with its values filled in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Message:
    """The level, cause and remedy of a kind of finding. {names} are filled in by `found`."""

    level: Level
    cause: str
    fix: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. check: what was looked at. id: a key of the messages; "ok" where all is well."""

    check: str
    level: Level
    id: str
    cause: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)


def messages_of(path: Path) -> dict[str, Message]:
    """The messages of a TOML file, by id."""
    return {name: Message(**raw) for name, raw in tomllib.loads(path.read_text(encoding="utf-8")).items()}


MESSAGES = messages_of(Path(__file__).with_name("messages.toml"))


def found(check: str, message_id: str, messages: Mapping[str, Message] = MESSAGES, /, **values: Any) -> Finding:
    """The finding for a message, its texts filled in."""
    message = messages[message_id]
    return Finding(check, message.level, message_id, message.cause.format(**values), message.fix.format(**values))


def fine(check: str, what: str) -> Finding:
    """A check that found nothing amiss."""
    return Finding(check, "ok", "ok", what)
