"""From a row to a conversation: every common shape of columns and turns becomes a list of Messages."""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewards.core import Message
from tasks.tables.encodings import unreadable
from tasks.tables.rows import BadValue, not_finite, shown, text_of

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
}
_PLAIN = ("user", "assistant", "system")
LISTS = ("conversations", "messages", "conversation")
PAIRS = (("prompt", "completion"), ("question", "answer"), ("user", "assistant"))
KNOWN = "conversations | messages, prompt + completion, instruction (+ input) + output, question + answer"

REASONING = ("reasoning_content", "reasoning", "thinking")  # beside the content of an answer
LEFT_OUT = (
    "{} beside an answer isn't trained on; write it into the content, as the template marks it (<think>…</think>)"
)


class Turn(Message, total=False):
    """A turn as it was read. silent: an answer that isn't to be learned. left_out: what of the turn isn't rendered."""

    silent: bool
    left_out: str


Shape = Callable[[Mapping[str, Any]], list[Turn]]


def shape_of(row: Mapping[str, Any], columns: Mapping[str, str]) -> Shape:
    """How rows with the columns of this one are read. `columns` maps system, user, assistant or conversations to names.

    A column `system` counts beside every shape, unless another is mapped to it.

    Raises BadValue when a mapped column isn't there, or when no known shape fits.
    """
    names = tuple(row)
    missing = [name for name in columns.values() if name not in names]
    if missing:
        raise BadValue(f"no column {missing[0]!r}; the columns are: {', '.join(names)}")
    unmapped = "system" if "system" in names and "system" not in columns.values() else None
    system = columns.get("system", unmapped)
    if "conversations" in columns:
        return lambda row: _with_system(row, system, turns_of(row[columns["conversations"]]))
    if columns:
        return lambda row: _pair(row, columns["user"], columns["assistant"], system)
    for name in LISTS:
        if name in names:
            return lambda row: _with_system(row, system, turns_of(row[name]))
    if "instruction" in names and "output" in names:
        return _alpaca
    for user, assistant in PAIRS:
        if user in names and assistant in names:
            return lambda row: _pair(row, user, assistant, system)
    if any(name in names for name in ("role", "from")) and any(name in names for name in ("content", "text", "value")):
        raise BadValue(
            f"a row a turn isn't read (the columns are {', '.join(names)}); write one row a conversation, its turns in "
            f'a column "conversations": [{{"role": "user", "content": "…"}}, …]. {_mapping(row)}'
        )
    raise BadValue(f"no known columns among {', '.join(names)}; known: {KNOWN}. {_mapping(row)}")


def _mapping(row: Mapping[str, Any]) -> str:
    """How to say which columns of other names are meant: one that holds turns; else of two, that the first asks."""
    names = tuple(row)
    turns = names[0] if len(names) == 1 else next((name for name in names if _holds_turns(row[name])), None)
    if turns is not None:
        return f"Turns in {turns!r}: --set {shlex.quote(f'data.columns.conversations={turns}')}"
    user, assistant = names if len(names) == 2 else ("COLUMN", "COLUMN")
    pairs = (f"data.columns.user={user}", f"data.columns.assistant={assistant}")
    return f"Map others: {' '.join(f'--set {shlex.quote(pair)}' for pair in pairs)}"


def _holds_turns(cell: Any) -> bool:
    try:
        return bool(turns_of(cell))
    except BadValue:
        return False


def turns_of(cell: Any) -> list[Turn]:
    """The turns that a cell holds, as a list or as text: JSON, or a Python literal."""
    value = _literal(cell) if isinstance(cell, str) else cell
    if not isinstance(value, list | tuple):
        raise BadValue(f"want a list of turns, got {shown(value)}")
    return [_turn(turn, number) for number, turn in enumerate(value, 1)]


def _literal(text: str) -> Any:
    if not text.strip():
        raise BadValue("the conversation is empty")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        as_json = str(error)  # the error itself would hold this frame, and the frame the error: a cycle a row
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
    if reason.startswith("malformed node"):  # Python names its own objects there, by their addresses
        reason = "it holds a name or an expression; null, true and false are JSON's, which wants double quotes"
    if "}\n {" in text:
        raise BadValue("a printed array, no commas between its turns; save it as JSON, for instance with json.dumps")
    raise BadValue(f"neither JSON ({as_json}) nor a Python literal ({reason})")


def _turn(turn: Any, number: int) -> Turn:
    if type(turn) is dict and len(turn) == 2 and turn.get("role") in _PLAIN and type(turn.get("content")) is str:
        return {"role": turn["role"], "content": turn["content"]}  # what most turns are: no need to look closer
    if not isinstance(turn, Mapping):
        raise BadValue(f"turn {number} isn't an object but {shown(turn)}")
    keys = ("role", "content") if "role" in turn else ("from", "value")
    if keys[0] not in turn:
        raise BadValue(f"turn {number} has neither 'role' nor 'from'; it has {', '.join(map(str, turn)) or 'nothing'}")
    name = turn[keys[0]]
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise BadValue(f"turn {number}: unknown role {shown(name)}; known: {', '.join(ROLES)}")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise BadValue(f"turn {number} calls tools, which isn't supported")
    found: Turn = {"role": role, "content": _text(turn.get(keys[1]), f"turn {number}")}
    return _with_marks(found, turn, number) if role == "assistant" else found


