"""JSON and JSONL, one object at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from rewards.core import UserError
from tasks.tables.encodings import errors_for
from tasks.tables.rows import RAW_SHOWN, Bad, Row, raw_of, shown
from tasks.tables.shapes import ROLES

_BLOCK = 1 << 16
_decoder = json.JSONDecoder()


def read_jsonl(path: Path, encoding: str) -> Iterator[Row | Bad]:
    """One object a line; row numbers are line numbers. Blank lines are no rows."""
    with path.open(encoding=encoding, errors=errors_for(encoding)) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Bad(str(path), number, f"isn't JSON: {error}", line.rstrip()[:RAW_SHOWN])
                continue
            yield _row(path, number, value)


def read_json(path: Path, encoding: str) -> Iterator[Row | Bad]:
    """An array of objects, one object that holds such an array, or JSONL under another name.

    Raises UserError for a file that is none of them.
    """
    with path.open(encoding=encoding, errors=errors_for(encoding)) as file:
        start = file.read(_BLOCK).lstrip()
    if not start:
        raise UserError(f"{path}: is empty; want an array of objects, or an object a line")
    if start[0] == "[":
        with path.open(encoding=encoding, errors=errors_for(encoding)) as file:
            yield from _array(path, file)
        return
    try:
        value, text, more = _first_value(path, encoding)
    except (ValueError, RecursionError) as error:
        yield Bad(str(path), 1, f"isn't JSON: {error}", fatal=True)
        return
    rows = None if more else _rows_in(value)
    if rows is not None:
        yield from (_row(path, number, item) for number, item in enumerate(rows, 1))
    elif "\n" not in text:
        yield from read_jsonl(path, encoding)
    elif more:
        yield Bad(str(path), 1, "isn't JSON: more follows where the first object ends", fatal=True)
    elif _is_dialog(value):
        yield _row(path, 1, value)
    else:
        raise UserError(
            f"{path}: want an array of objects, an object that holds one array of them, or an object a line"
        )


def _first_value(path: Path, encoding: str) -> tuple[Any, str, bool]:
    """(the first value, its text, whether more follows). Raises ValueError for none, RecursionError for a deep one.

    Of JSONL some lines are read; {"data": [...]} is the one form that is read whole.
    """
    with path.open(encoding=encoding, errors=errors_for(encoding)) as file:
        buffer, want, ended = "", _BLOCK, False
        while True:
            more = file.read(want)
            buffer, ended = (buffer + more).lstrip(), not more
            want *= 2  # a long value isn't decoded again for each small block
            try:
                value, end = _decoder.raw_decode(buffer)
            except ValueError:
                if ended:
                    raise
                continue
            if ended or buffer[end:].strip():
                return value, buffer[:end], not ended or bool(buffer[end:].strip())


def _rows_in(value: Any) -> list[Any] | None:
    """The one array of objects that an object holds, unless the object is a row itself and its array a dialog."""
    lists = _lists_in(value)
    if len(lists) != 1 or _is_dialog(value) or not any(isinstance(each, dict) for each in lists[0]):
        return None
    return lists[0]


def _is_dialog(value: Any) -> bool:
    """Whether an object is a row with a list of turns in it."""
    return any(_is_turn(each[0]) for each in _lists_in(value) if each)


def _lists_in(value: Any) -> list[list[Any]]:
    return [each for each in value.values() if isinstance(each, list)] if isinstance(value, dict) else []


def _is_turn(item: Any) -> bool:
    name = item.get("role", item.get("from")) if isinstance(item, dict) else None
    return isinstance(name, str) and name.strip().lower() in ROLES


def _array(path: Path, file: TextIO) -> Iterator[Row | Bad]:
    """The items of one array. What is read and not yet decoded is all that memory holds."""
    buffer, place, number, ended = file.read(_BLOCK), 0, 0, False
    place = len(buffer) - len(buffer.lstrip()) + 1  # behind the bracket
    want = _BLOCK
    while True:
        place = _skip(buffer, place)
        if place < len(buffer) and buffer[place] == "]":
            rest = (buffer[place + 1 :] + file.read(_BLOCK)).strip()
            if rest:
                yield Bad(str(path), number + 1, "more follows where the array ends", rest[:RAW_SHOWN], fatal=True)
            return
        try:
            value, place = _decoder.raw_decode(buffer, place)
            complete = place < len(buffer) or ended  # 12 may go on as 123
        except (ValueError, RecursionError) as error:
            complete, reason = False, str(error)
        else:
            reason = "the array doesn't end"
        if complete:
            number += 1
            yield _row(path, number, value)
            want = _BLOCK
            continue
        if ended:
            why = f"the file breaks here ({reason}); nothing after it can be read"
            yield Bad(str(path), number + 1, why, buffer[place : place + RAW_SHOWN], fatal=True)
            return
        more = file.read(want)
        buffer, place, ended = buffer[place:] + more, 0, not more
        want = min(2 * want, 1 << 26)  # a long item isn't decoded again for each small block


def _skip(buffer: str, place: int) -> int:
    while place < len(buffer) and buffer[place] in " \t\r\n,":
        place += 1
    return place


def _row(path: Path, number: int, value: Any) -> Row | Bad:
    if isinstance(value, dict):
        return Row(str(path), number, value)
    return Bad(str(path), number, f"want an object, got {shown(value)}", raw_of(value))
