"""The statistics against scipy, by hand, and by simulation: seeded, many data sets at once."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, permutation_test
from scipy.stats import t as student

from eval.differences import difference
from eval.statistics import (
    Interval,
    PairedScore,
    detectable,
    holm,
    mcnemar,
    noise_floor,
    paired_score,
    rate_score,
    sign_flip,
    wilson_interval,
)

Floats = NDArray[np.float64]


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 5), (3, 10), (10, 3), (0, 7), (40, 61), (700, 800)])
def test_mcnemar_is_the_two_sided_binomial_test(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_pairs_neither_overflows_nor_divides_by_zero() -> None:
    assert mcnemar(5_000, 5_000) == 1.0
    assert 0 < mcnemar(4_800, 5_200) < 1e-3


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 10), (81, 263), (1, 1)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_by_hand() -> None:
    # Newcombe 1998, table I: 81 of 263, and 0 of 20
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(k: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{k} of {n}"):
        wilson_interval(k, n)


def test_holm_by_hand() -> None:
    # sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 raised to the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 5), (3, 10), (40, 61), (250, 300)])
def test_sign_flips_of_single_pairs_are_mcnemar(gained: int, lost: int) -> None:
    values = [1.0] * gained + [-1.0] * lost + [0.0] * 7
    assert sign_flip(values, range(len(values))) == pytest.approx(mcnemar(gained, lost), rel=1e-9)


def test_sign_flips_agree_with_scipy_and_with_all_signs() -> None:
    values = [0.25, 0.5, -0.25, 1.0, 0.75, -0.5, 0.0, 0.25, 1.0]
    clusters = ["a", "a", "b", "c", "c", "d", "e", "f", "g"]
    sums = np.array([0.75, -0.25, 1.75, -0.5, 0.0, 0.25, 1.0])
    signs = np.array(list(itertools.product((-1, 1), repeat=len(sums))))
    by_hand = (np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean()
    assert sign_flip(values, clusters) == pytest.approx(by_hand)
    theirs = permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(values, clusters) == pytest.approx(theirs.pvalue)


def test_sign_flips_of_odd_fractions_are_drawn_and_seeded() -> None:
    values = np.random.default_rng(0).normal(0.02, 0.1, size=200).tolist()
    drawn = sign_flip(values, range(200))
    assert drawn == sign_flip(values, range(200))
    z = sum(values) / math.sqrt(sum(value * value for value in values))
    assert drawn == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.01)


def test_paired_interval_is_tangos() -> None:
    """Independent flips, a hundred thousand of them: Wald's interval. Few: never seen means about 3.84 / n."""
    n = 100_000
    values = np.zeros(n)
    values[:9_000], values[9_000:16_000] = 1, -1
    low, high = paired_score(values, range(n)).bounds(0.95)
    half = 1.96 * math.sqrt((0.16 - 0.02**2) / n)
    assert (float(low), float(high)) == pytest.approx((0.02 - half, 0.02 + half), abs=2e-5)
    low, high = paired_score(np.zeros(189), range(189)).bounds(0.95)
    t2 = student.ppf(0.975, 188) ** 2
    assert float(high) == -float(low) == pytest.approx(t2 / (189 + t2), abs=1e-6)


def test_p_values_and_bounds_are_of_one_test() -> None:
    rng = np.random.default_rng(5)
    values = rng.choice([-1, -0.5, 0, 0, 0, 1], size=120)
    clusters = rng.integers(0, 40, size=120).tolist()
    score = paired_score(values, clusters)
    low, high = map(float, score.bounds(0.95))
    assert float(score.p_above(low)) == pytest.approx(0.025, abs=1e-6)
    assert float(score.p_below(high)) == pytest.approx(0.025, abs=1e-6)
    rate = rate_score((values > -1).astype(float).tolist(), clusters)
    assert rate.p_above(rate.interval(0.9).low) == pytest.approx(0.05, abs=1e-6)
    assert rate.p_below(rate.interval(0.9).high) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(("right", "n"), [(0, 15), (1, 15), (14, 15), (15, 15), (169, 170), (60, 200)])
