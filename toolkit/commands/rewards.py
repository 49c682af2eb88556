"""toolkit rewards: can the rewards of a task be hacked?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from rewards.core import ExitCode, UserError
from toolkit.commands.shared import Json, Seed, SplitName, checked_split, print_json, say

if TYPE_CHECKING:
    from eval.tables import Grid
    from tasks.lint import LintReport

app = typer.Typer(help="Check rewards before a model learns to exploit them.", no_args_is_help=True)
SHOWN = 8


@app.callback()
def rewards() -> None:
    """Without this, a group of one verb would be the verb itself."""


@app.command("lint")
def rewards_lint(
    task: Annotated[str, typer.Argument(help="a built-in task, a .yaml or .py file, or an installed plugin")],
    n: Annotated[int, typer.Option(min=1, help="number of examples")] = 100,
    split: SplitName = "train",
    seed: Seed = 0,
    weight: Annotated[list[str] | None, typer.Option(metavar="REWARD=W", help="as a recipe would set it")] = None,
    max_share: Annotated[
        float, typer.Option(min=0, max=1, help="of the gold's reward that no unsolved completion may earn on average")
    ] = 0.25,
    as_json: Json = False,
) -> None:
    """Score gold, wrong answers and cheats with every reward of a task. Exits with 1 on findings."""
    from dataclasses import replace

    from eval.tables import show
    from tasks.lint import lint_rewards
    from tasks.registry import load_task
    from toolkit.training.rollouts import weighted_rewards

    chosen = load_task(task)
    chosen = replace(chosen, rewards=weighted_rewards(chosen, _weights(weight or [])))
    report = lint_rewards(chosen, n, seed, checked_split(split), max_share, tell=say)
    if as_json:
        print_json(report.to_json())
    else:
        show(_grid(report))
    if report.findings:
        more = len(report.findings) - SHOWN
        rest = [f"and {more} more: --json shows all"] if more > 0 else []
        raise UserError("\n".join([*report.findings[:SHOWN], *rest]), ExitCode.FAULTS)


def _weights(pairs: list[str]) -> dict[str, float]:
    found = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            raise UserError(f"--weight {pair!r}: write REWARD=NUMBER, from 0 on, for instance tag_format=0.1")
        found[name] = weight
    return found


def _grid(report: LintReport) -> Grid:
    from eval.shown import percent
    from eval.tables import Grid

    names = ("metric", *report.weights)
    rows = [
        (
            name,
            str(earned.n),
            *(f"{earned.scores[each]:.2f}" for each in names),
            "" if earned.share is None else percent(earned.share, 0),
        )
        for name, earned in report.earned.items()
    ]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in report.weights.items())
    times = ", ".join(f"{name} {1e6 * took:.0f} µs" for name, took in report.seconds.items())
    lines = [f"weights: {weights}", f"a call: {times}"]
    lines += [] if report.findings else ["no findings"]
    header = ("completion", "n", *names, "of gold's")
    return Grid(f"{report.task}: mean scores over {report.examples} examples", header, tuple(rows), tuple(lines))
