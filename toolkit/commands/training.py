"""toolkit sft, grpo, run: the stages of a recipe."""

from __future__ import annotations

from collections.abc import Callable
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
    """Build the data and check what a recipe's trainings still to do would stumble over. Exits with 2 on a problem."""
    from toolkit.rundir import opened, recipe_of
    from toolkit.stages import ensure, stages_of

    recipe = recipe_of(config, overrides or [])
    with opened(recipe) as run:
        ensure(run, "data", say)
        _preflights(run, stages_of(recipe), say)


def _preflights(run: Any, stages: list[str], tell: Callable[[str], None]) -> None:
    """Check each training stage that isn't done. Raises UserError with the problems of all of them."""
    from toolkit.training.launch import SEVERAL
    from toolkit.training.preflight import preflight as check

    problems = []
    for stage in stages:
        if stage not in SEVERAL:
            continue
        if run.is_done(stage):
            tell(f"{stage}: done before")
            continue
        try:
            check(run, stage, tell)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))


def _say_where(trained: Any, stage: str, further: str) -> None:
    from toolkit.training.backends import trained_dir

    left = trained_dir(trained.dir / stage, trained.recipe.model.tuning)  # what --model takes
    say(f"what was trained: {left} (its log: {trained.dir / 'logs' / stage}.log)")
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
            if stage == "eval-base" and not run.is_done(stage):  # what would end a training, before this is paid for
                say("preflight: …")
                _preflights(run, to_do, lambda line: None)  # each stage's own says it all
            ensure(run, stage, say)
    return run
