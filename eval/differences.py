"""One way to compute a difference: `compare` and the gate both come here. Items, their values, pairs of values."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from eval.prompts import short_hash
from eval.records import Record, by_example
from eval.statistics import Interval, detectable, holm, paired_score, sign_flip

REWARD = "reward:"
# What each fixed metric takes from a record. All lie in [0, 1]; `truncated` is the one that is better low.
METRICS: Mapping[str, Callable[[Record], float]] = {
    "exact": lambda record: record.score,
    "format": lambda record: float(record.well_formed),
    "truncated": lambda record: float(record.status == "truncated"),
}
LOW_IS_GOOD = ("truncated",)


@dataclass(frozen=True, slots=True)
class Item:
    """One example of an evaluation. values: metric -> mean over its samples. said: hash of its completions, or "" """

    id: str
    group: str
    tags: Mapping[str, str]
    prompt_hash: str
    values: Mapping[str, float]
    said: str = ""

    @property
    def cluster(self) -> str:
        """Its group or, where it has none, itself."""
        return cluster_of(self.group, self.id)


@dataclass(frozen=True, slots=True)
class Difference:
    """Means of a metric over n items, and candidate - base with its interval.

    clusters: how many independent ones the interval counts. p: two-sided, of the sign-flip test over clusters (exact
    McNemar where each cluster is one yes-or-no item). p_holm: the same, after Holm over all slices; None overall.
    detectable: the smallest true difference that such a sample shows with power 0.8; 1 where it shows none.
    """

    n: int
    base: float
    candidate: float
    difference: float
    low: float
    high: float
    clusters: int
    p: float
    detectable: float
    p_holm: float | None = None


def cluster_of(group: str, example_id: str) -> str:
    """What an example isn't independent within: its group or, where it has none, itself."""
    return f"group {group}" if group else f"id {example_id}"


def worst_of(metric: str) -> float:
    """What a missing completion counts as."""
    return 1.0 if metric in LOW_IS_GOOD else 0.0


def items_of(records: Iterable[Record], samples: int = 1) -> dict[str, Item]:
    """Items by id, in the order of the records, with every metric and `reward:NAME`.

    samples: completions that each example should have; an absent one counts as the worst value.
    """
    return {key: _item(some, samples) for key, some in by_example(records).items()}


def _item(records: Sequence[Record], samples: int) -> Item:
    first = records[0]
    columns = {name: [take(record) for record in records] for name, take in METRICS.items()}
    columns |= {f"{REWARD}{name}": [record.rewards[name] for record in records] for name in first.rewards}
    absent = max(0, samples - len(records))
    means = {name: fmean([*values, *[worst_of(name)] * absent]) for name, values in columns.items()}
    said = json.dumps(sorted([record.sample, record.completion, record.finish_reason] for record in records))
    return Item(first.id, first.group, first.tags, first.prompt_hash, means, short_hash(said))


def independent(clusters: Sequence[str]) -> list[str]:
    """The clusters of a whole evaluation; each item as its own where there is only one, which allows no interval."""
    return list(clusters) if len(set(clusters)) > 1 else [f"{index}" for index in range(len(clusters))]


def difference(
    base: Sequence[float], candidate: Sequence[float], clusters: Sequence[str], alpha: float = 0.05
) -> Difference:
    """Difference of two means over the same items, values in [0, 1]. One cluster says nothing: (-1, 1), p = 1."""
    apart = np.asarray(candidate, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    count = len(set(clusters))
    interval, p, smallest = Interval(-1.0, 1.0), 1.0, 1.0
    if count > 1:
        score = paired_score(apart, clusters)
        low, high = score.bounds(1 - alpha)
        interval, p = Interval(float(low), float(high)), sign_flip(apart.tolist(), clusters)
        smallest = detectable(score, interval, count, alpha)
    return Difference(
        n=len(apart),
        base=fmean(base),
        candidate=fmean(candidate),
        difference=float(apart.mean()),
        low=interval.low,
        high=interval.high,
        clusters=count,
        p=p,
        detectable=smallest,
    )


def margin_test(
    base: Sequence[float], candidate: Sequence[float], clusters: Sequence[str], mean: float
) -> tuple[float, float]:
    """One-sided p values of candidate - base: that the true mean is at least `mean`, and that it is at most that."""
    if len(set(clusters)) < 2:
        return 1.0, 1.0
    apart = np.asarray(candidate, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    score = paired_score(apart, clusters)
    return float(score.p_below(mean)), float(score.p_above(mean))


def by_tag(tags: Sequence[Mapping[str, str]]) -> dict[str, dict[str, list[int]]]:
    """tag -> value -> indices of the items that have it, both sorted."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, each in enumerate(tags):
        for tag, value in each.items():
            found[tag][str(value)].append(index)
    return {tag: dict(sorted(values.items())) for tag, values in sorted(found.items())}


def with_holm(slices: Mapping[str, Mapping[str, Difference]]) -> dict[str, dict[str, Difference]]:
    """The slices with p_holm: adjusted over all values of all tags together."""
    keys = [(tag, value) for tag, values in slices.items() for value in values]
    adjusted = dict(zip(keys, holm([slices[tag][value].p for tag, value in keys]), strict=True))
    return {
        tag: {value: replace(some, p_holm=adjusted[tag, value]) for value, some in values.items()}
        for tag, values in slices.items()
    }
