"""The outcome of a run as one table: base, SFT and tuned on the held-out examples, and the comparison's verdict."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from typing import Any

from eval.compare import COMPARISON, read_comparison
from eval.shown import interval, p_is, percent
from eval.summary import Slice, Summary, read_summary
from eval.tables import Grid, show
from rewards.core import UserError
from toolkit.config import Recipe
from toolkit.predict import asked, moment_fields, moment_of
from toolkit.rundir import Run
from toolkit.stages import task_of

MOMENT, SAMPLE = "2025-01-17", "Послезавтра в 12"  # for a prompt that states the moment
ROWS = (("base", "base"), ("sft", "SFT"), ("tuned", "SFT+GRPO"))


def print_outcome(run: Run) -> None:
    """Print the table (of a run with a task), and below it where the model is and how to ask it."""
    lines = (f"the model: {run.dir / 'model'}", f"try it: {_asking(run)}")
    if run.recipe.task is None:  # conversations alone: no reward, nothing to compare
        print("\n".join(lines))
    else:
        grid = outcome_grid(run)
        show(replace(grid, lines=(*grid.lines, *lines)))


def _asking(run: Run) -> str:
    """The command that asks the model what a stranger types; or that serves it, where its task has no such question."""
    model = shlex.quote(str(run.dir / "model"))
    task = None if run.recipe.task is None else task_of(run.recipe)
    if task is not None and task.ask is None:
        return f"toolkit serve {model}"
    question = '"TEXT"'
    with suppress(UserError):  # a task may take other texts only
        if task is not None and moment_fields(task) and asked(task, SAMPLE, moment_of(MOMENT, "")):
            question = f'--now {MOMENT} "{SAMPLE}"'
    return f"toolkit predict --model {model} {question}"


def outcome_json(run: Run) -> dict[str, Any]:
    """The same for a program: where the model is, the summaries by model, the comparison (None without a task)."""
    folders = {name: run.dir / "eval" / name for name, _ in ROWS}
    return {
        "run": str(run.dir),
        "model": str(run.dir / "model"),
        "evaluations": {name: read_summary(each).to_json() for name, each in folders.items() if each.is_dir()},
        "comparison": read_comparison(run.dir) if (run.dir / COMPARISON).is_file() else None,
    }


def outcome_grid(run: Run) -> Grid:
    """A row a model, a column for all examples and for each language where the task tags one; the verdict below.

    It reads the run's files alone: a run whose task is gone still has its outcome.
    """
    rows = []
    langs: list[str] = []
    invalid: list[str] = []
    n = 0
    for name, title in ROWS:
        title = trained_title(run.recipe) if name == "tuned" else title
        folder = run.dir / "eval" / name
        if folder.is_dir():
            summary = read_summary(folder)
            langs = langs or sorted(summary.by_tag.get("lang", {}), reverse=True)
            n = summary.overall.n
            rows.append(_row(title, summary, langs))
            invalid += [f"{title} is invalid: {reason}" for reason in summary.invalid]
    header = ("model", "exact", "95% CI", *(f"exact {lang}" for lang in langs), "format", "truncated", "tokens")
    verdict = read_comparison(run.dir)
    p = "" if verdict["p"] is None else f", exact McNemar {p_is(verdict['p'])}"
    difference = verdict["overall"]
    lines = (
        f"tuned against base: {verdict['verdict']}"
        + (
            f", {100 * difference['difference']:+.1f} points "
            f"({100 * difference['low']:+.1f} to {100 * difference['high']:+.1f}){p}"
            if difference
            else f": {'; '.join(verdict['reasons'])}"
        ),
        *invalid,
    )
    return Grid(f"{run.recipe.task}: {n} held-out examples", header, tuple(rows), lines)


def trained_title(recipe: Recipe) -> str:
    """What the tuned model of a recipe is called: by the stages that trained it."""
    return "+".join(stage.upper() for stage in ("sft", "grpo") if getattr(recipe, stage) is not None)


def _row(title: str, summary: Summary, langs: list[str]) -> tuple[str, ...]:
    overall: Slice = summary.overall
    by_lang = [percent(summary.by_tag["lang"][lang].exact.value) for lang in langs]
    return (
        title,
        percent(overall.exact.value),
        interval(overall.exact.low, overall.exact.high),
        *by_lang,
        percent(overall.format.value),
        percent(overall.truncated.value),
        f"{overall.tokens:.0f}",
    )
