"""Is an evaluation a measurement at all? One with too many cut, failed or missing completions is invalid, not low."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line reads the limits before it knows whether it will evaluate
    from eval.records import Record

INVALID = 13  # exit code
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


def check_validity(records: Sequence[Record], expected: int, limits: Limits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """Why the records are no valid measurement, one readable line each; empty when they are one.

    expected: how many completions there should be, examples x samples.
    """
    counts = Counter(record.status for record in records)
    found = len({(record.id, record.sample) for record in records})
    reasons = []
    if expected - found > limits.missing * expected:
        reasons.append(
            f"{expected - found} of {expected} completions are missing, {_limit(limits.missing)}: "
            "run the same command again to finish it"
        )
    if found < len(records):
        reasons.append(f"{len(records) - found} completions are there twice: evaluate into an empty directory")
    if counts["error"] > limits.failed * len(records):
        reasons.append(
            f"the engine failed on {counts['error']} of {len(records)} completions, {_limit(limits.failed)}: "
            "the records' `problem` says why; run the same command again to retry them"
        )
    if counts["truncated"] > limits.truncated * len(records):
        reasons.append(
            f"{counts['truncated']} of {len(records)} completions were cut at the token limit, "
            f"{_limit(limits.truncated)}: raise --max-tokens, or accept them (--max-truncated 1) and read the bounds"
        )
    return tuple(reasons)


def _limit(share: float) -> str:
    return f"the limit is {100 * share:g}%"
