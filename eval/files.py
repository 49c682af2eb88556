"""Files and directories that are either whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eval.redaction import redacted
from rewards.core import UserError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` at the end: nobody, and no kill, meets a half-written one.

    Raises OSError that names `path`, the only one of the two that its writer knows.
    """
    # Not a tempfile: those are for their owner alone, and what is written here others may read.
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            yield scratch
            with scratch.open("rb") as file:
                os.fsync(file.fileno())  # or a machine that goes down could leave the new name with nothing in it
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)) == scratch:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write a text as a whole_file."""
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


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


@contextmanager
def cached_directory(target: Path, mark: str) -> Iterator[Path]:
    """A directory to fill for a cache, where several processes may make the same one: the first stays, as good as any.

    mark: the file that a whole one holds. Raises UserError where `target` is there without it.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as parent:
        scratch = Path(parent) / target.name  # the outer one is for its owner alone, and others share the cache
        scratch.mkdir()
        yield scratch
        let_read(scratch)
        try:
            scratch.replace(target)
        except OSError as error:
            if not (target / mark).is_file():
                raise UserError(f"{target}: holds no {mark}; remove this directory and start again") from error


def let_read(folder: Path) -> None:
    """Let whoever may read a folder read its files: safetensors keeps those that it writes to their owner."""
    readers = folder.stat().st_mode & 0o444
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode | readers)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as indented JSON, secrets masked."""
    write_atomically(path, json.dumps(redacted(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, what: str, keys: Collection[str] = ()) -> dict[str, Any]:
    """Read an object that has these keys. Raises UserError where there is none, with `what` to do about it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {what}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({error}); {what}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: want a JSON object, got {type(value).__name__}; {what}")
    if lacking := [key for key in keys if key not in value]:
        raise UserError(f"{path}: lacks {', '.join(lacking)}; {what}")
    return value
