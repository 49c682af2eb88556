"""toolkit sft, grpo, run: the stages of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from rewards.core import UserError
from toolkit.commands.shared import (
    ChatTemplate,
    Json,
    Recipe,
    Set,
    command_line,
    next_line,
    print_json,
    say,
    with_template,
)

app = typer.Typer()


@app.command()
def sft(config: Recipe, chat_template: ChatTemplate = None, overrides: Set = None) -> None:
    """Build the data of a recipe and train its SFT stage: an adapter, or all weights."""
    chosen = with_template(overrides, chat_template)
    trained = _stages(config, chosen, until="sft")
    scan, then, whole = (next_line(verb, config, chosen, trained.dir) for verb in ("scan", "grpo", "run"))
    _say_where(trained, "sft", f"{scan}, then {then}; or all at once: {whole}" if trained.recipe.grpo else whole)


@app.command()
def grpo(config: Recipe, overrides: Set = None) -> None:
    """Train the GRPO stage of a recipe, going on from its SFT stage."""
    trained = _stages(config, overrides, until="grpo")
    _say_where(trained, "grpo", next_line("run", config, overrides, trained.dir))


@app.command()
def run(config: Recipe, chat_template: ChatTemplate = None, overrides: Set = None, as_json: Json = False) -> None:
    """Run every stage of a recipe that isn't done yet, print the outcome, and leave report.html."""
    from toolkit.page.render import write_report
    from toolkit.report import outcome_json, print_outcome

    done = _stages(config, with_template(overrides, chat_template))
    code = int(done.facts("compare")["exit_code"]) if done.recipe.task is not None else 0
    if as_json:
        print_json(outcome_json(done))
    else:
        print_outcome(done)
    say(f"the report: {write_report([done.dir])}")
    raise typer.Exit(code)


@app.command()
def preflight(config: Recipe, overrides: Set = None) -> None:
    """Build the data and check what a recipe's training stages would stumble over. Exits with 2 on a problem."""
    from toolkit.rundir import opened, recipe_of
    from toolkit.stages import ensure, stages_of
    from toolkit.training.launch import SEVERAL
    from toolkit.training.preflight import preflight as check

    recipe = recipe_of(config, overrides or [])
    stages = [stage for stage in stages_of(recipe) if stage in SEVERAL]
    problems = []
    with opened(recipe) as run:
        ensure(run, "data", say)
        for stage in stages:
            try:
                check(run, stage, say)
            except UserError as error:
                problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))


def _refuse_early(run: Any, stages: list[str]) -> None:
    """What a training's own preflight would end on, before the evaluation of the base is paid for."""
    from toolkit.training.launch import SEVERAL
    from toolkit.training.preflight import preflight as check

    for stage in stages:
        if stage in SEVERAL:
            say(f"{stage} preflight: …")
            check(run, stage, lambda line: None)  # the stage says it all


def _say_where(trained: Any, stage: str, further: str) -> None:
    say(f"what was trained: {trained.dir / stage} (its log: {trained.dir / 'logs' / stage}.log)")
    say(f"next: {further}")


def _stages(config: Path, overrides: list[str] | None, until: str | None = None) -> Any:
    from toolkit.rundir import opened, recipe_of
    from toolkit.stages import ensure, refuse_what_cannot_run, stages_of

    recipe = recipe_of(config, overrides or [])
    stages = stages_of(recipe)
    if until is not None and until not in stages:
        raise UserError(f"{config}: has no section {until!r}; add one, or use another verb")
    before = [] if until is None else [name for name in stages[: stages.index(until)] if name in ("data", "sft")]
    with opened(recipe) as run:
        if until == "grpo" and "sft" in before and not run.is_done("sft"):
            first = command_line("sft", config, overrides)
            raise UserError(f"{run.dir} has no finished SFT stage to go on from; first: {first}")
        to_do = stages if until is None else [*before, until]
        refuse_what_cannot_run(run, to_do)
        for stage in to_do:
            if stage == "eval-base" and not run.is_done(stage):
                _refuse_early(run, to_do)
            ensure(run, stage, say)
    return run
