"""How a program ends: the errors that a person can put right are one line each, the rest keeps its traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from eval.progress import say
from eval.redaction import redact_text
from rewards.core import ExitCode, UserError


def exit_code(call: Callable[[], object]) -> int:
    """Call it, say its errors, and give the code to end with: a number that it gives is one."""
    try:
        given = call()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"error: {redact_text(line)}", file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:  # a path of the person's, or a full disk; without a name it is a bug's
        if error.filename is None or isinstance(error, ConnectionError):
            raise
        print(f"error: {redact_text(str(error.filename))}: {error.strerror}", file=sys.stderr, flush=True)
        return ExitCode.USAGE
    except SystemExit as end:
        if end.code == ExitCode.INTERRUPTED:  # typer's own answer to Ctrl-C, without a word
            say("interrupted; the same command goes on where it stopped")
        raise
    return given if isinstance(given, int) else ExitCode.OK
