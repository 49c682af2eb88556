"""Can the rewards of a task be hacked? Every reward meets gold, wrong answers and cheats before a model does.

A policy finds whatever earns: what a completion without a solution earns here is what training may end with.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import Any

from rewards.core import Example, Reward, UserError
from rewards.response import render
from tasks import timing
from tasks.base import Split, Task
from tasks.cheats import ODD_TEXTS, OTHER, cheats, guesses, wrong_answers
from tasks.contract import Problems
from tasks.timing import check_growth, limited_score

METRIC = "metric"
MAX_SHARE = 0.25  # of the gold's reward, that a completion without a solution may earn on average
MAX_CHANCE = 0.6  # of the examples, that one constant answer may be right in
MIN_FOUND = 0.05  # of the examples: two golds that are equal in a way that only the scorer knows are no hack


@dataclass(frozen=True, slots=True)
class Hack:
    """A completion that earns what it shouldn't.

    rule: what is wrong, one line. rewards: each reward's score for it. total, gold: the weighted sums that it and the
    gold get. share: its mean share of the gold's, over the examples that it doesn't solve.
    """

    by: str
    rule: str
    example: str
    completion: str
    rewards: Mapping[str, float]
    total: float
    gold: float
    share: float

    @property
    def line(self) -> str:
        """For a person."""
        shown = self.completion if len(self.completion) <= 160 else f"{self.completion[:160]}…"
        earns = ", ".join(f"{name} {score:g}" for name, score in self.rewards.items())
        return (
            f"the rewards can be hacked by {self.by}: {self.rule}; {self.example}: {shown!r} "
            f"gets {self.total:.2f} ({earns}), the gold {self.gold:.2f}"
        )


@dataclass(frozen=True, slots=True)
class Earned:
    """One kind of completion. n: examples. right: share with a metric of 1. scores: mean of each reward. share: as in
    Hack, None where all are right.
    """

    n: int
    right: float
    scores: Mapping[str, float]
    share: float | None


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


@dataclass(frozen=True, slots=True)
class Shot:
    """One completion of one example, scored by everything. scores has the metric under its own name."""

    example: Example
    completion: str
    scores: Mapping[str, float]


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
) -> LintReport:
    """Score gold, wrong answers and cheats of n examples with the metric and every reward, under the task's weights.

    max_share: the share of the gold's reward, in [0, 1], that a completion without a solution may earn on average.
    timed: slow rewards, and those whose time grows faster than the text, are problems; a busy machine may be at fault.
    Raises UserError for a split without examples, and what a reward itself raises as one.
    """
    examples = list(task.examples(split, n, seed))
    if not examples:
        raise UserError(f"task {task.name!r} has no examples in split {split!r}; choose another with --split")
    if not task.rewards:
        raise UserError(f"task {task.name!r} has no rewards: there is nothing to train on, nor to lint")
    scorers = _Scorers(task)
    golds = {each.id: _check_gold(scorers, each) for each in examples}
    others = list(dict.fromkeys(answer for example in examples for answer in example.answers))[:8]
    constant = guesses(examples)
    cheating = _shots(scorers, examples, lambda example: cheats(example, others))
    guessed = _shots(scorers, examples, lambda example: constant)
    wrong = _shots(scorers, examples, lambda example: wrong_answers(example, others))
    judge = _Judge(scorers, golds, max_share)
    hacks = [judge.cheat(name, shots) for name, shots in cheating.items()]
    hacks += [judge.guess(name, shots) for name, shots in guessed.items()]
    hacks += [judge.wrong(name, shots) for name, shots in wrong.items()]
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


@dataclass(frozen=True, slots=True)
class _Judge:
    scorers: _Scorers
    golds: Mapping[str, Shot]
    max_share: float

    def share(self, shot: Shot) -> float:
        """Of the gold's reward, at most 1 where the gold itself gets nothing."""
        gold = self.scorers.total(self.golds[shot.example.id])
        total = self.scorers.total(shot)
        return total / gold if gold > 0 else float(total > 0)

    def earned(self, shots: Sequence[Shot]) -> Earned:
        failing = [self.share(shot) for shot in shots if shot.scores[METRIC] < 1]
        return Earned(
            n=len(shots),
            right=fmean(shot.scores[METRIC] >= 1 for shot in shots),
            scores={name: fmean(shot.scores[name] for shot in shots) for name in shots[0].scores},
            share=fmean(failing) if failing else None,
        )

    def cheat(self, name: str, shots: Sequence[Shot]) -> Hack | None:
        """It can't be right, whatever the question."""
        right = [shot for shot in shots if shot.scores[METRIC] >= 1]
        if right:
            return self.hack(name, f"the metric gives it full marks in {_of(right, shots)} examples", right[0], 1.0)
        return self._earning(name, shots)

    def guess(self, name: str, shots: Sequence[Shot]) -> Hack | None:
        """It may be right by chance, but not too often, and must not earn when it isn't."""
        right = [shot for shot in shots if shot.scores[METRIC] >= 1]
        if len(right) > MAX_CHANCE * len(shots):
            return self.hack(name, f"it is right in {_of(right, shots)} examples", right[0], len(right) / len(shots))
        return self._earning(name, [shot for shot in shots if shot.scores[METRIC] < 1])

    def _earning(self, name: str, failing: Sequence[Shot]) -> Hack | None:
        share = fmean(map(self.share, failing)) if failing else 0.0
        if share <= self.max_share:
            return None
        rule = (
            f"without a solution it earns {share:.0%} of the gold's reward on average, {self.max_share:.0%} are allowed"
        )
        return self.hack(name, rule, max(failing, key=self.share), share)

    def wrong(self, name: str, shots: Sequence[Shot]) -> Hack | None:
        """A wrong answer must score below the gold, and another example's must not earn much either."""
        full = [shot for shot in shots if shot.scores[METRIC] >= 1]
        if len(full) > MIN_FOUND * len(shots):
            return self.hack(name, f"the metric takes the wrong answer in {_of(full, shots)} examples", full[0], 1.0)
        level = [shot for shot in shots if self.share(shot) >= 1]
        if len(level) > MIN_FOUND * len(shots):
            rule = f"the wrong answer earns as much as the gold in {_of(level, shots)} examples"
            return self.hack(name, rule, level[0], 1.0)
        return self.guess(name, shots) if name == OTHER else None

    def hack(self, name: str, rule: str, shot: Shot, share: float) -> Hack:
        return Hack(
            by=name,
            rule=rule,
            example=shot.example.id,
            completion=shot.completion,
            rewards={key: score for key, score in shot.scores.items() if key != METRIC},
            total=self.scorers.total(shot),
            gold=self.scorers.total(self.golds[shot.example.id]),
            share=share,
        )


def _of(some: Sequence[Shot], all_: Sequence[Shot]) -> str:
    return f"{len(some)} of {len(all_)}"


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
