"""What became of every row, in numbers and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from eval.shown import limit, percent
from rewards.core import UserError
from tasks.tables.rows import Bad
from toolkit.conversations.twins import TwinReport, Twins

SHOWN = 10  # bad rows that a report and an error name
PATIENCE = 1000  # rows: when all of the first ones are bad, the rest isn't read


class Firsts(dict[str, str]):
    """Where each thing was met first."""

    def __iadd__(self, other: Mapping[str, str]) -> Self:
        """Take up what comes later in the file."""
        for what, place in other.items():
            self.setdefault(what, place)
        return self


@dataclass(slots=True)
class Counts:
    """rows = conversations + bad; conversations = those of train and validation + too_long.

    sequences, tokens and supervised count what is trained on; they stay 0 without a model. silent: answers that aren't
    learned. noted: conversations, by what there is to know of them.
    """

    rows: int = 0
    conversations: int = 0
    bad: int = 0
    turns: int = 0
    with_system: int = 0
    several_turns: int = 0
    silent: int = 0
    too_long: int = 0
    validation: int = 0
    sequences: int = 0
    tokens: int = 0
    supervised: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    first_noted: Firsts = field(default_factory=Firsts)
    lengths: Counter[int] = field(default_factory=Counter)


class Tally:
    """Counts rows as they pass, and holds them to the threshold."""

    def __init__(self, source: str, max_bad_share: float) -> None:
        self.source, self.max_bad_share = source, max_bad_share
        self.counts = Counts()
        self.twins = Twins()
        self.first: list[Bad] = []
        self.fatal = False

    def add(
        self, chunk_counts: Counts, bad: Sequence[Bad], twins: Sequence[tuple[int, int, int, str]], near: Any
    ) -> None:
        """Count a chunk. near: features of the rows in twins. Raises UserError when nothing but bad rows has come."""
        for each in fields(Counts):
            value = getattr(self.counts, each.name)
            value += getattr(chunk_counts, each.name)
            setattr(self.counts, each.name, value)
        self.counts.reasons.update(kind_of(each.reason) for each in bad)
        self.fatal = self.fatal or any(each.fatal for each in bad)
        self.first += bad[: SHOWN - len(self.first)]
        for twin in twins:
            self.twins.add(*twin)
        self.twins.add_features(near)
        if self.counts.bad == self.counts.rows >= PATIENCE and self.max_bad_share < 1:
            self.check()

    def check(self) -> None:
        """Raises UserError when too many rows are bad, when the file broke off, or when none is good."""
        counts = self.counts
        if not counts.rows:
            raise UserError(f"{self.source}: has no rows")
        lines = [str(each) for each in self.first]
        if counts.bad > len(lines):
            lines.append(f"… and {counts.bad - len(lines)} more")
        if not counts.conversations:
            lines = _a_line_each(self.first)
            lines.append(f"{self.source}: none of {counts.rows} rows can be used")
        elif problem := too_many_bad(self._outcome(), self.max_bad_share):
            lines.append(problem)
        else:
            return
        raise UserError("\n".join(lines))

    def _outcome(self) -> dict[str, Any]:
        return {"source": self.source, "fatal": self.fatal, "rows": self.counts.rows, "bad": self.counts.bad}

    def to_json(self) -> dict[str, Any]:
        """Counts and twins, JSON values only."""
        return {
            **self._outcome(),
            **{each.name: getattr(self.counts, each.name) for each in fields(Counts)},
            "lengths": {str(length): n for length, n in sorted(self.counts.lengths.items())},
            "first_bad": [each.to_json() for each in self.first],
            "twins": asdict(self.twins.report()),
        }


def _a_line_each(bad: Sequence[Bad]) -> list[str]:
    """The first row of each reason: of a file whose every row is bad, which rows they are says nothing."""
    return [str(row) for row in {each.reason: each for each in reversed(bad)}.values()][::-1]


def too_many_bad(report: dict[str, Any], max_bad_share: float) -> str | None:
    """What to say when more than this share of the rows is bad, or when the file broke off."""
    share = report["bad"] / report["rows"]
    if share <= max_bad_share and (not report["fatal"] or max_bad_share == 1):
        return None
    return (
        f"{report['source']}: {report['bad']} of {report['rows']} rows ({percent(share)}) can't be used, "
        f"data.max_bad_share is {limit(max_bad_share)}; mend them, or go on without them: --set data.max_bad_share=1"
    )


def kind_of(reason: str) -> str:
    """A reason without what is particular to one row: digits and quoted or bracketed values, also those cut short.

    An apostrophe within a word begins no quote, and whose turn it is stays.
    """
    import re

    quoted = r"(?<!\w)'[^']*(?:'|…)|(?<!\w)\"[^\"]*(?:\"|…)"
    bracketed = r"\((?!(?:system|user|assistant)\))[^)]*\)"
    return re.sub(rf"{quoted}|{bracketed}|\d+", "…", reason)[:80]


def summary_lines(report: dict[str, Any]) -> list[str]:
    """The report for a person."""
    n = report
    read_as = "".join(f", read as {each}" for each in n["encodings"])
    lines = [
        f"{n['source']}{read_as}: {n['rows']} rows, {n['conversations']} conversations, {n['bad']} bad",
        f"  turns {n['turns']}, with a system message {n['with_system']}, with several answers {n['several_turns']}",
    ]
    if n["silent"]:
        lines.append(f"  answers that aren't learned (weight 0): {n['silent']}")
    lines += [f"  note: {count} x {what} (first in {n['first_noted'][what]})" for what, count in n["noted"].items()]
    lines += [f"  bad: {count} x {reason}" for reason, count in sorted(n["reasons"].items(), key=lambda each: -each[1])]
    lines += [f"  row {bad['row']} of {bad['file']}: {bad['reason']}" for bad in n["first_bad"]]
    twins = TwinReport(**n["twins"])
    if twins.repeated:
        lines.append(
            f"  repeated (same prompt, same answer): {twins.repeated} rows: {'; '.join(twins.repeated_examples)}"
        )
    if twins.conflicting:
        shown = "; ".join(twins.conflicting_examples)
        lines.append(f"  in conflict (same prompt, other answers): {twins.conflicting} rows: {shown}")
    if twins.near:
        lines.append(
            f"  near-duplicates (most of the text is the same): {twins.near} rows: {'; '.join(twins.near_examples)}"
        )
    if n["sequences"]:
        share = n["supervised"] / n["tokens"]
        lines.append(
            f"  {n['sequences']} sequences, {n['tokens']} tokens, {percent(share)} supervised; "
            f"validation {n['validation']}, longer than model.max_length {n['too_long']}"
        )
    return lines
