"""Can the rewards of a task be hacked? Every reward meets gold, wrong answers and cheats before a model does.

A policy finds whatever earns: what a completion without a solution earns here is what training may end with.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rewards.core import Example, Reward, UserError
from rewards.response import render
from tasks import timing
from tasks.base import Split, Task
from tasks.cheats import ODD_TEXTS, cheats, guesses, wrong_answers
from tasks.contract import Problems
from tasks.judge import METRIC, Earned, Hack, Judge, Shot
from tasks.pace import Pace, pace_of
from tasks.timing import check_growth, limited_score

MAX_SHARE = 0.25  # of the gold's reward, that a completion without a solution may earn on average


@dataclass(frozen=True, slots=True)
class LintReport:
    """hacks (the worst first) and problems: the findings. earned: what each kind of completion gets. seconds: of the
    median call, by reward.
    """

    task: str
    examples: int
    weights: Mapping[str, float]
    hacks: tuple[Hack, ...]
    problems: tuple[str, ...]
    earned: Mapping[str, Earned]
    seconds: Mapping[str, float]

    @property
    def findings(self) -> list[str]:
        """One line each; none for rewards that are fit to train on."""
        return [*self.problems, *(hack.line for hack in self.hacks)]

    def to_json(self) -> dict[str, Any]:
        """A plain dict, findings included."""
        return {**asdict(self), "findings": self.findings}


@dataclass(slots=True)
class _Scorers:
    """The task's metric and rewards, and what they did so far."""

    task: Task
    problems: Problems = field(default_factory=Problems)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def named(self) -> dict[str, Reward]:
        return {METRIC: self.task.metric} | {name: reward for name, (reward, _) in self.task.rewards.items()}

    def shoot(self, example: Example, completion: str) -> Shot:
        """Score with all; what breaks the contract counts 0 and becomes a problem."""
        return Shot(example, completion, {name: self._score(name, completion, example) for name in self.named()})

    def _score(self, name: str, completion: str, example: Example) -> float:
        started = time.perf_counter()
        score = limited_score(name, self.named()[name], completion, example, self.problems)
        if name not in self.problems.hung:
            self.seconds[name].append((time.perf_counter() - started) / 2)  # it calls twice
        return 0.0 if score is None else float(score)

    def total(self, shot: Shot) -> float:
        return sum(weight * shot.scores[name] for name, (_, weight) in self.task.rewards.items())


def lint_rewards(
    task: Task,
    n: int = 100,
    seed: int = 0,
    split: Split = "train",
    max_share: float = MAX_SHARE,
    timed: bool = True,
    chance: bool = True,
    tell: Callable[[str], None] | None = None,
) -> LintReport:
    """Score gold, wrong answers and cheats of n examples with the metric and every reward, under the task's weights.

    max_share: the share of the gold's reward, in [0, 1], that a completion without a solution may earn on average.
    timed: slow rewards, and those whose time grows faster than the text, are problems; a busy machine may be at fault.
    chance: too many right guesses are a hack; of few examples they may be luck. tell: gets a line where it takes long.
    Raises UserError for a split without examples, and what a reward itself raises as one.
    """
    examples = list(task.examples(split, n, seed))
    if not examples:
        raise UserError(f"task {task.name!r} has no examples in split {split!r}; choose another with --split")
    if not task.rewards:
        raise UserError(f"task {task.name!r} has no rewards: there is nothing to train on, nor to lint")
    if tell is not None and (warning := lint_pace(task, examples).warning(len(examples), len(examples))):
        tell(warning)
    scorers = _Scorers(task)
    golds = {each.id: _check_gold(scorers, each) for each in examples}
    others = _others(examples)
    constant = guesses(examples)
    cheating = _shots(scorers, examples, lambda example: cheats(example, others))
    guessed = _shots(scorers, examples, lambda example: constant)
    wrong = _shots(scorers, examples, lambda example: wrong_answers(example, others))
    judge = Judge(scorers.total, golds, max_share, chance)
    hacks = [judge.cheat(name, shots) for name, shots in cheating.items()]
    hacks += [judge.guess(name, shots) for name, shots in guessed.items()]
    hacks += [judge.wrong(name, shots) for name, shots in judge.beyond_tolerance(wrong).items()]
    _check_odd_texts(scorers, examples[0])
    _check_order(scorers, [shot for shots in cheating.values() for shot in shots[:3]])
    seconds = {name: median(some) for name, some in scorers.seconds.items()}
    if timed:
        _check_times(scorers, examples, seconds)
    everything = {"the gold": list(golds.values()), **cheating, **guessed, **wrong}
    return LintReport(
        task=task.name,
        examples=len(examples),
        weights={name: weight for name, (_, weight) in task.rewards.items()},
        hacks=tuple(sorted((hack for hack in hacks if hack is not None), key=lambda hack: -hack.share)),
        problems=tuple(scorers.problems.lines()),
        earned={name: judge.earned(shots) for name, shots in everything.items()},
        seconds=seconds,
    )


def lint_pace(task: Task, examples: Sequence[Example]) -> Pace:
    """How fast the task's scorers are, and how often each example has them called."""
    first, others = examples[0], _others(examples)
    cheating = sum(1 for _ in cheats(first, others))
    each = 1 + cheating + len(guesses(examples)) + sum(1 for _ in wrong_answers(first, others))
    return pace_of(_Scorers(task).named(), examples, 2 * each, 2 * (len(ODD_TEXTS) + 3 * cheating))


def _others(examples: Sequence[Example]) -> list[str]:
    return list(dict.fromkeys(answer for example in examples for answer in example.answers))[:8]


def _check_times(scorers: _Scorers, examples: Sequence[Example], seconds: Mapping[str, float]) -> None:
    for name, scorer in scorers.named().items():
        if name not in scorers.problems.hung:
            check_growth(name, scorer, examples[0], scorers.problems)
    for name, took in seconds.items():
        if took > timing.SLOW_CALL and name not in scorers.problems.hung:
            scorers.problems.add(f"{name} takes {1000 * took:.0f} ms a call", f"{len(examples)} examples")


def _check_gold(scorers: _Scorers, example: Example) -> Shot:
    shot = scorers.shoot(example, render(example.reasoning, example.answers[0]))
    for name, score in shot.scores.items():
        if score != 1:
            detail = f", got {score} for {shot.completion[:200]!r}"
            scorers.problems.add(f"the gold must score 1.0 with {name}", example.id, detail)
    return shot


def _shots(scorers: _Scorers, examples: Sequence[Example], made: Any) -> dict[str, list[Shot]]:
    found: dict[str, list[Shot]] = defaultdict(list)
    for example in examples:
        texts: Iterable[tuple[str, str]] = made(example)
        for name, completion in texts:
            found[name].append(scorers.shoot(example, completion))
    return found


def _check_odd_texts(scorers: _Scorers, example: Example) -> None:
    for text in ODD_TEXTS:
        scorers.shoot(example, text)


def _check_order(scorers: _Scorers, shots: Sequence[Shot]) -> None:
    """Scores must not depend on what was scored before."""
    for shot in reversed(shots):
        again = scorers.shoot(shot.example, shot.completion)
        for name, score in again.scores.items():
            if score != shot.scores[name]:
                detail = f": {shot.scores[name]}, later {score}, on {shot.completion[:200]!r}"
                scorers.problems.add(f"{name} depends on what was scored before", shot.example.id, detail)
