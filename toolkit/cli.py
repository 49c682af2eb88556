"""The command line. The verbs are in toolkit/commands/; each imports what it needs when it runs: help answers at once.

Exit codes: 0 done (compare, run: better or equal), 1 what was checked has faults, or some rows no answer, 2 bad input,
10 worse, 11 can't tell, 12 not comparable, 13 an invalid evaluation, 14 an engine or a training process failed, 130
interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from eval.progress import QUIET
from toolkit import __version__
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
from toolkit.commands.road import road
from toolkit.ending import exit_code


class Verbs(TyperGroup):
    """All verbs. Without one, the road is shown, before typer prepares to call anything: it answers at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See TyperGroup."""
        if not args and not ctx.resilient_parsing:
            print(road(self.commands))
            ctx.exit()
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Verbs,
    help="Train a small model to reason about one task, and prove that it is better than its base.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"reasoning-toolkit {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="show it")] = False,
) -> None:
    """Hold what stands before a verb: only --version, which ends before this is called."""


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


def command() -> Any:
    """The whole command line; every verb has --quiet."""
    whole = typer.main.get_command(app)
    quiet = typer.main.get_command(_only_quiet).params[0]
    for _, verb in verbs_of(whole):
        verb.params.append(quiet)
    return whole


def verbs_of(whole: Any, name: str = "toolkit") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name, in the order of the help."""
    if not hasattr(whole, "commands"):
        yield name, whole
        return
    for each, below in whole.commands.items():
        yield from verbs_of(below, f"{name} {each}")


def _be_quiet(wanted: bool) -> None:
    if wanted:
        os.environ[QUIET] = "1"


# typer's own classes of options differ between its versions: let it make this one.
_only_quiet = typer.Typer(add_completion=False)


@_only_quiet.command()
def _quiet(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            callback=_be_quiet,
            expose_value=False,
            help="say nothing but results, warnings and errors",
        ),
    ] = False,
) -> None:
    """Never run: the bearer of the option."""


def main(arguments: list[str] | None = None) -> None:
    """The console script. Errors that a person can put right are one line each; the rest keeps its traceback."""
    sys.exit(exit_code(lambda: command()(arguments, standalone_mode=True)))


if __name__ == "__main__":
    main()
