"""Is an evaluation a measurement at all? One with too many cut, failed or missing completions is invalid, not low."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line reads the limits before it knows whether it will evaluate
    from eval.records import Record

MAX_TRUNCATED = 0.1  # of the completions there are; the score of a cut one is unknown, not 0
MAX_FAILED = 0.01  # engine errors, of the completions there are
MAX_MISSING = 0.0  # of the completions that were expected


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest shares, in [0, 1], that a valid evaluation may have of each. 1 accepts any number."""

    truncated: float = MAX_TRUNCATED
    failed: float = MAX_FAILED
    missing: float = MAX_MISSING


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Counts:
    """Completions of an evaluation. expected: examples x samples. twice: those beside another of the same sample."""

    expected: int
    found: int
    truncated: int
    failed: int
    twice: int = 0


def counts_of(records: Sequence[Record], expected: int) -> Counts:
    """The counts of an evaluation's records."""
    of_status = Counter(record.status for record in records)
    found = len({(record.id, record.sample) for record in records})
    return Counts(expected, found, of_status["truncated"], of_status["error"], len(records) - found)


def check_validity(counts: Counts, limits: Limits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """Why an evaluation is no valid measurement, one readable line each; empty when it is one."""
    found = counts.found + counts.twice
    reasons = []
    if counts.expected - counts.found > limits.missing * counts.expected:
        reasons.append(
            f"{counts.expected - counts.found} of {counts.expected} completions are missing, "
            f"{_limit(limits.missing)}: run the same command again to finish it"
        )
    if counts.twice:
        reasons.append(f"{counts.twice} completions are there twice: evaluate into an empty directory")
    if counts.failed > limits.failed * found:
        reasons.append(
            f"the engine failed on {counts.failed} of {found} completions, {_limit(limits.failed)}: "
            "the records' `problem` says why; run the same command again to retry them"
        )
    if counts.truncated > limits.truncated * found:
        reasons.append(
            f"{counts.truncated} of {found} completions were cut at the token limit, {_limit(limits.truncated)}: raise "
            "the token limit, or accept them (--max-truncated 1, [valid] of a gate) and read the bounds"
        )
    return tuple(reasons)


def _limit(share: float) -> str:
    return f"the limit is {100 * share:g}%"
