"""The share of GRPO's groups that would be dead, all completions with one reward, from a few samples of each prompt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import gammaln, softmax

Numbers = npt.NDArray[np.float64]
MOST_VALUES = 8  # of the rewards; with more, two completions hardly ever have the same one


def dead_shares(outcomes: Sequence[Sequence[float]], sizes: Iterable[int]) -> dict[int, float]:
    """By size, the share of groups without a difference. outcomes: rewards by prompt, of each equally many.

    Up to the sample's size it is unbiased: of all ways to draw a group from the sample without putting back. A larger
    group tells apart what the sample doesn't, so its share is that of a distribution of prompts fitted to all samples:
    some have one reward for ever, the others' chances of each reward are a Dirichlet's.
    """
    samples, found = len(outcomes[0]), {}
    share: Callable[[int], float] | None = None
    for size in sizes:
        if size <= samples:
            found[size] = sum(drawn(each, size) for each in outcomes) / len(outcomes)
        else:
            share = share or beyond_the_sample(outcomes)
            found[size] = share(size)
    return found


def beyond_the_sample(outcomes: Sequence[Sequence[float]]) -> Callable[[int], float]:
    """The share of dead groups by their size, of a distribution that is fitted once."""
    values = sorted({value for each in outcomes for value in each})
    counts = np.array([[each.count(value) for value in values] for each in map(list, outcomes)], dtype=float)
    if len(values) > MOST_VALUES:
        frequent = counts / counts.sum(1, keepdims=True)
        return lambda size: float((frequent**size).sum() / len(frequent))
    return fitted(counts)


def drawn(outcomes: Sequence[float], size: int) -> float:
    """The chance that `size` of a prompt's outcomes, drawn without putting back, are all the same."""
    counts = Counter(outcomes).values()
    return sum(math.comb(count, size) for count in counts) / math.comb(len(outcomes), size)


def fitted(counts: Numbers) -> Callable[[int], float]:
    """Of the distribution that makes these counts (prompts x rewards) likeliest, the share of dead groups by size."""
    seen, times = np.unique(counts, axis=0, return_counts=True)
    kinds = counts.shape[1]
    pure, which = (seen > 0).sum(1) == 1, seen.argmax(1)

    def read(x: Numbers) -> tuple[Numbers, Numbers]:
        """The Dirichlet's parameters; the shares of prompts with one reward for ever, by reward, and of the others."""
        return np.exp(x[:kinds]), softmax(np.append(x[kinds:], 0.0))

    def chance(alpha: Numbers, drawn: Numbers) -> Numbers:
        total, draws = alpha.sum(), drawn.sum(-1)
        found: Numbers = np.exp(
            gammaln(total) - gammaln(total + draws) + (gammaln(alpha + drawn) - gammaln(alpha)).sum(-1)
        )
        return found

    def surprise(x: Numbers) -> float:
        alpha, shares = read(x)
        likelihood = shares[kinds] * chance(alpha, seen) + np.where(pure, shares[which], 0.0)
        return -float((times * np.log(likelihood + 1e-300)).sum())

    start = np.concatenate([np.zeros(kinds), np.full(kinds, -2.0)])
    alpha, shares = read(minimize(surprise, start, bounds=[(-5, 7)] * kinds + [(-12, 12)] * kinds).x)

    def share(size: int) -> float:
        mixed = sum(float(chance(alpha, size * one)) for one in np.eye(kinds))
        return float(shares[:kinds].sum()) + float(shares[kinds]) * mixed

    return share
