"""Keep the libraries' chatter out of the terminal without losing it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from eval.redaction import scrub
from rewards.core import UserError


@contextmanager
def output_to(log: Path) -> Iterator[TextIO]:
    """Append all that is written to stdout and stderr to `log`; give a file that still writes to the terminal.

    It works on file descriptors: progress bars, warnings and messages from compiled code don't go through sys.stdout.
    Raises UserError where the log can't be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{log}: can't be written: {error.strerror} (TOOLKIT_CACHE moves what is in the cache)"
        ) from error
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    terminal = os.fdopen(os.dup(2), "w", encoding="utf-8")
    with file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in zip((1, 2), kept, strict=True):
                os.dup2(original, descriptor)
                os.close(original)
            terminal.close()
            scrub(log)
