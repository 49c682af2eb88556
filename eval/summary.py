"""What an evaluation amounts to: rates with intervals, over all examples and over each value of each tag."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.files import read_json
from eval.records import STATUSES, Record, by_example
from eval.samples import ballot, majority_at_k, pass_at_k, sizes
from eval.statistics import wilson_interval
from eval.validity import DEFAULT_LIMITS, Limits, check_validity, counts_of
from rewards.core import UserError

SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean in [0, 1] with its 95% Wilson interval, over examples.

    With several samples an example, the mean is over all samples and the interval counts each example once: wider than
    need be, never too narrow. It takes examples as independent; `eval.compare` doesn't.
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
    tagged: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for tag, value in record.tags.items():
            tagged[tag][str(value)].append(record)
    return Summary(
        task=task,
        model=model,
        overall=slice_of(records),
        by_tag={
            tag: {value: slice_of(some) for value, some in sorted(values.items())}
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


def pass_at(records: Sequence[Record]) -> dict[int, Rate]:
    """k -> mean of pass@k over the examples; a sample is right when its status is. Empty for one sample an example."""
    tallies = [(len(some), sum(each.status == "right" for each in some)) for some in by_example(records).values()]
    return {k: _mean_rate([pass_at_k(n, right, k) for n, right in tallies]) for k in _sizes(records)}


def majority_at(records: Sequence[Record]) -> dict[int, Rate]:
    """k -> mean of maj@k over the examples. Empty for one sample an example."""
    ballots = [ballot(some) for some in by_example(records).values()]
    return {k: _mean_rate([majority_at_k(votes, silent, k) for votes, silent in ballots]) for k in _sizes(records)}


def _sizes(records: Sequence[Record]) -> tuple[int, ...]:
    n = min(map(len, by_example(records).values()))
    return sizes(n) if n > 1 else ()


def _mean_rate(values: Sequence[float]) -> Rate:
    return _rate(fmean(values), 1, len(values))


def slice_of(records: Sequence[Record]) -> Slice:
    """The rates of some records."""
    counts = Counter(record.status for record in records)
    n = len({record.id for record in records})
    kept = sum(record.well_formed for record in records)
    exact = _rate(sum(record.score for record in records), len(records), n)
    return Slice(
        n=n,
        samples=len(records),
        exact=exact,
        format=_rate(kept, len(records), n),
        truncated=_rate(counts["truncated"], len(records), n),
        tokens=round(sum(record.tokens for record in records) / len(records), 2),
        statuses={status: counts[status] for status in STATUSES},
        bounds=(exact.value, min(1.0, exact.value + counts["truncated"] / len(records))),
    )


def _rate(total: float, samples: int, n: int) -> Rate:
    value = min(1.0, total / samples)  # a sum of rounded thirds may end above
    low, high = wilson_interval(min(n, value * n), n)
    return Rate(value, low, high)


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
