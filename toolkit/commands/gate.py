"""toolkit baseline, gate, noise: hold a model's quality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewards.core import UserError
from toolkit.commands.shared import Json, print_json, refuse_input, say

app = typer.Typer()
baseline = typer.Typer(help="Write the baseline that a gate compares with.", no_args_is_help=True)
app.add_typer(baseline, name="baseline")


@baseline.command("write")
def baseline_write(
    run: Annotated[Path, typer.Argument(help="directory of a finished evaluation")],
    out: Annotated[Path, typer.Option(help="the JSON file to write, and to commit")],
) -> None:
    """Write the scores of an evaluation, an example a line, without its texts."""
    from eval.gating.scores import write_baseline

    try:
        scores = write_baseline(run, out)
    except OSError as error:
        raise UserError(f"{out}: can't be written: {error.strerror}") from error
    say(f"{out}: {scores.model} on {len(scores.items)} examples of {scores.identity['task']}")
    counts = scores.completions
    if counts.truncated:
        say(f"note: {counts.truncated} of {counts.found} completions are truncated")


@app.command()
def gate(
    run: Annotated[Path, typer.Option(help="evaluation directory of the model in question")],
    gates: Annotated[Path, typer.Option(help="the claims, gates.toml")],
    baseline: Annotated[
        Path | None, typer.Option(help="file of `toolkit baseline write`, or an evaluation directory")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="JUnit XML to write")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Markdown to write, for a pull request")] = None,
    as_json: Json = False,
) -> None:
    """Hold an evaluation to the claims of gates.toml.

    Exits with 0 pass, 10 fail, 11 inconclusive, 12 not comparable, 13 invalid run, 14 unfinished or unreadable.
    """
    from eval.files import write_atomically
    from eval.gating.reports import report_grid, to_junit, to_markdown
    from eval.gating.rules import Rules
    from eval.gating.verdicts import Report, check
    from eval.tables import show

    read = [gates] if baseline is None else [gates, baseline]
    refuse_input(junit, "--junit", read)
    refuse_input(markdown, "--markdown", read)

    def write(report: Report) -> None:
        for path, text in ((junit, to_junit), (markdown, to_markdown)):
            if path is not None:
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(path, text(report))
                except OSError as error:
                    raise UserError(f"{path}: can't be written: {error.strerror}") from error

    try:
        report = check(gates, run, baseline)
    except UserError as error:  # what publishes the files must not find those of an earlier run
        write(Report("infrastructure", Rules(()), "", str(baseline or ""), str(run), reasons=(str(error),)))
        raise
    write(report)
    if as_json:
        print_json(report.to_json())
    else:
        show(report_grid(report))
    raise typer.Exit(report.exit_code)


@app.command()
def noise(
    first: Annotated[Path, typer.Argument(help="directory of an evaluation")],
    second: Annotated[Path, typer.Argument(help="the same model again: other order, batch size or engine")],
    out: Annotated[Path | None, typer.Option(help="JSON file, for `toolkit compare --noise`")] = None,
    as_json: Json = False,
) -> None:
    """How far do two evaluations of one model lie apart? The noise floor of the measurement."""
    from dataclasses import asdict

    from eval.noise import measure_noise
    from eval.tables import noise_lines

    found = measure_noise(first, second, out)
    if as_json:
        print_json(asdict(found))
        return
    for line in noise_lines(found):
        print(line)
