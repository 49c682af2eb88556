"""How long will the scoring of a check take? Measured on a few golds, and said before it where that is long."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rewards.core import Example, Reward
from rewards.limits import OutOfTime, time_limit
from rewards.response import render
from tasks import timing

GOLDS = 3  # of the first examples: one call may be the one that loads something
PATIENCE = 30.0  # seconds that a check may take without a word


@dataclass(frozen=True, slots=True)
class Pace:
    """seconds: of a call, by scorer. each, fixed: calls of every scorer for an example, and beside all examples."""

    seconds: Mapping[str, float]
    each: int
    fixed: int = 0

    def expected(self, examples: int) -> float:
        """Seconds for so many examples."""
        return (self.each * examples + self.fixed) * sum(self.seconds.values())

    def within(self, seconds: float, examples: int) -> int:
        """How many of the examples that time is enough for, at least one."""
        took = self.each * sum(self.seconds.values())
        return examples if took == 0 else max(1, min(examples, int(seconds / took)))

    @property
    def slowest(self) -> str:
        """`NAME takes 200 ms a call`."""
        name = max(self.seconds, key=lambda name: self.seconds[name])
        return f"{name} takes {1000 * self.seconds[name]:.0f} ms a call"

    def warning(self, examples: int, n: int) -> str | None:
        """What to say before so many examples; None where it is fast. n: those of a split, which --n lowers."""
        if (expected := self.expected(examples)) <= PATIENCE:
            return None
        calls = self.each * examples + self.fixed
        fewer = max(1, int(n * PATIENCE / expected))
        advice = f"; --n {fewer} for fewer" if fewer < n else ""
        return f"{self.slowest}: {calls:,} calls of each scorer, up to about {clock(expected)}{advice}"


def clock(seconds: float) -> str:
    """`45 s`, `12 min`."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


def pace_of(scorers: Mapping[str, Reward], examples: Sequence[Example], each: int, fixed: int = 0) -> Pace:
    """Time each scorer on the golds of the first examples; each, fixed: as in Pace."""
    golds = [(render(one.reasoning, one.answers[0]), one) for one in examples[:GOLDS] if one.answers]
    return Pace(
        {name: median([_seconds(scorer, *gold) for gold in golds] or [0.0]) for name, scorer in scorers.items()},
        each,
        fixed,
    )


def _seconds(scorer: Reward, completion: str, example: Example) -> float:
    """Of one call. One that raises, or that takes so long that the check gives it up, will cost nothing."""
    started = time.perf_counter()
    try:
        with time_limit(timing.LONGEST_CALL):
            scorer(completion, example)
    except (OutOfTime, Exception, SystemExit):
        return 0.0
    return time.perf_counter() - started
