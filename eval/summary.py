"""What an evaluation amounts to: rates with intervals, over all examples and over each value of each tag."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.files import read_json
from eval.records import STATUSES, Record
from eval.statistics import wilson_interval

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
    """

    n: int
    samples: int
    exact: Rate
    format: Rate
    truncated: Rate
    tokens: float
    statuses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Summary:
    """An evaluation. by_tag: tag -> value -> slice. rewards: mean of each. completions and seconds: what this session
    generated (a resumed evaluation generates less than it reports) and how long that took, without loading the model.
    """

    task: str
    model: str
    overall: Slice
    by_tag: Mapping[str, Mapping[str, Slice]]
    rewards: Mapping[str, float]
    completions: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `read_summary` reads it back from DIR/summary.json."""
        return asdict(self)


def summarize(task: str, model: str, records: Sequence[Record], completions: int, seconds: float) -> Summary:
    """Sum up the records. Raises ValueError without any."""
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
    )


def slice_of(records: Sequence[Record]) -> Slice:
    """The rates of some records."""
    counts = Counter(record.status for record in records)
    n = len({record.id for record in records})
    kept = sum(record.finish_reason == "stop" and record.problem is None for record in records)
    return Slice(
        n=n,
        samples=len(records),
        exact=_rate(sum(record.score for record in records), len(records), n),
        format=_rate(kept, len(records), n),
        truncated=_rate(counts["truncated"], len(records), n),
        tokens=round(sum(record.tokens for record in records) / len(records), 2),
        statuses={status: counts[status] for status in STATUSES},
    )


def _rate(total: float, samples: int, n: int) -> Rate:
    value = total / samples
    low, high = wilson_interval(value * n, n)
    return Rate(value, low, high)


def read_summary(directory: Path) -> Summary:
    """The summary of a finished evaluation. Raises UserError where there is none."""
    row = read_json(directory / SUMMARY, "the evaluation isn't finished: run it again with the same directory")
    return Summary(
        **{
            **row,
            "overall": _slice(row["overall"]),
            "by_tag": {
                tag: {value: _slice(some) for value, some in values.items()} for tag, values in row["by_tag"].items()
            },
        }
    )


def _slice(row: Mapping[str, Any]) -> Slice:
    return Slice(**{**row, **{name: Rate(**row[name]) for name in ("exact", "format", "truncated")}})