def _with_marks(found: Turn, turn: Mapping[str, Any], number: int) -> Turn:
    """An answer with what stands beside its content: OpenAI's weight, of which 0 is not to be learned, and thoughts."""
    weight = turn.get("weight")
    if weight != weight:  # NaN, of a table that has weights elsewhere
        weight = None
    if isinstance(weight, bool) or weight not in (None, 0, 1):
        raise BadValue(f"turn {number}: the weight must be 0 or 1, got {shown(weight)}")
    if weight == 0:
        found["silent"] = True
    if beside := next((key for key in REASONING if turn.get(key)), None):
        found["left_out"] = LEFT_OUT.format(beside)
    return found


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and all(map(_is_text_part, content)):
        return "".join(part.get("text", "") for part in content)  # OpenAI's content parts
    raise BadValue(f"{where}: the content must be text, got {shown(content)}")


def _is_text_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text", ""), str)


def _alpaca(row: Mapping[str, Any]) -> list[Turn]:
    asked, given = _cell(row["instruction"], "instruction"), _cell(row.get("input"), "input")
    return [
        *_system(row, "system"),
        *_history(row.get("history")),
        {"role": "user", "content": f"{asked}\n\n{given}" if given.strip() else asked},
        {"role": "assistant", "content": _cell(row["output"], "output")},
    ]


def _history(cell: Any) -> list[Turn]:
    """Alpaca's earlier turns: a list of [question, answer], or text that holds one; a table's nothing (NaN) is none."""
    nothing = (
        cell is None or cell != cell or (isinstance(cell, str) and cell.strip().lower() in ("", "nan", "none", "null"))
    )
    pairs = [] if nothing else _literal(cell) if isinstance(cell, str) else cell
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise BadValue(f"column 'history' must hold a list of [question, answer], got {shown(pairs)}")
    roles = ("user", "assistant")
    return [
        {"role": role, "content": _text(said, "column 'history'")}
        for pair in pairs
        for role, said in zip(roles, pair, strict=True)
    ]


def _pair(row: Mapping[str, Any], user: str, assistant: str, system: str | None) -> list[Turn]:
    asked, answered = row[user], row[assistant]
    if isinstance(asked, list | tuple):  # prompt and completion as lists of turns
        return _with_system(row, system, [*turns_of(asked), *turns_of(answered)])
    turns: list[Turn] = [
        {"role": "user", "content": _cell(asked, user)},
        {"role": "assistant", "content": _cell(answered, assistant)},
    ]
    return _with_system(row, system, turns)


def _with_system(row: Mapping[str, Any], name: str | None, turns: list[Turn]) -> list[Turn]:
    """The turns behind the system message of the column `name`, which must not contradict one of their own."""
    given = _system(row, name) if name else []
    if not given or not turns or turns[0]["role"] != "system":
        return [*given, *turns]
    if turns[0]["content"].strip() != given[0]["content"].strip():
        raise BadValue(f"column {name!r} holds one system message and turn 1 another; take one of them out")
    return turns


def _system(row: Mapping[str, Any], name: str) -> list[Turn]:
    text = _cell(row.get(name), name)
    return [{"role": "system", "content": text}] if text.strip() else []


def _cell(value: Any, name: str) -> str:
    # A spreadsheet's numbers are text in a CSV but numbers in Parquet.
    if problem := not_finite(value):
        raise BadValue(f"column {name!r} {problem}")
    return text_of(value) if isinstance(value, int | float) else _text(value, f"column {name!r}")


def checked(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation, white space around each turn taken off. Raises BadValue when it can't be trained on."""
    turns = tuple(Message(role=turn["role"], content=turn["content"].strip()) for turn in messages)
    start = 1 if turns and turns[0]["role"] == "system" else 0
    if len(turns) == start:
        raise BadValue("the conversation has no turns" if not turns else "the conversation has a system message only")
    for number, turn in enumerate(turns, 1):
        wanted = "system" if number <= start else ("user", "assistant")[(number - start - 1) % 2]
        if not turn["content"]:
            raise BadValue(f"turn {number} ({turn['role']}) is empty")
        if turn["role"] != wanted:
            raise BadValue(_misplaced(number, turn["role"], wanted))
        if problem := unreadable(turn["content"]):
            raise BadValue(f"turn {number} ({turn['role']}) {problem}")
    if turns[-1]["role"] != "assistant":
        raise BadValue("the last turn must be the assistant's, it is the user's")
    return turns


def _misplaced(number: int, role: str, wanted: str) -> str:
    if role == "system":
        return f"turn {number} is a system message; only the first may be one"
    if number == 1 or (number == 2 and wanted == "user"):
        return f"turn {number} is the {role}'s; a conversation begins with the user"
    return f"turns {number - 1} and {number} are both the {role}'s; user and assistant must alternate"
