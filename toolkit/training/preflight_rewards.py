"""The preflight's checks of what GRPO learns from: the rewards, and whether groups differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from eval.progress import say
from eval.shown import percent
from tasks.base import Task
from tasks.lint import LintReport, lint_pace, lint_rewards
from tasks.pace import clock
from toolkit.data import sample_examples
from toolkit.doctor.findings import Finding, fine
from toolkit.rundir import Run
from toolkit.scan import FEW_DEAD, MANY_DEAD, REPORT, stored_scan, weights_of
from toolkit.stages import task_of
from toolkit.training.preflight_messages import found
from toolkit.training.rollouts import weighted_rewards

LINTED = 48  # examples: half a second
LEAST = 2  # of slow rewards: one example has no other's answer
LINT_SECONDS = 10.0  # that slow rewards may take for their examples, beyond the least
SHOWN = 4  # findings of the lint; `toolkit rewards lint` shows all
SLOW_STEP = 5.0  # seconds of a step that scoring may take unremarked
ALL_DEAD = 0.95


def check_rewards(run: Run, stage: str) -> Iterator[Finding]:
    """Golds score full marks, cheats don't, nothing raises: the lint, over the run's own examples and weights.

    Without a section grpo nothing learns from the rewards: what can be hacked is then a warning.
    """
    recipe = run.recipe
    path, task = run.dir / "data" / f"{stage}.jsonl", task_of(recipe)
    examples = sample_examples(path, LINTED)
    checked = replace(
        task, rewards=weighted_rewards(task, recipe.rewards), examples=lambda split, n, seed: iter(examples)
    )
    pace, enough = lint_pace(checked, examples), len(examples)
    if few := (n := max(LEAST, pace.within(LINT_SECONDS, enough))) < enough:
        examples = sample_examples(path, n)
        takes = f"which takes up to about {clock(pace.expected(len(examples)))}"
        say(f"{pace.slowest}: the rewards meet {len(examples)} examples, not {enough}, {takes}")
    report = lint_rewards(checked, LINTED, recipe.seed, timed=False, chance=not few)
    values = {"task": recipe.task}
    for line in report.problems[:SHOWN]:
        yield found("rewards", "reward-unsound", finding=line, **values)
    for hack in report.hacks[:SHOWN]:
        finding = found("rewards", "reward-hackable", finding=hack.line, **values)
        yield finding if recipe.grpo is not None else replace(finding, level="warning")
    yield from _speed(run, checked, report)


def _speed(run: Run, task: Task, report: LintReport) -> Iterator[Finding]:
    seconds = {name: report.seconds.get(name, 0.0) for name in task.rewards}
    each = max(sum(seconds.values()), 1e-9)
    if not report.findings:
        sound = f"{report.examples} golds score full marks, {len(report.earned) - 1} kinds of cheats don't"
        yield fine("rewards", f"{sound}; {1 / each:,.0f} completions/s")
    grpo = run.recipe.grpo
    if grpo is None:
        return
    if grpo.sampled * each > SLOW_STEP:
        slowest = max(seconds, key=lambda name: seconds[name])
        yield found(
            "speed",
            "reward-slow",
            completions=grpo.sampled,
            seconds=grpo.sampled * each,
            slowest=slowest,
            milliseconds=1000 * seconds[slowest],
        )


def check_groups(run: Run) -> Iterator[Finding]:
    """What the stored scan says of dead groups; where there is none, how to get it."""
    grpo = run.recipe.grpo
    assert grpo is not None
    if (report := stored_scan(run)) is None:
        yield fine(
            "groups", "no scan is stored: `toolkit scan CONFIG` tells the share of groups that would teach nothing"
        )
        return
    share = report["dead"].get(str(grpo.generations))
    if share is None or grpo.scan is not None:  # of another recipe's groups, or the prompts were chosen by the scan
        yield fine("groups", f"a scan is stored: {run.dir / 'scan' / REPORT}")
        return
    if "weights" in report and report["weights"] != weights_of(task_of(run.recipe), run.recipe):
        numbers = f"--prompts {report['prompts']} --samples {report['samples']} --temperature {report['temperature']!r}"
        again = f"`toolkit scan CONFIG {numbers}` judges it again, without asking"
        yield fine("groups", f"the stored scan was judged under other weights of the rewards; {again}")
        return
    values = {"share": share, "generations": grpo.generations, "advice": "; ".join(report["advice"])}
    if share >= ALL_DEAD:
        yield found("groups", "groups-dead", **values)
    elif share > (MANY_DEAD if grpo.extra_prompts else FEW_DEAD):
        yield found("groups", "groups-mostly-dead", **values)
    else:
        yield fine(
            "groups", f"{percent(share, 0)} of the groups of {grpo.generations} would be dead, by the stored scan"
        )
