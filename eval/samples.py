"""Several samples of one example: pass@k and maj@k, exact expectations over the k samples that one might have drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import comb
from typing import NamedTuple

from eval.records import Record
from rewards.canonical import canonical


class Votes(NamedTuple):
    """Samples that gave the same answer: how many, and their score."""

    size: int
    score: float


def sizes(n: int) -> tuple[int, ...]:
    """The k that are reported for n samples: the powers of two below n, and n."""
    return (*(2**power for power in range(n.bit_length()) if 2**power < n), n)


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that at least one of k samples is right, drawn without replacement from n of which `right` are.

    The unbiased estimator 1 - C(n - right, k) / C(n, k) (Chen et al. 2021, "Evaluating Large Language Models Trained
    on Code"), in integers up to the one division: no cancellation, no overflow. Raises ValueError outside its domain.
    """
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"want 0 <= right <= n and 1 <= k <= n, got n {n}, right {right}, k {k}")
    return (comb(n, k) - comb(n - right, k)) / comb(n, k)


def majority_at_k(votes: Sequence[Votes], silent: int, k: int) -> float:
    """The expected score of the most frequent answer among k samples, drawn without replacement.

    silent: samples without an answer; they are drawn like the others but vote for nothing, and where all k are
    silent the score is 0. Answers that tie share the score evenly: the mean over a fair draw among them. Raises
    ValueError when there are fewer than k samples.
    """
    n = silent + sum(each.size for each in votes)
    if not 1 <= k <= n:
        raise ValueError(f"want 1 <= k <= n, got n {n}, k {k}")
    total = 0.0
    for place, each in enumerate(votes):
        if each.score:
            others = sorted(other.size for index, other in enumerate(votes) if index != place)
            total += each.score * _chance_to_win(each.size, tuple(others), silent, k)
    return total


@lru_cache(maxsize=65536)  # few distinct patterns of counts occur, whatever the number of examples
def _chance_to_win(own: int, others: tuple[int, ...], silent: int, k: int) -> float:
    """The chance of an answer with `own` votes to be the most frequent of k, a tie of m answers counting 1/m.

    Counts the draws by t, the votes it gets. Answers with fewer than t samples can't stop it, so they join the silent;
    for the others, ways[ties][drawn] counts the draws of `drawn` samples in which `ties` of them get t and none more.
    """
    favourable = Fraction(0)
    for t in range(1, min(own, k) + 1):
        rivals = [count for count in others if count >= t]
        rest = silent + sum(count for count in others if count < t)
        ways = {0: [1] + [0] * (k - t)}
        for count in rivals:
            ways = _with_rival(ways, count, t, k - t)
        for ties, by_drawn in ways.items():
            draws = sum(number * comb(rest, k - t - drawn) for drawn, number in enumerate(by_drawn))
            favourable += Fraction(comb(own, t) * draws, ties + 1)
    return float(favourable / comb(own + sum(others) + silent, k))


def _with_rival(ways: dict[int, list[int]], count: int, t: int, most: int) -> dict[int, list[int]]:
    """The ways with one more rival of `count` samples, of which at most t are drawn."""
    new: dict[int, list[int]] = defaultdict(lambda: [0] * (most + 1))
    for ties, by_drawn in ways.items():
        for drawn, number in enumerate(by_drawn):
            if number:
                for votes in range(min(t, most - drawn) + 1):
                    new[ties + (votes == t)][drawn + votes] += number * comb(count, votes)
    return new


def ballot(records: Iterable[Record]) -> tuple[list[Votes], int]:
    """The votes of one example's samples, and how many have no answer to vote with.

    Answers vote together that say the same and score the same: what the metric tells apart are two answers.
    """
    votes: Counter[tuple[str, float]] = Counter()
    silent = 0
    for record in records:
        answer = record.answer
        if answer is None and record.score > 0:  # a metric that reads the whole text, not the answer block
            answer = record.completion
        if answer is None:
            silent += 1
        else:
            votes[canonical(answer), record.score] += 1
    return [Votes(size, score) for (_, score), size in votes.items()], silent
