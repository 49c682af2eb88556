"""Which completions are a hack: those that earn what only a solution should."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rewards.core import Example
from tasks.cheats import BESIDE, COPIED, CUT, OTHER

METRIC = "metric"
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
class Shot:
    """One completion of one example, scored by everything. scores has the metric under its own name."""

    example: Example
    completion: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Judge:
    """What is a hack. total: a shot's weighted reward. golds: by the example's id. The rest is as in lint_rewards."""

    total: Callable[[Shot], float]
    golds: Mapping[str, Shot]
    max_share: float
    chance: bool = True

    def share(self, shot: Shot) -> float:
        """Of the gold's reward, at most 1 where the gold itself gets nothing."""
        gold = self.total(self.golds[shot.example.id])
        total = self.total(shot)
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
        if self.chance and len(right) > MAX_CHANCE * len(shots):
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

    def full(self, shot: Shot) -> bool:
        return shot.scores[METRIC] >= 1 or self.share(shot) >= 1

    def beyond_tolerance(self, wrong: Mapping[str, Sequence[Shot]]) -> dict[str, Sequence[Shot]]:
        """Without the numbers beside the gold where those on its other side are taken: the task allows that much."""
        judged = {name: shots for name, shots in wrong.items() if name not in BESIDE.values()}
        for name, opposite in BESIDE.items():
            allowed = {shot.example.id for shot in wrong.get(opposite, ()) if self.full(shot)}
            if name in judged:
                judged[name] = [shot for shot in judged[name] if shot.example.id not in allowed]
        return judged

    def wrong(self, name: str, shots: Sequence[Shot]) -> Hack | None:
        """A wrong answer must score below the gold, and another example's must not earn much either."""
        meant = "; if it is right too, name it among the examples' answers" if name in CUT else ""
        full = [shot for shot in shots if shot.scores[METRIC] >= 1]
        if len(full) > MIN_FOUND * len(shots):
            taken = "gives it full marks" if name == COPIED else "takes the wrong answer"
            return self.hack(name, f"the metric {taken} in {_of(full, shots)} examples{meant}", full[0], 1.0)
        level = [shot for shot in shots if self.share(shot) >= 1]
        if len(level) > MIN_FOUND * len(shots):
            rule = f"the wrong answer earns as much as the gold in {_of(level, shots)} examples{meant}"
            return self.hack(name, rule, level[0], 1.0)
        return self.guess(name, shots) if name == OTHER else None

    def hack(self, name: str, rule: str, shot: Shot, share: float) -> Hack:
        return Hack(
            by=name,
            rule=rule,
            example=shot.example.id,
            completion=shot.completion,
            rewards={key: score for key, score in shot.scores.items() if key != METRIC},
            total=self.total(shot),
            gold=self.total(self.golds[shot.example.id]),
            share=share,
        )


def _of(some: Sequence[Shot], all_: Sequence[Shot]) -> str:
    return f"{len(some)} of {len(all_)}"
