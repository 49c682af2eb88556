"""What every reward owes its callers: a number in [0, 1], the same one each time, for any text."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from numbers import Real

from rewards.core import Example, Reward

SIGNATURE = "a reward is `def f(completion: str, example: Example) -> float`"


@dataclass(slots=True)
class Problems:
    """Problems by kind: the first example of each is shown, the others are counted.

    hung: the scorers that were given up (`tasks.timing.limited_score`).
    """

    first: dict[str, str] = field(default_factory=dict)
    more: Counter[str] = field(default_factory=Counter)
    hung: set[str] = field(default_factory=set)

    def add(self, kind: str, where: str, detail: str = "") -> None:
        """Note a problem of this kind at an example or a split."""
        if kind in self.first:
            self.more[kind] += 1
        else:
            self.first[kind] = f"{where}: {kind}{detail}"

    def lines(self) -> list[str]:
        """One line a kind."""
        return [
            f"{line} (and {self.more[kind]} more)" if self.more[kind] else line for kind, line in self.first.items()
        ]


class BrokenReward(Exception):
    """A reward broke its contract. kind: the rule; detail: what it did, to be read after the rule."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind + detail)
        self.kind, self.detail = kind, detail


def score_of(reward: Reward, completion: str, example: Example) -> float:
    """The score. Raises BrokenReward when the reward raises, SystemExit too, or gives no number within [0, 1]."""
    try:
        score = reward(completion, example)
    except (Exception, SystemExit) as error:  # a stranger's function: whatever it raised is the finding
        raise BrokenReward(f"raised {type(error).__name__}", f" ({error}{_where(error)})") from error
    if not isinstance(score, Real) or not 0 <= score <= 1:
        raise BrokenReward("must give a number within [0, 1]", f", got {score!r}")
    return float(score)


def _where(error: BaseException) -> str:
    """The line that raised; of a call that never began, what a reward is."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is score_of's
    if frames:
        return f"; {frames[-1].filename}:{frames[-1].lineno}"
    return f"; {SIGNATURE}" if isinstance(error, TypeError) else ""


def contract_score(name: str, reward: Reward, completion: str, example: Example, problems: Problems) -> float | None:
    """The score, or None if the reward broke its contract, which becomes a problem; so does a score that varies."""
    shown = f" on {completion[:200]!r}"
    try:
        score, again = score_of(reward, completion, example), score_of(reward, completion, example)
    except BrokenReward as broken:
        problems.add(f"{name} {broken.kind}", example.id, broken.detail + shown)
        return None
    if score != again:
        problems.add(f"{name} gave two scores to one completion", example.id, f": {score} and {again}{shown}")
    return score
