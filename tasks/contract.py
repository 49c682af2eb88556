"""What every reward owes its callers: a number in [0, 1], the same one each time, for any text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rewards.core import Example, Reward


@dataclass(slots=True)
class Problems:
    """Problems by kind: the first example of each is shown, the others are counted."""

    first: dict[str, str] = field(default_factory=dict)
    more: Counter[str] = field(default_factory=Counter)

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


def contract_score(name: str, scorer: Reward, completion: str, example: Example, problems: Problems) -> float | None:
    """The score, or None if the reward broke its contract, which becomes a problem."""
    shown = f" on {completion[:200]!r}"
    try:
        score, again = scorer(completion, example), scorer(completion, example)
    except Exception as error:  # a reward must never raise: whatever it raised is the finding
        problems.add(f"{name} raised {type(error).__name__}", example.id, f" ({error}){shown}")
        return None
    if not isinstance(score, (int, float)) or not 0 <= score <= 1:
        problems.add(f"{name} must give a number within [0, 1]", example.id, f", got {score!r}{shown}")
        return None
    if score != again:
        problems.add(f"{name} gave two scores to one completion", example.id, f": {score} and {again}{shown}")
    return score
