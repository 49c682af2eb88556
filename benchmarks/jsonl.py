"""The rows of a JSONL file, for benchmarks and tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """An object a line. Cut at newlines alone: a completion may hold U+2028, which splitlines takes for one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
