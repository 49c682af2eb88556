"""What benchmarks/evaluation.py says of its rounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.evaluation import paired_ratio, verdict


def test_the_ratio_of_paired_rounds_has_student_s_interval() -> None:
    ours, bare = [11.1, 11.0, 9.3, 8.0], [11.0, 8.3, 9.6, 8.7]
    logs = np.log(np.array(ours) / np.array(bare))
    low, high = np.exp(stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs)))
    assert paired_ratio(ours, bare) == pytest.approx((math.exp(logs.mean()), low, high))
    assert verdict(*paired_ratio(ours, bare)).endswith("(at most +3%: these rounds can't tell)")


@pytest.mark.parametrize(
    ("ours", "said"),
    [([10.0, 10.1, 10.0], "kept"), ([12.0, 12.1, 12.0], "broken"), ([10.0], "these rounds can't tell")],
)
def test_the_verdict_is_one_of_three(ours: list[float], said: str) -> None:
    assert verdict(*paired_ratio(ours, [10.0] * len(ours))).endswith(f"(at most +3%: {said})")
