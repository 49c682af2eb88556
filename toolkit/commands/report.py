"""toolkit report: one HTML page on runs and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands.shared import say

app = typer.Typer()


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="run directories, evaluation directories, or both")
    ],
    out: Annotated[
        Path | None, typer.Option(help="the page; default: RUN/report.html, for several ./report.html")
    ] = None,
    examples_mb: Annotated[
        float, typer.Option(min=0, max=100_000, help="million characters that prompts and completions may take")
    ] = 24,
) -> None:
    """Write one self-contained HTML page: verdicts, tables, curves, slices, every example side by side."""
    from toolkit.page.render import write_report

    path = write_report(runs, out, round(examples_mb * 1_000_000))
    print(path)
    say(f"{path.stat().st_size / 1e6:.1f} MB; it needs no network")
