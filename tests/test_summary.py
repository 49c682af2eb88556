"""The intervals of a summary: those that a gate judges the same figures by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from eval.differences import items_of
from eval.engines.base import FinishReason
from eval.gating.rules import Gate, Rules
from eval.gating.scores import Scores
from eval.gating.verdicts import judge
from eval.records import Record, Status
from eval.statistics import wilson_interval
from eval.summary import Slice, slice_of, summarize
from eval.validity import Counts


def record(number: int, status: Status, group: str = "", sample: int = 0) -> Record:
    answer = {"right": "4", "wrong": "5"}.get(status)
    finish: FinishReason = "length" if status == "truncated" else "stop"
    tags = {"parity": "odd" if number % 2 else "even"}
    score = float(status == "right")
    return Record(f"e{number}", sample, status, score, "4", answer, None, "", finish, 1, {}, group, "", tags)


def in_groups(right: Sequence[bool], groups: int) -> list[Record]:
    """Example i is of group i modulo groups."""
    return [record(i, "right" if ok else "wrong", f"g{i % groups}") for i, ok in enumerate(right)]


def gated(records: Sequence[Record], metric: str, part: str = "") -> tuple[float, float]:
    """The interval that `toolkit gate` prints for a metric of the run."""
    scores = Scores({"task": "t"}, "m", {}, items_of(records), Counts(len(records), len(records), 0, 0))
    gate = Gate("at_least", metric, bound=0.5, slice=part)
    [judged] = judge(Rules((gate,)), scores, None).judgements
    return judged.low, judged.high


@pytest.mark.parametrize("groups", [1, 4, 30, 120])
def test_a_rate_has_the_interval_that_a_gate_gives_it(groups: int) -> None:
    statuses: list[Status] = ["right" if i % 4 != 3 or i < 20 else "wrong" for i in range(120)]
    statuses[9::10] = ["truncated"] * 12
    records = [record(i, status, f"g{i % groups}") for i, status in enumerate(statuses)]
    summary = summarize("t", "m", records, 120, 1.0)
    for metric in ("exact", "format", "truncated"):
        rate = getattr(summary.overall, metric)
        assert (rate.low, rate.high) == pytest.approx(gated(records, metric)), metric
        odd = getattr(summary.by_tag["parity"]["odd"], metric)
        assert (odd.low, odd.high) == pytest.approx(gated(records, metric, "parity=odd")), metric


def test_groups_widen_an_interval() -> None:
    right = [i % 4 != 3 or i < 20 for i in range(120)]  # three groups all right, one nearly all wrong
    wide, narrow = slice_of(in_groups(right, 4)).exact, slice_of(in_groups(right, 120)).exact
    assert wide.value == narrow.value
    assert wide.low < 0.25 < 0.7 < narrow.low
    assert narrow.high < 0.9 < wide.high


def test_samples_of_an_example_and_examples_of_a_group_hang_together() -> None:
    """pass@k and maj@k have the interval of examples in groups as well."""
    said: list[Status] = ["right" if i % 4 != 3 else "wrong" for i in range(40)]
    grouped, alone = (
        summarize(
            "t", "m", [record(i, said[i], f"g{i % groups}", sample) for i in range(40) for sample in (0, 1)], 80, 1.0
        )
        for groups in (4, 40)
    )
    assert grouped.overall.exact == grouped.pass_at[2] == grouped.majority_at[2]
    assert alone.overall.exact == alone.pass_at[2] == alone.majority_at[2]
    assert grouped.overall.exact.low < 0.3 < 0.55 < alone.overall.exact.low


def test_one_group_is_taken_as_independent_examples() -> None:
    """Nothing says how other groups differ: of the whole, and of a slice that lies in one group."""
    right = [i % 5 != 0 for i in range(100)]
    assert slice_of(in_groups(right, 1)) == slice_of(in_groups(right, 100))
    few = wilson_interval(80, 100)
    assert slice_of(in_groups(right, 1)).exact.low == pytest.approx(few.low, abs=0.01)
    parted = summarize("t", "m", in_groups(right, 2), 100, 1.0).by_tag["parity"]
    assert parted["odd"].exact.low == pytest.approx(wilson_interval(40, 50).low, abs=0.015)


@pytest.mark.parametrize("status", ["right", "wrong"])
def test_one_example_has_an_interval(status: Status) -> None:
    found: Slice = slice_of([record(0, status)])
    assert (found.exact.low, found.exact.high) == wilson_interval(found.exact.value, 1)


def test_the_interval_holds_the_true_rate_as_often_as_it_says() -> None:
    """Groups of 30 whose rates differ: examples taken as independent hold it half the time."""
    rng, mean, rho = np.random.default_rng(5), 0.7, 0.2
    held, rounds = 0, 200
    for _ in range(rounds):
        rates = rng.beta(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1), 4)
        found = slice_of(in_groups((rng.random(120) < np.tile(rates, 30)).tolist(), 4)).exact
        held += found.low <= mean <= found.high
    assert held / rounds >= 0.9
