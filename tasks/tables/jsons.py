"""JSON and JSONL, one object at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from rewards.core import UserError
from tasks.tables.encodings import errors_for
from tasks.tables.rows import RAW_SHOWN, Bad, Row, shown

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
    """An array of objects, one object that holds such an array, or JSONL under another name."""
    with path.open(encoding=encoding, errors=errors_for(encoding)) as file:
        start = file.read(_BLOCK).lstrip()
    if not start:
        raise UserError(f"{path}: is empty; want an array of objects, or an object a line")
    if start[0] == "[":
        with path.open(encoding=encoding, errors=errors_for(encoding)) as file:
            yield from _array(path, file)
    elif _is_jsonl(start):
        yield from read_jsonl(path, encoding)
    else:
        yield from _single(path, encoding)


def _is_jsonl(start: str) -> bool:
    try:
        json.loads(start.splitlines()[0])
    except (ValueError, RecursionError):
        return False
    return True


def _single(path: Path, encoding: str) -> Iterator[Row | Bad]:
    """{"data": [...]}: this form alone is read whole."""
    try:
        value = json.loads(path.read_text(encoding=encoding, errors=errors_for(encoding)))
    except (ValueError, RecursionError) as error:
        yield Bad(str(path), 1, f"isn't JSON: {error}", fatal=True)
        return
    lists = [each for each in value.values() if isinstance(each, list)] if isinstance(value, dict) else []
    if len(lists) != 1:
        raise UserError(
            f"{path}: want an array of objects, an object that holds one array of them, or an object a line"
        )
    for number, item in enumerate(lists[0], 1):
        yield _row(path, number, item)


def _array(path: Path, file: TextIO) -> Iterator[Row | Bad]:
    """The items of one array. What is read and not yet decoded is all that memory holds."""
    buffer, place, number, ended = file.read(_BLOCK), 0, 0, False
    place = len(buffer) - len(buffer.lstrip()) + 1  # behind the bracket
    want = _BLOCK
    while True:
        place = _skip(buffer, place)
        if place < len(buffer) and buffer[place] == "]":
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
    return Bad(str(path), number, f"want an object, got {shown(value)}", shown(value, RAW_SHOWN))
