"""toolkit plan: what a run will take, and how it will train, before it starts."""

from __future__ import annotations

from typing import Annotated

import typer

from rewards.core import ExitCode
from toolkit.commands.shared import Json, Recipe, Set, print_json, say

app = typer.Typer()


@app.command()
def plan(
    config: Recipe,
    overrides: Set = None,
    as_json: Json = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="measure passes of real rows first, and keep the best in the run directory")
    ] = False,
) -> None:
    """Say memory, batch, packing, attention, steps and time of each stage, and why. Exits with 14 if it can't run."""
    from dataclasses import asdict

    from toolkit.config import load_recipe
    from toolkit.models import cache_dir
    from toolkit.planning.plan import lines
    from toolkit.quiet import output_to
    from toolkit.rundir import opened
    from toolkit.stages import ensure, run_probe

    recipe = load_recipe(config, overrides or [])
    if probe:
        with opened(recipe) as run:
            ensure(run, "data", say)
            run_probe(run, say)
    with output_to(cache_dir() / "plan.log"):  # what the libraries print when they are imported
        from toolkit.training.planner import make_plan

        found = make_plan(recipe, str(config))
    if as_json:
        print_json({**asdict(found), "can_run": found.can_run})
    else:
        print("\n".join(lines(found)))
    raise typer.Exit(ExitCode.OK if found.can_run else ExitCode.FAILED)
