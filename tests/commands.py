"""What a command printed and how it ended, for tests; the fixtures are in conftest.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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
