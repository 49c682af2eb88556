"""Dataset files: one Example a line of JSON (JSONL), written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from eval.files import whole_file
from rewards.core import Example, Message, UserError
from tasks.base import Split, Task
from toolkit.parallel import in_chunks

# For an adapter without a run: digits, both alphabets, a list and code.
PROBES = (
    "What day follows 2025-02-28?",
    "Послезавтра в 12:30, а не в 15",
    "List three fruits.",
    "Напиши одно предложение о зиме.",
    "def add(a, b):",
    "2 + 2 * 10 = ?",
    "Who wrote Hamlet?",
    "Сколько будет 17 + 25?",
)


def example_lines(task: Task, split: Split, n: int, seed: int) -> Iterator[str]:
    """n examples of a task as lines of JSON, in order; built on all cores where the task can begin anywhere."""
    if (examples_from := task.examples_from) is None:
        return map(_line, task.examples(split, n, seed))

    def lines(places: list[int]) -> list[str]:
        return [*map(_line, examples_from(split, places[0], len(places), seed))]

    return chain.from_iterable(in_chunks(range(n), lines))


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write examples to `path` and return their number. A file that exists is replaced only by a complete one."""
    return write_lines(path, map(_line, examples))


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _line(example: Example) -> str:
    return _encode(example.to_json()) + "\n"


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write lines, each with its end, and return their number; as write_examples does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    n = 0
    with whole_file(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        for n, line in enumerate(lines, 1):  # noqa: B007 - n is the count that is returned
            file.write(line)
    return n


def read_examples(path: Path) -> list[Example]:
    """Read a dataset file. Raises UserError that names the file and the row of what is broken."""
    examples = []
    rows: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for row, line in enumerate(file, 1):
                try:
                    example = _example(line)
                    if (first := rows.setdefault(example.id, row)) != row:
                        raise ValueError(f"id {example.id!r} is that of row {first}")
                except ValueError as error:
                    raise UserError(f"{path}:{row}: not an example: {error}; build the file again") from error
                examples.append(example)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such dataset file; `toolkit data build` writes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read as UTF-8 text: {error}") from error
    if not examples:
        raise UserError(f"{path}: has no rows; build the file again")
    return examples


def sample_examples(path: Path, n: int) -> list[Example]:
    """At most n examples of a dataset file, in its order: half of them its longest, half spread evenly over it.

    Reads the rest as lines only. Raises UserError as read_examples does.
    """
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.readlines()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such dataset file; `toolkit data build` writes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read: {error}; `toolkit data build` writes one") from error
    if not lines:
        raise UserError(f"{path}: has no rows; build the file again")
    longest = sorted(range(len(lines)), key=lambda row: -len(lines[row]))[: n // 2]
    spread = range(0, len(lines), -(-len(lines) // (n - n // 2)) or 1)
    try:
        return [_example(lines[row]) for row in sorted({*longest, *spread})]
    except ValueError as error:
        raise UserError(f"{path}: holds what is no example: {error}; build the file again") from error


def _example(line: str) -> Example:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"a row must be an object, got {type(row).__name__}")
    return Example.from_json(row)


def file_hash(path: Path) -> str:
    """12 hex digits of the file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def probes(run: Path | None, n: int) -> list[tuple[Message, ...]]:
    """Up to n conversations to compare models on: prompts of the run's test file, or of a fixed list."""
    path = run / "data" / "test.jsonl" if run is not None else None
    if path is not None and path.is_file():
        return [example.messages for example in read_examples(path)[:n]]
    return [({"role": "user", "content": text},) for text in PROBES[:n]]