def test_the_interval_of_a_rate_is_of_its_test(right: int, n: int) -> None:
    """Near 0 and 1 too, where the exact tail decides: at an end that isn't 0 or 1, p is half of what is left."""
    rate = rate_score([1.0] * right + [0.0] * (n - right), range(n))
    low, high = rate.interval(0.95)
    assert rate.p_above(low) == pytest.approx(0.025 if right else 1, abs=1e-6)
    assert rate.p_below(high) == pytest.approx(0.025 if right < n else 1, abs=1e-6)


def test_order_and_names_of_clusters_dont_matter() -> None:
    values, clusters = [1.0, 0.0, -1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b", "c", "c"]
    first = [float(end) for end in paired_score(values, clusters).bounds(0.95)]
    turned = [float(end) for end in paired_score(values[::-1], [3, 3, 1, 1, 2, 2]).bounds(0.95)]
    assert first == pytest.approx(turned)


@pytest.mark.parametrize("function", [paired_score, rate_score])
def test_one_cluster_is_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match="at least 2 clusters"):
        function([1.0, 0.0], ["a", "a"])
    with pytest.raises(ValueError, match="2 differences, 1 clusters"):
        function([1.0, 0.0], ["a"])


class World(NamedTuple):
    """Clusters of unequal size. gain, loss: rates of the two flips. rho: correlation of flips within a cluster.

    large: items of the first cluster, where the others have one each.
    """

    clusters: int
    gain: float
    loss: float
    rho: float
    large: int = 0

    @property
    def mean(self) -> float:
        return self.gain - self.loss

    def codes(self) -> NDArray[np.int64]:
        sizes = np.clip(np.random.default_rng(11).lognormal(0.8, 0.7, self.clusters).astype(int), 1, None)
        if self.large:
            sizes[:] = [self.large, *[1] * (self.clusters - 1)]
        return np.arange(self.clusters).repeat(sizes)

    def draw(self, runs: int, seed: int = 1) -> Floats:
        """Differences in {-1, 0, 1}, of shape (runs, items): rates of each cluster from a Dirichlet distribution."""
        rng, codes = np.random.default_rng(seed), self.codes()
        shares = np.array([self.gain, self.loss, 1 - self.gain - self.loss])
        rates = np.broadcast_to(shares, (runs, self.clusters, 3))
        if self.rho:
            drawn = rng.standard_gamma(np.maximum(shares * (1 / self.rho - 1), 1e-9), size=rates.shape)
            rates = drawn / np.maximum(drawn.sum(axis=-1, keepdims=True), 1e-300)
        chance = rng.random((runs, len(codes)))
        gained = chance < rates[:, codes, 0]
        return np.where(gained, 1.0, np.where(chance > 1 - rates[:, codes, 1], -1.0, 0.0))


def misses(world: World, runs: int = 4_000) -> tuple[float, float]:
    """How often the 95% interval lies wholly above, and wholly below, the true mean."""
    low, high = paired_score(world.draw(runs), world.codes().tolist()).bounds(0.95)
    return float((low > world.mean + 1e-9).mean()), float((high < world.mean - 1e-9).mean())


@pytest.mark.parametrize(
    "world",
    [
        World(20, 0.3, 0.3, 0.5),
        World(30, 0.3, 0.3, 0.2),
        World(72, 0.2, 0.1, 0.2),
        World(72, 0.5, 0.02, 0.2),
        World(150, 0.08, 0.08, 0.5),
        World(300, 0.03, 0.08, 0.2),
        World(300, 0.02, 0.05, 0.9),
        World(300, 0.3, 0.3, 0.0),
    ],
    ids=str,
)
def test_paired_interval_covers_at_its_confidence(world: World) -> None:
    assert 0.93 <= 1 - sum(misses(world)) <= 0.98


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("clusters", [8, 30, 72, 300])
@pytest.mark.parametrize(("gain", "loss"), [(0.0, 0.02), (0.02, 0.02), (0.0, 0.05), (0.005, 0.025)])
def test_few_flips_make_the_interval_wider_never_false(clusters: int, gain: float, loss: float, rho: float) -> None:
    """The honest limit: with under about twenty flips it covers more than it says, up to always."""
    above, below = misses(World(clusters, gain, loss, rho), runs=2_000)
    assert above < 0.04
    assert below < 0.04


