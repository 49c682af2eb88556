"""How a program ends: the errors that a person can put right are one line each, the rest keeps its traceback."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable

from eval.progress import say
from eval.redaction import redact_text
from rewards.core import ExitCode, UserError

FULL = (errno.ENOSPC, errno.EDQUOT)


def exit_code(call: Callable[[], object]) -> int:
    """Call it, say its errors, and give the code to end with: a number that it gives is one."""
    try:
        given = _printed(call)
    except UserError as error:
        for line in str(error).splitlines():
            print(f"error: {redact_text(line)}", file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:  # a full disk, or a path of the person's; else without a name it is a bug's
        if error.errno in FULL:
            where = redact_text(str(error.filename or "what was written"))
            print(f"error: {where}: {error.strerror}; make room, and run the same command again", file=sys.stderr)
            return ExitCode.FAILED
        if error.filename is None or isinstance(error, ConnectionError):
            raise
        print(f"error: {redact_text(str(error.filename))}: {error.strerror}", file=sys.stderr, flush=True)
        return ExitCode.USAGE
    except SystemExit as end:
        if end.code == ExitCode.INTERRUPTED:  # typer's own answer to Ctrl-C, without a word
            say("interrupted; the same command goes on where it stopped")
        raise
    return given if isinstance(given, int) else ExitCode.OK


def _printed(call: Callable[[], object]) -> object:
    """Call it, and write out what it printed: when Python does so at its own end, an error is no longer ours to say."""
    try:
        return call()
    finally:
        try:
            print(end="", flush=True)
        except OSError as error:
            sys.stdout = io.StringIO()  # else Python tries once more
            if not isinstance(error, BrokenPipeError):  # who read it has seen enough
                raise
