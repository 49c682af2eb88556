"""The statistics that verdicts rest on. Tests and intervals for paired, clustered, yes-or-no results."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit


class Interval(NamedTuple):
    """A confidence interval, both ends included."""

    low: float
    high: float


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927). successes may be a sum of item means. (0, 1) for n = 0."""
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, n], got {successes} of {n}")
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    scale = 1 + z * z / n
    center = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(max(0.0, center - half), min(1.0, center + half))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact McNemar test: p of a split this uneven of the discordant pairs, were both ways equally likely.

    Twice the smaller tail of Binomial(gained + lost, 1/2), at most 1; 1 without discordant pairs. Exact at any size:
    the sum is of integers.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"counts must be >= 0, got {gained} and {lost}")
    n, smaller = gained + lost, min(gained, lost)
    ways = total = 1
    for k in range(smaller):
        ways = ways * (n - k) // (k + 1)
        total += ways
    return float(min(1.0, 2 * total / (1 << n)))


def no_difference_interval(n: int, confidence: float = 0.95) -> Interval:
    """Interval of a mean difference when all n pairs agree: the exact bound of a rate never seen, about 3/n at 95%."""
    if n < 1:
        return Interval(-1.0, 1.0)
    bound = 1 - (1 - confidence) ** (1 / n)
    return Interval(-bound, bound)


def cluster_bootstrap(
    differences: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Interval of a mean of paired differences whose members of one cluster hang together.

    Whole clusters are drawn with replacement; the statistic is the mean over their items. Percentile interval, its
    percentiles moved outwards for few clusters: an ordinary one is too narrow, as if the variance were divided by G
    instead of G - 1 and t were normal (Hesterberg 2015, "What teachers should know about the bootstrap").
    Raises ValueError with fewer than two clusters: they say nothing about the variance between clusters.
    """
    if len(differences) != len(clusters):
        raise ValueError(f"{len(differences)} differences, {len(clusters)} clusters")
    _, codes = np.unique([_key(cluster) for cluster in clusters], return_inverse=True)
    groups = int(codes.max()) + 1 if len(codes) else 0
    if groups < 2:
        raise ValueError(f"need at least 2 clusters, got {groups}")
    sums = np.bincount(codes, weights=np.asarray(differences, dtype=np.float64), minlength=groups).astype(np.float64)
    sizes = np.bincount(codes, minlength=groups).astype(np.float64)
    means = _resampled_means(sums, sizes, resamples, np.random.default_rng(seed))
    tail = expanded_tail(groups, confidence)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _resampled_means(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    groups = len(sums)
    chunk = max(1, 4_000_000 // groups)  # rows drawn at a time: tens of megabytes, whatever the number of clusters
    means = []
    for start in range(0, resamples, chunk):
        drawn = rng.integers(groups, size=(min(chunk, resamples - start), groups))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(means)


def _key(cluster: Hashable) -> str:
    return f"{type(cluster).__name__}:{cluster}"


def expanded_tail(groups: int, confidence: float) -> float:
    """The tail probability whose normal quantile is sqrt(G / (G - 1)) times Student's t quantile of G - 1 degrees."""
    t = stdtrit(groups - 1, 0.5 + confidence / 2)
    return float(ndtr(-math.sqrt(groups / (groups - 1)) * t))