@pytest.mark.parametrize(("clusters", "large"), [(51, 150), (21, 100)])
def test_one_large_group_is_no_evidence_by_itself(clusters: int, large: int) -> None:
    """Were all groups counted alike, what the large one happens to be would refute the truth 12 to 20% of the time."""
    above, below = misses(World(clusters, 0.15, 0.15, 0.3, large), runs=2_000)
    assert max(above, below) < 0.025
    rates = World(clusters, 0.5, 0.0, 0.3, large)
    codes = rates.codes().tolist()
    ps = np.array([rate_score(row.tolist(), codes).p_below(0.5) for row in rates.draw(600)])
    assert (ps <= 0.025).mean() < 0.025


def test_groups_of_one_size_count_each() -> None:
    assert paired_score(np.zeros(12), list(range(4)) * 3).dof == pytest.approx(3)
    assert 0 < paired_score(np.zeros(10_001), [0] * 10_000 + [1]).dof < 0.2
    low, high = rate_score([1.0] * 10_000 + [0.0], [0] * 10_000 + [1]).interval(0.95)
    assert (low, high) == pytest.approx((0, 1), abs=1e-3)


@pytest.mark.parametrize("clusters", [30, 150])
def test_means_of_samples_are_covered(clusters: int) -> None:
    """Four samples an example, flipping one by one: differences of 0, ±0.25, … ±1."""
    world = World(clusters, 0.2, 0.1, 0.3)
    values = np.mean([world.draw(1_500, seed) for seed in range(4)], axis=0)
    low, high = paired_score(values, world.codes().tolist()).bounds(0.95)
    assert 0.93 <= ((low <= 0.1 + 1e-9) & (high >= 0.1 - 1e-9)).mean() <= 0.99


def test_many_small_gains_and_few_large_losses_are_refuted_too_often() -> None:
    """A limit that docs/gate.md names: of a true mean of 0 the losses may be the ones that weren't drawn."""
    lost = np.random.default_rng(0).random((2_000, 200)) < 0.02
    above = paired_score(np.where(lost, -0.98, 0.02), range(200)).p_above(0) <= 0.025
    assert 0.07 < above.mean() < 0.11


def percentile_bootstrap(differences: Floats, codes: NDArray[np.int64], runs: int, resamples: int = 600) -> float:
    """How often a cluster bootstrap's percentile interval of each row lies wholly above -0.02."""
    rng, clusters = np.random.default_rng(2), int(codes.max()) + 1
    sizes = np.bincount(codes).astype(float)
    above = 0
    for row in differences[:runs]:
        weights = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(float)
        means = (weights @ np.bincount(codes, weights=row)) / (weights @ sizes)
        above += np.quantile(means, 0.025) > -0.02 + 1e-9
    return above / runs


def test_a_percentile_bootstrap_would_pass_too_much() -> None:
    """Why the interval isn't one: it refutes a margin that is the true loss over twice as often as 2.5%."""
    world = World(72, 0.0, 0.02, 0.3)
    assert percentile_bootstrap(world.draw(600), world.codes(), 600) > 0.06
    assert misses(world, runs=600)[0] < 0.025


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("clusters", "rho"), [(40, 0.3), (150, 0.1), (150, 0.6)])
def test_rate_interval_covers(rate: float, clusters: int, rho: float) -> None:
    world = World(clusters, rate, 0.0, rho)
    codes = world.codes().tolist()
    intervals = [rate_score(row.tolist(), codes).interval(0.95) for row in world.draw(1_000)]
    held = sum(low <= rate <= high for low, high in intervals) / len(intervals)
    assert held > 0.93
    ignored = [wilson_interval(float(row.sum()), len(codes)) for row in world.draw(1_000)]
    assert sum(low <= rate <= high for low, high in ignored) / len(ignored) < held


