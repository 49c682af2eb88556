"""The statistics that verdicts rest on. Tests and intervals for paired, clustered, yes-or-no or graded results.

Items of one cluster (a template, a family) hang together, so everything here counts clusters first. Where flips are
few or one-sided, a bootstrap's percentiles lie: what wasn't seen can't be drawn. tests/test_statistics.py measures it
(a nominal 2.5% tail holds up to 15%). Score tests don't suffer from that, so intervals here are inverted score tests.

Their limit: graded differences are taken as flips of one size. Where many gain a little and few lose much, the losses
may not be among the sample, and neither mean nor variance shows them: docs/gate.md has how often that passes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincinv, stdtr, stdtrit

Floats = NDArray[np.float64]
POWER = 0.8
# The variance between clusters is estimated from the flips seen. This many more are assumed, each a whole cluster of
# full flips: with none seen the data say nothing about how flips cluster, with fifty the assumption is gone.
PRIOR_FLIPS = 2.0
EXACT_WORK = 200_000_000  # additions of the exact sign-flip test; above it, random signs
RANDOM_SIGNS = 20_000


class Interval(NamedTuple):
    """A confidence interval, both ends included."""

    low: float
    high: float


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927). successes may be a sum of item means. (0, 1) for n = 0."""
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, n], got {successes} of {n}")
    if n == 0:
        return Interval(0.0, 1.0)
    return _wilson(successes / n, n, NormalDist().inv_cdf(0.5 + confidence / 2))


def _wilson(p: float, n: float, z: float) -> Interval:
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


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given (Holm 1979): valid whatever the tests share."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True, slots=True)
class PairedScore:
    """Score test of a mean of paired differences in [-1, 1], for clustered pairs. Arrays: one element a data set.

    Tango's test of matched yes-or-no pairs (Tango 1998, Statistics in Medicine 17), at the effective number of pairs:
    n divided by the design effect. Graded differences are taken as flips of size `scale`, which keeps their mean and
    second moment. Student's t stands in for the normal.
    """

    n: Floats
    gained: Floats
    lost: Floats
    scale: Floats
    dof: float

    def statistic(self, mean: float | Floats) -> Floats:
        """Standard errors by which what was seen lies above `mean`; falls as mean rises."""
        x = np.asarray(mean, dtype=np.float64) / self.scale
        inside = np.clip(x, -1, 1)
        b = (2 * self.n - self.gained + self.lost) * inside - self.gained - self.lost
        root = np.sqrt(np.maximum(b * b + 8 * self.n * self.lost * inside * (1 - inside), 0))
        loss_rate = (root - b) / (4 * self.n)  # the likeliest one, were the mean so
        variance = self.n * np.maximum(2 * loss_rate + inside * (1 - inside), 1e-12)
        value = (self.gained - self.lost - self.n * inside) / np.sqrt(variance)
        return np.asarray(np.where(x <= -1, np.inf, np.where(x >= 1, -np.inf, value)))

    def p_below(self, mean: float) -> Floats:
        """One-sided p: of a result so low or lower, were the true mean at least `mean`."""
        return np.asarray(stdtr(self.dof, self.statistic(mean)))

    def p_above(self, mean: float) -> Floats:
        """One-sided p: of a result so high or higher, were the true mean at most `mean`."""
        return np.asarray(stdtr(self.dof, -self.statistic(mean)))

    def bounds(self, confidence: float) -> tuple[Floats, Floats]:
        """Both ends of the interval: the means that the test doesn't reject."""
        t = float(stdtrit(self.dof, 0.5 + confidence / 2))
        seen = (self.gained - self.lost) / self.n * self.scale
        low, high = np.stack([-self.scale, seen]), np.stack([seen, self.scale])
        target = np.array([t, -t]).reshape(2, *[1] * seen.ndim)
        for _ in range(40):  # halves 2, the width of what a mean can be: to 2e-12
            middle = (low + high) / 2
            above = self.statistic(middle) > target
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return low[0], high[1]


