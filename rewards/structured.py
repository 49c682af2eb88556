"""Rewards on an answer that is a JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from rewards.core import Example
from rewards.text import answer_of

LONGEST = 65536  # characters


def object_of(text: str) -> dict[str, Any] | None:
    """The JSON object that the whole text is; None for anything else, a key given twice, a NaN or 1e999 included.

    A whole number is an int however it is written: 1.0 and 1e0 are 1.
    """
    if len(text) > LONGEST:
        return None
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_float=_number, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _number(text: str) -> int | float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large for a number")
    return int(value) if value.is_integer() else value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} isn't JSON")


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0 but isn't true; the order of keys doesn't count, that of lists does."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and bool(one == other)


def json_fields(completion: str, example: Example, fields: Sequence[str] | None = None) -> float:
    """The share of the gold's fields that the answer has right, the best gold counting. A field too many scores 0.

    fields: those of the gold's that count; None for all. An empty gold wants an empty object.
    """
    answer = answer_of(completion)
    ours = object_of(answer) if answer is not None else None
    if ours is None:
        return 0.0
    golds = [gold for gold in map(object_of, example.answers) if gold is not None]
    return max((_share(ours, gold, fields) for gold in golds), default=0.0)


def _share(ours: dict[str, Any], gold: dict[str, Any], fields: Sequence[str] | None) -> float:
    wanted = [key for key in gold if fields is None or key in fields]  # a field that the gold lacks may be optional
    if ours.keys() - gold.keys():
        return 0.0
    right = sum(key in ours and same(ours[key], gold[key]) for key in wanted)
    return right / len(wanted) if wanted else float(not gold)


def json_exact(completion: str, example: Example, fields: Sequence[str] | None = None) -> float:
    """1.0 if every field is right and none is there that shouldn't be; else 0.0."""
    return float(json_fields(completion, example, fields) == 1.0)
