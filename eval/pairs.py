"""Two evaluations of the same examples side by side, and what keeps them from being compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from eval.differences import Item, cluster_of
from eval.records import Record, by_example
from eval.scorers import another_scorer, other_scorers


@dataclass(frozen=True, slots=True)
class Pair:
    """All samples of one example, of both."""

    base: tuple[Record, ...]
    candidate: tuple[Record, ...]

    @property
    def first(self) -> Record:
        """A record to read id, group, tags and gold from."""
        return self.base[0]

    @property
    def cluster(self) -> str:
        """The group or, where there is none, the example itself."""
        return cluster_of(self.first.group, self.first.id)

    @property
    def scores(self) -> tuple[float, float]:
        """Mean score of the base, and of the candidate."""
        return fmean(record.score for record in self.base), fmean(record.score for record in self.candidate)

    @property
    def difference(self) -> float:
        """Mean score of the candidate less that of the base."""
        base, candidate = self.scores
        return candidate - base


def pair_up(
    base: Sequence[Record], candidate: Sequence[Record], ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> tuple[list[Pair], list[str]]:
    """Pairs in the order of the base's file, and what is missing."""
    sides = by_example(base), by_example(candidate)
    reasons = []
    for name, side, other, wanted in (("base", sides[0], sides[1], ours), ("candidate", sides[1], sides[0], theirs)):
        lacking = sorted(set(other) - set(side))
        if lacking:
            reasons.append(f"the {name} lacks {len(lacking)} examples that the other has, for instance {lacking[0]!r}")
        complete = wanted["n"] * wanted["sampling"]["n"]
        found = sum(map(len, side.values()))
        if found != complete:
            reasons.append(f"the {name} has {found} of {complete} records: finish it by running it again")
        reasons += failed(name, (record for records in side.values() for record in records))
    pairs = [Pair(tuple(sides[0][key]), tuple(sides[1][key])) for key in sides[0] if key in sides[1]]
    if said := other_scorers(ours, theirs):
        reasons += said
    elif count := sum(map(_scored_otherwise, pairs)):
        reasons.append(another_scorer(count))
    reasons += grouped_otherwise((pair.base[0], pair.candidate[0]) for pair in pairs)
    return pairs, reasons


def failed(name: str, records: Iterable[Record]) -> list[str]:
    """The reason that answers which an engine failed to give compare with nothing, if there are any."""
    count = sum(record.status == "error" for record in records)
    mend = "run it again to retry them"
    return [f"{count} answers of the {name} are engine errors (the records' `problem`): {mend}"] if count else []


def _scored_otherwise(pair: Pair) -> bool:
    """Whether the two said the same to it and were scored differently."""
    base, candidate = (
        {(record.sample, record.completion, record.finish_reason): record.score for record in side}
        for side in (pair.base, pair.candidate)
    )
    return any(base[key] != candidate[key] for key in base.keys() & candidate.keys())


def grouped_otherwise(pairs: Iterable[tuple[Item | Record, Item | Record]]) -> list[str]:
    """The reason that two evaluations' records of the same examples can't be paired, if there is one.

    Which examples are independent must be the same for both, or the interval would hang on which of the two is asked.
    """
    count = sum(one.group != other.group for one, other in pairs)
    again = "evaluate both again in their directories, which asks nothing that is answered, or `toolkit rescore` both"
    return [f"{count} examples are of other groups in the one than in the other: {again}"] if count else []


def tagged_otherwise(pairs: Iterable[tuple[Item | Record, Item | Record]]) -> list[str]:
    """A note where the two don't slice alike."""
    count = sum(one.tags != other.tags for one, other in pairs)
    return [f"tags of {count} examples differ: slices are the base's"] if count else []