def paired_score(differences: ArrayLike, clusters: Sequence[Hashable]) -> PairedScore:
    """The test's summary of differences of shape (..., n), in [-1, 1], and n clusters. Raises ValueError below 2."""
    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    sums, sizes = _cluster_sums(values, clusters)
    whole = float((sizes**2).sum() / n)
    mean, size = values.mean(axis=-1), np.abs(values).sum(axis=-1)
    scale = ((values**2).sum(axis=-1) + PRIOR_FLIPS) / (size + PRIOR_FLIPS)
    robust = _between(sums, sizes, mean) / scale**2
    naive = size / scale - n * (mean / scale) ** 2
    deff = np.maximum((robust + PRIOR_FLIPS * whole) / (naive + PRIOR_FLIPS), 1)
    gained, lost = (np.maximum(sign * values, 0).sum(axis=-1) / scale / deff for sign in (1, -1))
    return PairedScore(n / deff, gained, lost, scale, _dof(sizes))


@dataclass(frozen=True, slots=True)
class RateScore:
    """Test of a mean in [0, 1] of clustered items, at their effective number: what two tests refute.

    Wilson's score test, with t, alone holds where both kinds of items are many. Near 0 and 1 the count is skewed, so
    the tail of the binomial distribution (Clopper and Pearson 1934) must agree.
    """

    n: float
    mean: float
    dof: float

    def p_below(self, rate: float) -> float:
        """One-sided p: of a mean so low or lower, were the true one at least `rate`."""
        exact = betainc(self.n - self._right, self._right + 1, 1 - rate) if self._right < self.n else 1.0
        return max(float(stdtr(self.dof, self._statistic(rate))), float(exact))

    def p_above(self, rate: float) -> float:
        """One-sided p: of a mean so high or higher, were the true one at most `rate`."""
        exact = betainc(self._right, self.n - self._right + 1, rate) if self._right > 0 else 1.0
        return max(float(stdtr(self.dof, -self._statistic(rate))), float(exact))

    @property
    def _right(self) -> float:
        return self.mean * self.n

    def _statistic(self, rate: float) -> float:
        deviation = math.sqrt(rate * (1 - rate) / self.n)
        if deviation == 0:  # a rate of 0 or 1: one item to the contrary refutes it
            return math.copysign(math.inf, self.mean - rate) if self.mean != rate else 0.0
        return (self.mean - rate) / deviation

    def interval(self, confidence: float) -> Interval:
        """The rates that the test doesn't reject."""
        score = _wilson(self.mean, self.n, float(stdtrit(self.dof, 0.5 + confidence / 2)))
        tail, right, wrong = (1 - confidence) / 2, self._right, self.n - self._right
        low = betaincinv(right, wrong + 1, tail) if right > 0 else 0.0
        high = betaincinv(right + 1, wrong, 1 - tail) if wrong > 0 else 1.0
        return Interval(min(score.low, float(low)), max(score.high, float(high)))


def rate_score(values: Sequence[float], clusters: Sequence[Hashable]) -> RateScore:
    """The test's summary of item means in [0, 1]. Raises ValueError below 2 clusters."""
    array = np.asarray(values, dtype=np.float64)
    sums, sizes = _cluster_sums(array, clusters)
    mean = float(array.mean())
    whole = float((sizes**2).sum() / len(array))
    naive = len(array) * mean * (1 - mean)
    deff = max((float(_between(sums, sizes, array.mean())) + PRIOR_FLIPS * whole) / (naive + PRIOR_FLIPS), 1.0)
    return RateScore(len(array) / deff, min(1.0, max(0.0, mean)), _dof(sizes))


def rate_interval(means: Sequence[float], clusters: Sequence[Hashable], confidence: float = 0.95) -> Interval:
    """Of a rate, from its items' means; Wilson's for a single item, of which nothing says how items differ."""
    if len(means) == 1:
        return wilson_interval(means[0], 1, confidence)
    return rate_score(means, clusters).interval(confidence)


