"""A run directory keeps what it writes inside itself: no stage name and no link leads out of it."""

from __future__ import annotations

import re
from pathlib import Path

from rewards.core import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
DEPTH = 2  # levels that a run writes to: run/NAME/NAME


def file_of(directory: Path, name: str, suffix: str) -> Path:
    """`directory/name+suffix`. Raises UserError for a name that is a path of its own."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name of a stage: letters, digits, - and _ make one")
    return directory / f"{name}{suffix}"


def refuse_links_out(run: Path, depth: int = DEPTH) -> None:
    """Raise UserError where a link in a run directory leads out of it: writing there would change other files.

    depth: levels that are looked at.
    """
    if not run.is_dir():
        return
    root = run.resolve()
    level = [run]
    for _ in range(depth):
        entries = [entry for folder in level for entry in folder.iterdir()]
        for entry in entries:
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise UserError(
                    f"{entry} is a link to {entry.resolve()}, outside the run directory; a run writes only inside it. "
                    "Remove the link, or make the whole run directory a link"
                )
        level = [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]
