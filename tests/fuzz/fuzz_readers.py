"""Coverage-guided fuzzing of the same readers, for as long as one likes: needs atheris (pip install atheris).

python tests/fuzz/fuzz_readers.py -max_total_time=60
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["rewards", "tasks", "toolkit", "eval"]):
    from eval.redaction import redact_text
    from rewards.core import Example, UserError
    from rewards.datetimes import exact_datetime
    from rewards.response import render
    from tasks.tables.rows import BadValue
    from tasks.tables.shapes import checked, turns_of
    from tasks.tables.source import open_source
    from toolkit.config import load_recipe

EXAMPLE = Example("1", ({"role": "user", "content": "?"},), ("2025-01-17T12:00:00+03:00",))
FOLDER = Path(gettempdir())
SUFFIXES = (".csv", ".json", ".jsonl", ".yaml")


def one(data: bytes) -> None:
    """The first byte chooses the file's kind; the rest is its content, and a completion, and a cell."""
    text = data[1:].decode("utf-8", "surrogateescape")
    exact_datetime(text, EXAMPLE)
    exact_datetime(render("", text), EXAMPLE)
    redact_text(text)
    with suppress(BadValue):
        checked(turns_of(text))
    path = FOLDER / f"fuzz{SUFFIXES[data[0] % len(SUFFIXES) if data else 0]}"
    path.write_bytes(data[1:])
    with suppress(UserError):
        if path.suffix == ".yaml":
            load_recipe(path)
        else:
            for _ in open_source(str(path)).rows():
                pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
