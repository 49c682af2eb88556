"""The command line. The verbs are in toolkit/commands/; each imports what it needs when it runs: help answers at once.

Exit codes: 0 done (compare, run: better or equal), 2 bad input, 10 worse, 11 can't tell, 12 not comparable, 13 an
invalid evaluation, 14 an engine or a training process failed, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from eval.redaction import redact_text
from rewards.core import UserError
from toolkit.commands import (
    data,
    doctor,
    evaluation,
    export,
    gate,
    parity,
    plan,
    predict,
    report,
    rescore,
    rewards,
    scan,
    serve,
    task,
    training,
    ui,
)
from toolkit.commands.shared import say

INTERRUPTED = 130

app = typer.Typer(
    help="Train a small model to reason about one task, and prove that it is better than its base.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(task.app, name="task")
app.add_typer(data.app, name="data")
app.add_typer(training.app)
app.add_typer(plan.app)
app.add_typer(scan.app)
app.add_typer(evaluation.app)
app.add_typer(parity.app)
app.add_typer(report.app)
app.add_typer(gate.app)
app.add_typer(rescore.app)
app.add_typer(rewards.app, name="rewards")
app.add_typer(predict.app)
app.add_typer(doctor.app)
app.add_typer(export.app)
app.add_typer(serve.app)
app.add_typer(ui.app)


def main(arguments: list[str] | None = None) -> None:
    """The console script. Errors that a person can put right are one line each; the rest keeps its traceback."""
    sys.exit(_exit_code(lambda: app(arguments, standalone_mode=True)))


def _exit_code(call: Callable[[], Any]) -> int:
    try:
        call()
    except UserError as error:
        for line in str(error).splitlines():
            say(f"error: {redact_text(line)}")
        return error.exit_code
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer's own answer to Ctrl-C, without a word
            say("interrupted; the same command goes on where it stopped")
        raise
    return 0


if __name__ == "__main__":
    main()
