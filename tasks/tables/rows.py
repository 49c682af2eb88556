"""The two things that come out of a file: a row, or the reason why there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row. number: as the person's own program counts (a spreadsheet's row, a line of JSONL, an item from 1)."""

    file: str
    number: int
    values: Mapping[str, Any]

    def __reduce__(self) -> tuple[type[Row], tuple[str, int, Mapping[str, Any]]]:
        """Twice as fast to send to another process as what a dataclass with slots does by itself."""
        return Row, (self.file, self.number, self.values)


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that can't be used, and why. raw: its beginning as it stands. fatal: what follows it can't be read."""

    file: str
    number: int
    reason: str
    raw: str = ""
    fatal: bool = False

    def to_json(self) -> dict[str, Any]:
        """One line of a quarantine file."""
        return {"file": self.file, "row": self.number, "reason": self.reason, "raw": self.raw}

    def __str__(self) -> str:
        return f"{self.file}, row {self.number}: {self.reason}"


class BadValue(ValueError):
    """What is wrong with the row at hand; the caller knows its file and number."""


def text_of(value: object) -> str:
    """A cell as text, an absent one empty; objects, lists and booleans as JSON, not as Python writes them.

    Raises BadValue for what JSON can't hold.
    """
    if not isinstance(value, dict | list | bool):
        return "" if value is None else str(value)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except (ValueError, RecursionError) as error:
        raise BadValue(f"holds what JSON can't ({error}); mend the cell") from error


def not_finite(value: object) -> str | None:
    """Why `value` can't stand for text: NaN is what pandas writes for an empty cell, inf what 1e400 is read as."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"holds {value}, want text or a finite number; mend the cell, or leave it empty (null)"
    return None


RAW_SHOWN = 500  # characters of a bad row that the quarantine file keeps


def shown(value: object, limit: int = 60) -> str:
    """A value for a message, on one line and short."""
    return _cut(repr(value), limit)


def raw_of(value: object) -> str:
    """The beginning of a row for the quarantine file: as JSON, the letters as they are."""
    return _cut(json.dumps(value, ensure_ascii=False, default=str), RAW_SHOWN)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
