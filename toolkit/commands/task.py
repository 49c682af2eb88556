"""toolkit task: list and check tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rewards.core import ExitCode, UserError
from toolkit.commands.shared import Json, Seed, print_json, say

if TYPE_CHECKING:
    from tasks.check import TaskReport

app = typer.Typer(help="List and check tasks.", no_args_is_help=True)


@app.command("list")
def task_list(as_json: Json = False) -> None:
    """Name every task that is built in or installed."""
    from tasks.registry import task_names

    if as_json:
        print_json(dict(task_names()))
        return
    for name, description in task_names():
        print(f"{name}\t{description}")


@app.command("check")
def task_check(
    task: Annotated[str, typer.Argument(help="the task to check")],
    n: Annotated[int, typer.Option(min=1, help="examples of each split")] = 2000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Check a task without a model: gold scores full marks, cheats don't, splits are disjoint, builds repeat."""
    from tasks.check import inspect_task
    from tasks.registry import load_task

    report = inspect_task(load_task(task), n, seed, say)
    if as_json:
        counts = {
            split: {
                "examples": some.examples,
                "groups": some.groups,
                "tags": {tag: dict(n) for tag, n in some.tags.items()},
            }
            for split, some in report.counts.items()
        }
        print_json({"counts": counts, "problems": report.problems})
    else:
        _print_counts(report)
    if report.problems:
        raise UserError("\n".join(report.problems), ExitCode.FAULTS)
    if not as_json:
        print("no problems found")


def _print_counts(report: TaskReport) -> None:
    for split, counts in report.counts.items():
        print(f"{split}: {counts.examples} examples, {counts.groups} groups")
        for tag, values in counts.tags.items():
            print(f"  {tag}: " + ", ".join(f"{value} {count}" for value, count in sorted(values.items())))
