"""Does training see what the test asks? `toolkit task check` fails on what this finds.

Checked over n examples a split: groups, reference dates and pairs of phenomena that must not be shared; whole prompts,
exact and normalized; answers that differ from a training answer on the same day in a few letters; and public test rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from rewards.core import Example
from tasks.base import SPLITS, Split, Task
from tasks.datetime_extraction.public import is_public, normalized
from tasks.datetime_extraction.splits import held_out

NEAR = 0.9  # Jaccard similarity of letter triples from which two answers of one day count as near-duplicates
EXAMPLES = 8000


def check(task: Task, n: int = EXAMPLES, seed: int = 0) -> list[str]:
    """What leaks, one readable line for each kind; an empty list means nothing does."""
    built = {split: list(task.examples(split, n, seed)) for split in SPLITS}
    found = []
    for one, other in combinations(SPLITS, 2):
        found += _shared(one, built[one], other, built[other])
    found += _public_rows(built["train"])
    if any("day" in example.tags for example in built["train"]):
        found += _shared_dates(built) + _held_out_pairs(built["train"]) + _held_out_pairs(built["validation"])
    return found


def _line(count: int, what: str, where: str) -> list[str]:
    return [f"{where}: {count} {what}"] if count else []


def _shared(one: Split, ours: list[Example], other: Split, theirs: list[Example]) -> list[str]:
    where = f"{one} and {other}"
    groups = {example.group for example in ours} & {example.group for example in theirs}
    exact = {_prompt(example) for example in ours} & {_prompt(example) for example in theirs}
    same = {normalized(_prompt(example)) for example in ours} & {normalized(_prompt(example)) for example in theirs}
    return [
        *_line(len(groups), "groups in both", where),
        *_line(len(exact), "prompts in both", where),
        *_line(len(same - exact), "prompts in both after normalization", where),
        *_line(sum(_near_duplicates(ours, theirs)), "near-duplicates on the same day", where),
    ]


def _prompt(example: Example) -> str:
    return "\n".join(turn["content"] for turn in example.messages)


def _near_duplicates(ours: list[Example], theirs: list[Example]) -> Iterator[bool]:
    """For each of theirs, whether one of ours asks nearly the same: the same setting, and words that are close.

    The same words on another day are another question: it is the arithmetic that a model must not have seen.
    """
    known: dict[str, list[set[str]]] = {}
    for example in ours:
        known.setdefault(_setting(example), []).append(_triples(example))
    for example in theirs:
        rivals = known.get(_setting(example), [])
        triples = _triples(example) if rivals else set()
        yield any(len(triples & rival) >= NEAR * len(triples | rival) for rival in rivals)


def _setting(example: Example) -> str:
    return str(example.context.get("today"))


def _triples(example: Example) -> set[str]:
    text = f" {normalized(str(example.context.get('text')))} "
    return {text[i : i + 3] for i in range(len(text) - 2)}


def _public_rows(train: Iterable[Example]) -> list[str]:
    return _line(sum(is_public(str(example.context.get("text"))) for example in train), "public test rows", "train")


def _shared_dates(built: dict[Split, list[Example]]) -> list[str]:
    found = []
    for one, other in combinations(SPLITS, 2):
        ours, theirs = ({_setting(example) for example in built[split]} for split in (one, other))
        found += _line(len(ours & theirs), "reference dates in both", f"{one} and {other}")
    return found


def _held_out_pairs(examples: Iterable[Example]) -> list[str]:
    count = sum(held_out(example.tags["day"], example.tags["clock"]) for example in examples)
    return _line(count, "examples of pairs of phenomena that only the test may have", "train or validation")
