"""What a command printed, how it ended, and what it left, for tests; the fixtures are in conftest.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what was wrong."""
        assert "Traceback" not in self.err
        assert self.code != 0
        (line,) = [line for line in self.err.splitlines() if line.startswith(("error: ", "Error: "))]
        return line.partition(": ")[2]


Toolkit = Callable[..., Done]


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
