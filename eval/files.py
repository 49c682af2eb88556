"""Files and directories that are either whole or absent."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


@contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """A directory to fill, which takes the name and the place of `target` at the end.

    What a killed process left of it is cleared away first. `target` itself, if it is there, is replaced.
    """
    scratch = target.with_name(f".{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        let_read(scratch)
        shutil.rmtree(target, ignore_errors=True)
        scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def let_read(folder: Path) -> None:
    """Let whoever may read a folder read its files: safetensors keeps those that it writes to their owner."""
    readers = folder.stat().st_mode & 0o444
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | readers)


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
