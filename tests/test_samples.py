"""pass@k and maj@k against the enumeration of every subset of k samples, and on what their definitions must give."""

from __future__ import annotations

import random
from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.records import Record, Status
from eval.samples import Votes, ballot, majority_at_k, pass_at_k, sizes
from eval.summary import majority_at, pass_at, slice_of, summarize
from rewards.canonical import canonical


def majority_of(drawn: tuple[int, ...], scores: dict[int, float]) -> float:
    """By definition: the most frequent of the drawn answers, a tie shared; -1 is a sample without an answer."""
    counts = {answer: drawn.count(answer) for answer in drawn if answer != -1}
    if not counts:
        return 0.0
    top = [answer for answer, count in counts.items() if count == max(counts.values())]
    return fmean(scores[answer] for answer in top)


def record(answer: str | None, right: bool, key: str = "a", sample: int = 0, status: Status | None = None) -> Record:
    status = status or ("right" if right else "wrong")
    return Record(key, sample, status, float(right), "g", answer, None, answer or "", "stop", 1, {}, "", "")


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n: int) -> None:
    for right in range(n + 1):
        samples = [True] * right + [False] * (n - right)
        for k in range(1, n + 1):
            brute = fmean(any(drawn) for drawn in combinations(samples, k))
            assert pass_at_k(n, right, k) == pytest.approx(brute, abs=1e-15)


def test_pass_at_k_is_exact_where_floats_give_out() -> None:
    assert pass_at_k(10_000, 1, 1) == 1 / 10_000
    assert pass_at_k(10_000, 1, 5_000) == 0.5  # C(10000, 5000) has 3,008 digits
    assert pass_at_k(10**6, 1, 3) == pytest.approx(3e-6, rel=1e-15)  # 1 - (1 - 3e-6) would keep 11 digits
    assert pass_at_k(8, 0, 8) == 0
    assert pass_at_k(8, 1, 8) == 1


def test_pass_at_k_is_unbiased() -> None:
    """The mean over many draws of 8 samples is the chance that k fresh samples would have had."""
    draw, chance, k = random.Random(0), 0.15, 4
    estimates = [pass_at_k(8, sum(draw.random() < chance for _ in range(8)), k) for _ in range(20_000)]
    assert fmean(estimates) == pytest.approx(1 - (1 - chance) ** k, abs=0.01)


@pytest.mark.parametrize(("n", "right", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_refuses_what_has_no_meaning(n: int, right: int, k: int) -> None:
    with pytest.raises(ValueError, match="want 0 <= right <= n"):
        pass_at_k(n, right, k)


@settings(max_examples=150, deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    silent=st.integers(0, 3),
    golds=st.sets(st.integers(0, 4), max_size=2),
    data=st.data(),
)
def test_majority_at_k_is_the_mean_over_all_subsets(
    counts: list[int], silent: int, golds: set[int], data: st.DataObject
) -> None:
    counts = counts if sum(counts) <= 9 else counts[:2]
    k = data.draw(st.integers(1, sum(counts) + silent))
    scores = {answer: float(answer in golds) if answer else 0.25 for answer in range(len(counts))}
    samples = [answer for answer, count in enumerate(counts) for _ in range(count)] + [-1] * silent
    brute = fmean(majority_of(drawn, scores) for drawn in combinations(samples, k))
    votes = [Votes(count, scores[answer]) for answer, count in enumerate(counts)]
    assert majority_at_k(votes, silent, k) == pytest.approx(brute, abs=1e-12)


def test_a_tie_is_shared_and_silence_wins_nothing() -> None:
    right, wrong = Votes(2, 1.0), Votes(2, 0.0)
    assert majority_at_k([right, wrong], 0, 4) == 0.5
    assert majority_at_k([right, wrong, wrong], 0, 6) == pytest.approx(1 / 3)
    assert majority_at_k([right], 6, 8) == 1.0  # six silent samples don't outvote two that speak
    assert majority_at_k([], 4, 4) == 0.0
    assert majority_at_k([Votes(3, 1.0), Votes(1, 0.0)], 0, 1) == 0.75  # maj@1 is the mean
    with pytest.raises(ValueError, match="want 1 <= k <= n"):
        majority_at_k([right], 0, 3)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2025-01-19T12:00:00Z", "2025-01-19T12:00:00+00:00", True),
        ("2025-01-19T12:00:00+03:00", "2025-01-19T09:00:00+00:00", False),  # the task tells offsets apart
        ("1,234", "1234.0", True),
        ("-0", "0", True),
        ("1e3", "1000", True),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', True),
        ('{"a": 1}', '{"a": "1"}', False),
        ('{"a": 1, "b": [-0.0]}', '{"a": 1.0, "b": [0]}', True),
        ('{"a": 1}', '{"a": true}', False),
        ("1" * 31 + "2", "1" * 31 + "3", False),
        ("1" * 31 + "0", f"{'1' * 31}0.0", True),
        ("two  words\n", "two words", True),
        ("None", "none", False),  # the scorer tells them apart, so they are two answers
    ],
)
def test_answers_that_say_the_same_vote_together(one: str, other: str, same: bool) -> None:
    assert (canonical(one) == canonical(other)) is same


def test_a_ballot_counts_answers_and_silence() -> None:
    votes, silent = ballot(
        [record("1", False), record("1.0", False), record("2", True), record(None, False, status="truncated")]
    )
    assert (votes, silent) == ([Votes(2, 0.0), Votes(1, 1.0)], 1)


def test_what_the_metric_tells_apart_votes_apart() -> None:
    """exact_text takes 0123 and not 123, which are one number: no answer is right by 0.4."""
    votes, _ = ballot([record("0123", True), record("0123", True), *(record("123", False) for _ in range(3))])
    assert votes == [Votes(2, 1.0), Votes(3, 0.0)]
    assert majority_at_k(votes, 0, 5) == 0.0


def test_a_metric_that_reads_the_whole_text_votes_with_it() -> None:
    whole = Record("a", 0, "right", 1.0, "g", None, "missing_tag", "tuned", "stop", 1, {}, "", "")
    assert ballot([whole]) == ([Votes(1, 1.0)], 0)


def test_the_reported_sizes() -> None:
    assert [sizes(n) for n in (1, 2, 4, 6, 8)] == [(1,), (1, 2), (1, 2, 4), (1, 2, 4, 6), (1, 2, 4, 8)]


def test_a_summary_of_several_samples() -> None:
    """Example a: right 3 of 4, b: one right, one other answer twice, one cut."""
    a = [record("g", True, "a", i) for i in range(3)] + [record("x", False, "a", 3)]
    b = [record("g", True, "b", 0), *(record("y", False, "b", i) for i in (1, 2))]
    b.append(record(None, False, "b", 3, "truncated"))
    summary = summarize("t", "m", a + b, 8, 1.0)
    assert summary.overall.exact.value == 0.5  # the mean of n
    assert {k: rate.value for k, rate in summary.pass_at.items()} == pytest.approx({1: 0.5, 2: 0.75, 4: 1.0})
    assert {k: rate.value for k, rate in summary.majority_at.items()} == pytest.approx(
        {1: 0.5, 2: fmean([0.75, fmean([1, 0.5, 0.5, 0, 0, 0])]), 4: 0.5}
    )
    assert slice_of(a + b).bounds == (0.5, 0.625)


def test_one_sample_an_example_has_neither() -> None:
    assert pass_at([record("g", True)]) == majority_at([record("g", True)]) == {}
