"""The line that a person watches: share done, examples a second, time left, exact match so far."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eval.records import Record


@contextmanager
def live(total: int, first: str, enabled: bool) -> Iterator[Callable[[Record], None]]:
    """Give a function to call with each new record; until the first one, the line says `first`.

    Silent when disabled or when stderr isn't a terminal.
    """
    if not enabled or not sys.stderr.isatty():
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
                description=f"exact {right / done:.1%}",
                rate="" if speed is None else f"{speed:.1f}/s",
            )

        yield show
