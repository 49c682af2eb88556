"""What a person watches on stderr: lines as they come; share done, examples a second, time left, exact match so far."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from eval.shown import percent

if TYPE_CHECKING:  # the command line says its first line before it knows whether it will evaluate
    from eval.records import Record

QUIET = "TOOLKIT_QUIET"  # in the environment, so that the processes which training starts are as quiet


def quiet() -> bool:
    """Whether progress isn't wanted (--quiet, or the variable set by hand). Errors and warnings are said anyway."""
    return bool(os.environ.get(QUIET))


def say(line: str) -> None:
    """Progress, for a person: stderr, so that stdout holds results only."""
    if not quiet():
        print(line, file=sys.stderr, flush=True)


@contextmanager
def live(total: int, first: str, enabled: bool) -> Iterator[Callable[[Record], None]]:
    """Give a function to call with each new record; until the first one, the line says `first`.

    Silent when disabled or quiet, or when stderr isn't a terminal.
    """
    if not enabled or quiet() or not sys.stderr.isatty():
        yield lambda record: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    done, right = 0, 0.0
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task(first, total=total, rate="")

        def show(record: Record) -> None:
            nonlocal done, right
            done, right = done + 1, right + record.score
            speed = bar.tasks[0].speed
            bar.update(
                line,
                advance=1,
                description=f"exact {percent(right / done)}",
                rate="" if speed is None else f"{speed:.1f}/s",
            )

        yield show
