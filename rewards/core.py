"""The vocabulary that every layer shares: Message, Example, Reward, UserError. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypedDict

__all__ = ["Example", "Message", "Reward", "UserError"]


class Message(TypedDict):
    """One turn of a conversation, in the form that chat templates take."""

    role: str
    content: str


class ExitCode(IntEnum):
    """What a command's end means, for scripts and CI."""

    OK = 0
    FAULTS = 1  # what was checked has faults, or some rows no answer
    USAGE = 2  # bad input: the message says what to put right
    WORSE = 10  # worse than the baseline, or another model than it should be
    INCONCLUSIVE = 11
    NOT_COMPARABLE = 12
    INVALID = 13  # figures, or files, that must not be used
    FAILED = 14  # not the input: an engine, a process, a converter, a server, this machine
    INTERRUPTED = 130  # the shell's for Ctrl-C


class UserError(Exception):
    """What a person can put right: it is shown as one line, without a traceback, and ends the program with `exit_code`.

    Say what was wrong (file, row, key, value), what is allowed, and what to do next.
    """

    def __init__(self, message: str, exit_code: int = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def first_line(error: BaseException) -> str:
    """The first line of an error's text; of one without a text, its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def with_type(error: BaseException) -> str:
    """`ValueError: the first line`, for errors whose text may say too little alone."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a task, the same object for training and evaluation.

    id: unique within (task, split, seed). messages: the prompt, without the answer. answers: every accepted gold, the
    canonical one first. reasoning: a rationale that leads to answers[0], or None. tags: slices for tables, for
    instance {"phenomenon": "weekday", "lang": "ru"}. group: the template or family that a split, or a cluster
    bootstrap, keeps together. context: what a non-neural peer or a scorer may need beside the text (JSON values only).
    """

    id: str
    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    reasoning: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A plain dict for one line of a JSONL file; `from_json` reads it back."""
        return {
            "id": self.id,
            "messages": list(self.messages),
            "answers": list(self.answers),
            "reasoning": self.reasoning,
            "tags": dict(self.tags),
            "group": self.group,
            "context": dict(self.context),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Example:
        """Build an Example from one parsed JSONL row. Raises ValueError that names the offending key."""
        for key, kind in (("id", str), ("messages", list), ("answers", list)):
            if not isinstance(row.get(key), kind) or not row[key]:
                raise ValueError(f"key {key!r} must be a non-empty {kind.__name__}, got {row.get(key)!r}")
        for turn in row["messages"]:
            if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
                raise ValueError(f"key 'messages': each turn must be {{role, content}}, got {turn!r}")
            if not isinstance(turn["role"], str) or not isinstance(turn["content"], str):
                raise ValueError(f"key 'messages': role and content must be text, got {turn!r}")
        if not all(isinstance(answer, str) for answer in row["answers"]):
            raise ValueError(f"key 'answers': each must be text, got {row['answers']!r}")
        reasoning = row.get("reasoning")
        if reasoning is not None and not isinstance(reasoning, str):
            raise ValueError(f"key 'reasoning' must be text or null, got {reasoning!r}")
        for key in ("tags", "context"):
            if not isinstance(row.get(key, {}), dict):
                raise ValueError(f"key {key!r} must be an object, got {row[key]!r}")
        if not all(isinstance(value, str) for value in row.get("tags", {}).values()):
            raise ValueError(f"key 'tags': each value must be text, got {row['tags']!r}")
        group = row.get("group")
        if group is not None and not isinstance(group, str):
            raise ValueError(f"key 'group' must be text or null, got {group!r}")
        return cls(
            id=row["id"],
            messages=tuple(row["messages"]),
            answers=tuple(row["answers"]),
            reasoning=reasoning,
            tags=row.get("tags", {}),
            group=group or "",  # null is no group, not the group "None"
            context=row.get("context", {}),
        )


Reward = Callable[[str, Example], float]
"""(completion, example) -> score in [0, 1]; pure, deterministic, never raises on any string."""
