"""CSV and its kin: any of four separators, quoted cells with new lines, and a broken quote costs one row only."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from rewards.core import UserError
from tasks.tables.encodings import errors_for, unreadable
from tasks.tables.rows import RAW_SHOWN, Bad, Row

SEPARATORS = "\t;,|"  # which of two that cut a header alike comes first: names hold commas, and seldom tabs
_SAID = re.compile(r'sep=([^"\s]|\t)\r?\n?', re.IGNORECASE)  # the first line that Excel writes, and doesn't show
MAX_CELL = 16 << 20  # characters; a longer one is an open quote
MAX_LINES = 20_000  # of one row


class _Lines:
    """Lines of a file, with those of the row at hand remembered, so that they can be read again."""

    def __init__(self, file: Iterator[str]) -> None:
        self.file = file
        self.again: deque[str] = deque()
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= MAX_LINES:
            raise csv.Error(f"the row goes on for {MAX_LINES} lines")
        line = self.again.popleft() if self.again else next(self.file)
        self.taken.append(line)
        return line

    def first_of_broken(self) -> str:
        """Give up on the first line of the row at hand; the rest of it is read again."""
        first, *rest = self.taken
        self.again.extendleft(reversed(rest))
        return first


def separator_of(header: str) -> str:
    """The separator that cuts a header into most cells; a comma when none does."""
    cells = {each: len(next(csv.reader([header], delimiter=each), [])) for each in SEPARATORS}
    return max(SEPARATORS, key=cells.__getitem__) if max(cells.values()) > 1 else ","


def read_delimited(path: Path, encoding: str, separator: str | None = None) -> Iterator[Row | Bad]:
    """Rows by the header's names. Row numbers are a spreadsheet's: the header is row 1, and blank rows count.

    separator: None for what a first line `sep=;` says, else a tab in a .tsv, else by the header.
    Raises UserError for a file without a header, or with two columns of one name.
    """
    csv.field_size_limit(MAX_CELL)
    with path.open(encoding=encoding, errors=errors_for(encoding), newline="") as file:
        lines = _Lines(file)
        separator = _opened(lines, separator, "\t" if path.suffix.lower() == ".tsv" else None)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        records = enumerate(_records(lines, reader), 1)
        header = _header(path, *next((each for each in records if each[1]), (1, [])))
        # Few rows come back broken, so the loop stays a plain one: it is what every row pays for.
        for number, cells in records:
            if not cells:
                continue  # a blank line is no row
            if isinstance(cells, str):
                yield Bad(str(path), number, cells, lines.taken[0].rstrip("\r\n")[:RAW_SHOWN])
            elif len(cells) == len(header):
                yield Row(str(path), number, dict(zip(header, cells, strict=True)))
            else:
                reason = f"has {len(cells)} cells, the header has {len(header)}"
                if len(cells) > len(header):
                    reason += f"; a cell that holds {separator!r} wants double quotes around it"
                yield Bad(str(path), number, reason, "".join(lines.taken).rstrip("\r\n")[:RAW_SHOWN])


def _opened(lines: _Lines, separator: str | None, usual: str | None) -> str:
    """The separator, in this order: the one given, what a first line `sep=` says, the usual one, by the header."""
    said = None
    for line in lines.file:
        if said is None and not lines.again and (said := _SAID.fullmatch(line)):
            continue
        lines.again.append(line)
        if line.strip():
            break
    return separator or (said and said[1]) or usual or separator_of(lines.again[-1] if lines.again else "")


def _records(lines: _Lines, reader: Iterator[list[str]]) -> Iterator[list[str] | str]:
    """The cells of each row, none for a blank line, or what is wrong with it."""
    while True:
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.taken[:] = [lines.first_of_broken()]
            yield f"broken quotes: {error}"
            continue
        yield cells


def _header(path: Path, number: int, header: list[str] | str) -> list[str]:
    if isinstance(header, str):
        raise UserError(f"{path}, row {number}: the header can't be read: {header}")
    names = [name.strip() for name in header]
    if not any(names):
        raise UserError(f"{path}: is empty; the first row must name the columns")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path}, row {number}: two columns are called {twice!r}; rename one")
    if problem := next(filter(None, map(unreadable, names)), None):
        raise UserError(f"{path}, row {number}: the header {problem}; give data.encoding")
    return names