def sign_flip(differences: Sequence[float], clusters: Sequence[Hashable], seed: int = 0) -> float:
    """Two-sided p that the two models are alike: of a sum so far from 0, were each cluster's sign a coin's.

    With one yes-or-no pair a cluster this is exact McNemar. Exact where the cluster sums are multiples of 1/k, k up to
    100 (means over k samples are), else from 20,000 seeded draws.
    """
    sums, _ = _cluster_sums(np.asarray(differences, dtype=np.float64), clusters)
    sizes = np.abs(sums[np.abs(sums) > 1e-12])
    seen = abs(float(sums.sum()))
    for k in range(1, 101):
        steps = np.rint(sizes * k).astype(np.int64)
        if np.allclose(steps, sizes * k, rtol=0, atol=1e-6):
            if len(steps) * int(steps.sum()) > EXACT_WORK:
                break
            return _exact_signs(steps, round(seen * k))
    rng, beyond = np.random.default_rng(seed), 0
    for _ in range(RANDOM_SIGNS // 500):  # 500 at a time: tens of megabytes for ten thousand clusters
        signs = rng.choice(np.array([-1.0, 1.0]), size=(500, len(sizes)))
        beyond += int((np.abs(signs @ sizes) >= seen - 1e-9).sum())
    return (1 + beyond) / (1 + RANDOM_SIGNS)


def _exact_signs(steps: NDArray[np.int64], seen: int) -> float:
    chances = np.ones(1)  # of the sums -total, -total + 2, …, total
    for step in steps:
        chances = np.concatenate([chances, np.zeros(step)]) / 2 + np.concatenate([np.zeros(step), chances]) / 2
    sums = np.arange(len(chances)) * 2 - (len(chances) - 1)
    return float(min(1.0, chances[np.abs(sums) >= seen].sum()))


def noise_floor(differences: Sequence[float], clusters: Sequence[Hashable], confidence: float = 0.95) -> float:
    """How far from 0 the mean difference of two evaluations of one model stays, at this confidence or more.

    With PRIOR_FLIPS: a pair of evaluations that happened to agree doesn't say that the next will.
    """
    sums, sizes = _cluster_sums(np.asarray(differences, dtype=np.float64), clusters)
    n = float(sizes.sum())
    total = float((sums**2).sum() + PRIOR_FLIPS * (sizes**2).sum() / n)
    return min(1.0, float(stdtrit(_dof(sizes), 0.5 + confidence / 2)) * math.sqrt(total) / n)


def fewest_flips(alpha: float) -> int:
    """How many flips, or groups that moved, all one way, give sign flips (and McNemar) a p below alpha."""
    return math.floor(1 - math.log2(alpha)) + 1


def detectable(score: PairedScore, interval: Interval, clusters: int, alpha: float, power: float = POWER) -> float:
    """The smallest true difference that a sample like this one shows with this power, at two-sided alpha; 1 for none.

    "Like this one": so many items in so many clusters, and flips as frequent as they were here. It must take the
    interval off 0 and, where flips are few, make enough of them for the sign-flip test.
    """
    fewest = fewest_flips(alpha)
    if clusters < fewest or score.n <= fewest - 1:
        return 1.0
    t = float(stdtrit(score.dof, 1 - alpha / 2))
    clear_of_zero = (interval.high - interval.low) / 2 * (1 + NormalDist().inv_cdf(power) / t)
    enough = float(score.scale * betaincinv(fewest, score.n - fewest + 1, power))  # P(Binomial >= fewest) = power
    return min(1.0, max(clear_of_zero, enough))


def _cluster_sums(values: Floats, clusters: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Sums of shape (..., clusters) and the sizes of the clusters."""
    if values.shape[-1] != len(clusters):
        raise ValueError(f"{values.shape[-1]} differences, {len(clusters)} clusters")
    places: dict[Hashable, int] = {}
    codes = np.array([places.setdefault(cluster, len(places)) for cluster in clusters], dtype=np.int64)
    if len(places) < 2:
        raise ValueError(
            f"need at least 2 clusters, got {len(places)}: they say nothing about what differs between them"
        )
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes).astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    return np.add.reduceat(values[..., order], starts, axis=-1), sizes


def _dof(sizes: Floats) -> float:
    """Degrees of freedom of Student's t: one less than the clusters of one size that would weigh as much.

    The variance between clusters is estimated from their squared sums, and a large one's is most of it: of 150 items in
    one cluster and 50 alone it knows as little as of two. At least 0.1, where t is beyond any score already.
    """
    return max(float(sizes.sum() ** 2 / (sizes**2).sum()) - 1, 0.1)


def _between(sums: Floats, sizes: Floats, mean: Floats | np.float64) -> Floats:
    """Variance of the total, from how the clusters' sums stray from what the mean would give them."""
    strays = sums - np.asarray(mean)[..., None] * sizes
    return np.asarray((strays**2).sum(axis=-1) * len(sizes) / (len(sizes) - 1))
