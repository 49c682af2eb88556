from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from eval.statistics import cluster_bootstrap, expanded_tail, mcnemar, no_difference_interval, wilson_interval


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


def test_no_difference_interval_is_the_rule_of_three() -> None:
    low, high = no_difference_interval(300)
    assert low == -high
    assert high == pytest.approx(3 / 300, rel=0.01)
    # the chance of seeing no flip in 300, were their rate at the bound, is 5%
    assert (1 - high) ** 300 == pytest.approx(0.05)
    assert no_difference_interval(149).high < 0.02 < no_difference_interval(148).high


def test_bootstrap_is_seeded_and_doesnt_depend_on_the_order_of_clusters() -> None:
    differences = [1.0, 0.0, -1.0, 1.0, 0.0, 0.0]
    clusters = ["a", "a", "b", "b", "c", "c"]
    first = cluster_bootstrap(differences, clusters, seed=3)
    assert first == cluster_bootstrap(differences, clusters, seed=3)
    shuffled = cluster_bootstrap(differences[::-1], clusters[::-1], seed=3)
    assert shuffled == pytest.approx(first)


def test_bootstrap_of_equal_cluster_means_has_no_width() -> None:
    assert cluster_bootstrap([1.0, 0.0, 1.0, 0.0], ["a", "a", "b", "b"]) == (0.5, 0.5)


def test_bootstrap_refuses_one_cluster() -> None:
    with pytest.raises(ValueError, match="at least 2 clusters"):
        cluster_bootstrap([1.0, 0.0], ["a", "a"])


def test_many_clusters_need_no_expansion() -> None:
    assert expanded_tail(100_000, 0.95) == pytest.approx(0.025, rel=1e-3)
    assert expanded_tail(5, 0.95) < 0.005


def _coverage(clusters: int, items: int, effect: float, runs: int) -> tuple[float, float]:
    """How often the cluster interval, and one that ignores clusters, hold the true mean difference of 0.1."""
    rng = np.random.default_rng(7)
    held = ignored = 0
    for run in range(runs):
        shared = rng.normal(0.1, effect, size=clusters).repeat(items)
        differences = shared + rng.normal(0, 0.3, size=clusters * items)
        groups = np.arange(clusters).repeat(items).tolist()
        low, high = cluster_bootstrap(differences.tolist(), groups, resamples=600, seed=run)
        held += low <= 0.1 <= high
        low, high = cluster_bootstrap(differences.tolist(), range(len(differences)), resamples=600, seed=run)
        ignored += low <= 0.1 <= high
    return held / runs, ignored / runs


@pytest.mark.parametrize("clusters", [8, 30])
def test_bootstrap_covers_at_its_confidence(clusters: int) -> None:
    runs = 300
    held, ignored = _coverage(clusters, items=12, effect=0.3, runs=runs)
    error = math.sqrt(0.95 * 0.05 / runs)
    assert abs(held - 0.95) < 3.5 * error
    assert ignored < 0.7  # what the clusters are for