@pytest.mark.parametrize("rate", [0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("n", [15, 30, 100, 170, 500])
def test_a_rate_near_an_end_is_refuted_as_seldom_as_said(rate: float, n: int) -> None:
    """Summed over all counts. The score test alone takes one miss of 15 for under 99%: it comes up 14% of the time."""
    counts = np.arange(n + 1)
    chances = binom.pmf(counts, n, rate)
    scores = [rate_score([1.0] * k + [0.0] * (n - k), range(n)) for k in counts]
    mirrored = [rate_score([0.0] * k + [1.0] * (n - k), range(n)) for k in counts]
    for refuted in (
        [score.p_below(rate) for score in scores],
        [score.p_above(rate) for score in scores],
        [score.p_above(1 - rate) for score in mirrored],
    ):
        assert chances[np.array(refuted) <= 0.025].sum() <= 0.025


def test_a_clustered_rate_near_an_end_is_refuted_as_seldom_as_said() -> None:
    world = World(72, 0.97, 0.0, 0.2)
    codes = world.codes().tolist()
    ps = np.array([rate_score(row.tolist(), codes).p_below(0.97) for row in world.draw(1_000)])
    assert (ps <= 0.025).mean() < 0.04  # 0.025 and three standard errors


def test_sign_flips_keep_their_level_with_clusters() -> None:
    world = World(40, 0.15, 0.15, 0.4)
    codes = world.codes().tolist()
    ps = np.array([sign_flip(row.tolist(), codes) for row in world.draw(1_500)])
    assert (ps < 0.05).mean() < 0.065  # 0.05 and three standard errors
    plain = [mcnemar(int((row > 0).sum()), int((row < 0).sum())) for row in world.draw(1_500)]
    assert (np.array(plain) < 0.05).mean() > 0.1  # what the clusters are for


def test_the_detectable_difference_is_detected_with_its_power() -> None:
    quiet = World(200, 0.1, 0.1, 0.2)
    codes = quiet.codes().tolist()
    low, high = paired_score(quiet.draw(400), codes).bounds(0.95)
    score = paired_score(quiet.draw(400), codes)
    n, gained, lost, scale = (np.asarray(part.mean()) for part in (score.n, score.gained, score.lost, score.scale))
    typical = PairedScore(n, gained, lost, scale, score.dof)
    effect = detectable(typical, Interval(float(low.mean()), float(high.mean())), 200, 0.05)
    moved = World(200, 0.1 + effect / 2, 0.1 - effect / 2, 0.2)
    low, _ = paired_score(moved.draw(3_000), codes).bounds(0.95)
    assert 0.75 < (low > 0).mean() < 0.85


@pytest.mark.parametrize("n", [8, 20, 100, 200, 1_000])
def test_what_is_detectable_where_nothing_flipped_needs_flips_enough_for_p(n: int) -> None:
    """The interval alone would be content with five flips, of which the sign-flip test isn't convinced."""
    still = difference([0.0] * n, [0.0] * n, [f"{index}" for index in range(n)])
    (fewest,) = [k for k in range(1, 9) if mcnemar(k, 0) < 0.05 <= mcnemar(k - 1, 0)]
    assert binom.sf(fewest - 1, n, still.detectable) >= 0.8 - 1e-9
    assert still.detectable < 8 / n


def test_few_groups_detect_nothing() -> None:
    """Of five groups all may gain: the signs of five coins come up alike in one of 16."""
    for clusters, shown in ((5, False), (6, True)):
        groups = [f"{index % clusters}" for index in range(600)]
        some = difference([0.0] * 600, [float(index % 100 == 0) for index in range(600)], groups)
        assert (some.detectable < 1) == shown, clusters


def test_reruns_stay_within_the_noise_floor() -> None:
    world = World(150, 0.05, 0.05, 0.1)
    codes, draws = world.codes().tolist(), world.draw(1_000)
    floor = float(np.mean([noise_floor(row.tolist(), codes) for row in draws[:200]]))
    assert 0.92 < (np.abs(draws.mean(axis=1)) <= floor).mean() < 0.98


@pytest.mark.parametrize("flips", [0.002, 0.01, 0.05])
@pytest.mark.parametrize(("clusters", "rho", "large"), [(200, 0.0, 0), (72, 0.2, 0), (1_000, 0.0, 1), (51, 0.2, 150)])
def test_reruns_stay_within_the_noise_floor_of_few_flips(clusters: int, rho: float, large: int, flips: float) -> None:
    """Each floor is measured once, against another rerun. With no flips assumed they held 75 to 90% of the reruns."""
    world = World(clusters, flips / 2, flips / 2, rho, large)
    codes, draws = world.codes().tolist(), world.draw(800)
    floors = np.array([noise_floor(row.tolist(), codes) for row in draws[:400]])
    assert (np.abs(draws[400:].mean(axis=1)) <= floors + 1e-12).mean() >= 0.92  # 0.95 less three standard errors


def test_no_flips_are_no_floor_of_nothing() -> None:
    assert noise_floor([0.0] * 200, range(200)) == pytest.approx(1.972 * math.sqrt(2) / 200, rel=1e-3)
    assert noise_floor([0.0] * 3, range(3)) == 1
