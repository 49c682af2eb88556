"""What an evaluation amounts to: rates with intervals, over all examples and over each value of each tag."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.differences import METRICS, cluster_of, independent
from eval.files import read_json
from eval.records import STATUSES, Record, by_example
from eval.samples import ballot, majority_at_k, pass_at_k, sizes
from eval.statistics import rate_interval
from eval.validity import DEFAULT_LIMITS, Limits, check_validity, counts_of
from rewards.core import UserError

SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean in [0, 1] with its 95% interval, the one that a gate judges: over examples, those of a group as a cluster.

    With several samples an example, the mean is over all samples and the interval counts each example once. Where all
    (of a slice, too, of which a gate then says nothing) are of one group, it takes them as independent.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the examples. n: examples. samples: completions. exact: mean of the metric. format: share of completions
    that keep the format. truncated: share cut at max_tokens. tokens: mean generated tokens. statuses: completions each.
    bounds: `exact` with every truncated completion counted wrong, and with every one counted right.
    """

    n: int
    samples: int
    exact: Rate
    format: Rate
    truncated: Rate
    tokens: float
    statuses: Mapping[str, int]
    bounds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """An evaluation. by_tag: tag -> value -> slice. rewards: mean of each. completions and seconds: what this session
    generated (a resumed evaluation generates less than it reports) and how long that took, without loading the model.
    cached: how many it took from the cache. invalid: why this is no measurement (`eval.validity`), empty when it is.
    pass_at, majority_at: k -> pass@k and maj@k (`eval.samples`) where there are several samples an example; their
    overall.exact is the mean of all samples.
    """

    task: str
    model: str
    overall: Slice
    by_tag: Mapping[str, Mapping[str, Slice]]
    rewards: Mapping[str, float]
    completions: int
    seconds: float
    cached: int = 0
    invalid: tuple[str, ...] = ()
    pass_at: Mapping[int, Rate] = field(default_factory=dict)
    majority_at: Mapping[int, Rate] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `read_summary` reads it back from DIR/summary.json."""
        return asdict(self)


def summarize(
    task: str,
    model: str,
    records: Sequence[Record],
    completions: int,
    seconds: float,
    *,
    cached: int = 0,
    expected: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Summary:
    """Sum up the records. expected: how many there should be, when not just these. Raises ValueError without any."""
    if not records:
        raise ValueError("no records to sum up")
    examples = _examples(records)
    tagged: dict[str, dict[str, list[_Example]]] = defaultdict(lambda: defaultdict(list))
    for one in examples:
        for tag, value in one.records[0].tags.items():
            tagged[tag][str(value)].append(one)
    return Summary(
        task=task,
        model=model,
        overall=_slice_of(examples),
        by_tag={
            tag: {value: _slice_of(some) for value, some in sorted(values.items())}
            for tag, values in sorted(tagged.items())
        },
        rewards={name: sum(record.rewards[name] for record in records) / len(records) for name in records[0].rewards},
        completions=completions,
        seconds=round(seconds, 3),
        cached=cached,
        invalid=check_validity(counts_of(records, len(records) if expected is None else expected), limits),
        pass_at=pass_at(records),
        majority_at=majority_at(records),
    )


@dataclass(frozen=True, slots=True)
class _Example:
    """All samples of one example. sums: over them, of each of METRICS, once for all slices that it is in."""

    records: Sequence[Record]
    cluster: str
    sums: tuple[float, ...]


def _examples(records: Sequence[Record]) -> list[_Example]:
    return [
        _Example(some, cluster_of(some[0].group, some[0].id), tuple(sum(map(take, some)) for take in METRICS.values()))
        for some in by_example(records).values()
    ]


def pass_at(records: Sequence[Record]) -> dict[int, Rate]:
    """k -> mean of pass@k over the examples; a sample is right when its status is. Empty for one sample an example."""
    examples = _examples(records)
    tallies = [(len(one.records), sum(each.status == "right" for each in one.records)) for one in examples]
    return {k: _mean_rate([pass_at_k(n, right, k) for n, right in tallies], examples) for k in _sizes(examples)}


def majority_at(records: Sequence[Record]) -> dict[int, Rate]:
    """k -> mean of maj@k over the examples. Empty for one sample an example."""
    examples = _examples(records)
    ballots = [ballot(one.records) for one in examples]
    return {k: _mean_rate([majority_at_k(*votes, k) for votes in ballots], examples) for k in _sizes(examples)}


def _sizes(examples: Sequence[_Example]) -> tuple[int, ...]:
    n = min(len(one.records) for one in examples)
    return sizes(n) if n > 1 else ()


def _mean_rate(values: Sequence[float], examples: Sequence[_Example]) -> Rate:
    return _rate(fmean(values), values, independent([one.cluster for one in examples]))


def slice_of(records: Sequence[Record]) -> Slice:
    """The rates of some records."""
    return _slice_of(_examples(records))


def _slice_of(examples: Sequence[_Example]) -> Slice:
    records = [record for one in examples for record in one.records]
    counts = Counter([record.status for record in records])
    clusters = independent([one.cluster for one in examples])
    rates = {}
    for place, name in enumerate(METRICS):
        means = [one.sums[place] / len(one.records) for one in examples]
        rates[name] = _rate(sum(one.sums[place] for one in examples) / len(records), means, clusters)
    exact = rates["exact"]
    return Slice(
        n=len(examples),
        samples=len(records),
        exact=exact,
        format=rates["format"],
        truncated=rates["truncated"],
        tokens=round(sum(record.tokens for record in records) / len(records), 2),
        statuses={status: counts[status] for status in STATUSES},
        bounds=(exact.value, min(1.0, exact.value + counts["truncated"] / len(records))),
    )


def _rate(mean: float, means: Sequence[float], clusters: Sequence[str]) -> Rate:
    """mean: of all samples. means: of each example's; the interval is theirs."""
    # a sum of rounded thirds may end above 1
    return Rate(min(1.0, mean), *rate_interval([min(1.0, each) for each in means], clusters))


def read_summary(directory: Path) -> Summary:
    """The summary of a finished evaluation, an older version's too. Raises UserError where there is none to read."""
    path = directory / SUMMARY
    row = read_json(path, "the evaluation isn't finished: run it again with the same directory")
    try:
        return _summary(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a summary ({error}); run it again with the same directory") from error


def _summary(row: Mapping[str, Any]) -> Summary:
    return Summary(
        **{
            **row,
            "overall": _slice(row["overall"]),
            "by_tag": {
                tag: {value: _slice(some) for value, some in values.items()} for tag, values in row["by_tag"].items()
            },
            "invalid": tuple(row.get("invalid", ())),
            **{name: _by_size(row.get(name, {})) for name in ("pass_at", "majority_at")},
        }
    )


def _slice(row: Mapping[str, Any]) -> Slice:
    rates = {name: Rate(**row[name]) for name in ("exact", "format", "truncated")}
    exact, truncated = rates["exact"].value, rates["truncated"].value
    return Slice(
        **{
            **row,
            **rates,
            "statuses": {status: row["statuses"].get(status, 0) for status in STATUSES},
            "bounds": tuple(row.get("bounds") or (exact, min(1.0, exact + truncated))),
        }
    )


def _by_size(row: Mapping[str, Any]) -> dict[int, Rate]:
    return {int(k): Rate(**rate) for k, rate in row.items()}


def why_invalid(directory: Path) -> tuple[str, ...]:
    """What the evaluation's own summary says, under the limits it ran with; nothing where it has no summary."""
    return read_summary(directory).invalid if (directory / SUMMARY).is_file() else ()
