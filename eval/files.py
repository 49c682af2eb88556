"""Files that are either whole or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.redaction import redacted
from rewards.core import UserError


def write_atomically(path: Path, text: str) -> None:
    """Write beside the file, then rename: a reader, or a kill, never meets a half-written one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as indented JSON, secrets masked."""
    write_atomically(path, json.dumps(redacted(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read an object. Raises UserError that says `what` is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {what}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({error}); {what}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: want a JSON object, got {type(value).__name__}; {what}")
    return value
