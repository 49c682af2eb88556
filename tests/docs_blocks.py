"""The commands in docs/**/*.md and in the README. A block of code that holds one is run, unless a comment before it
says why not:

<!-- not run: REASON -->    <!-- slow -->    <!-- run by tests/test_….py -->

A command that shall fail ends with `# exit N`. CSV or YAML after a line such as "for instance `my.csv`:" is that file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = r"(?:\.venv/bin/)?(?:toolkit|python3?|make|pip|uv|vllm|pytest|mkdocs|accelerate|git|curl|bash|scripts/\S+)"
COMMAND = re.compile(rf"((?:[A-Z_]+=\S+ )*{PROGRAMS}(?: .*|$))")
FILE = re.compile(r".*`([\w.-]+\.(?:csv|yaml))`.*:")
DIRECTIVE = re.compile(r"<!-- (not run: .+|slow|run by tests/\w+\.py) -->")
SHELLS = ("bash", "console", "sh", "shell", "")  # the languages of blocks that commands may stand in


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: its page, the number of its first line, its language (None: indented), what stands before it."""

    page: Path
    line: int
    language: str | None
    lines: tuple[str, ...]
    before: str

    @property
    def place(self) -> str:
        """For a person: page and line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def directive(self) -> str:
        """What the comment before it says, or nothing."""
        found = DIRECTIVE.fullmatch(self.before)
        return found[1] if found else ""

    @property
    def file(self) -> str:
        """The file whose content it shows, named in the line before it, or nothing."""
        found = FILE.fullmatch(self.before) if self.language in ("csv", "yaml") else None
        return found[1] if found else ""

    def _command(self, line: str) -> str:
        """The command on a line, or nothing: in a block of bash every line is one, else what looks like one."""
        if self.language in ("bash", "sh", "shell"):
            return "" if line.startswith("#") else line
        if line.startswith("$ "):
            return line[2:]
        found = COMMAND.fullmatch(line)
        return found[1] if found else ""

    def commands(self) -> list[str]:
        """The commands in it, lines that go on joined."""
        if self.language is not None and self.language not in SHELLS:
            return []
        found: list[str] = []
        going_on = False
        for line in self.lines:
            if going_on:
                found[-1] += " " + line.strip().removesuffix("\\").strip()
            elif command := self._command(line.strip()):
                found.append(command.removesuffix("\\").strip())
            going_on = line.rstrip().endswith("\\") and bool(found)
        return found


def pages() -> list[Path]:
    """Every page that a person wrote."""
    return sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "reference")


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, fenced and indented, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    before, place = "", 0
    while place < len(lines):
        line, start = lines[place], place
        if fence := re.fullmatch(r"```(\S*).*", line):
            place += 1
            while place < len(lines) and not lines[place].startswith("```"):
                place += 1
            yield Block(page, start + 1, fence[1], tuple(lines[start + 1 : place]), before)
            before = ""
        elif line.startswith("    ") and (place == 0 or not lines[place - 1].strip()):
            while place + 1 < len(lines) and (lines[place + 1].startswith("    ") or not lines[place + 1].strip()):
                place += 1
            yield Block(page, start + 1, None, tuple(each[4:] for each in lines[start : place + 1]), before)
            before = ""
        elif line.strip():
            before = line.strip()
        place += 1
