"""Rows that ask the same: repeated (the same answer) or in conflict (another one). 24 bytes of memory a row."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rewards.core import Message

SHOWN = 5  # groups of twins that a report names

_NOISE = re.compile(r"[\W_]+")


def fingerprint(messages: Sequence[Message]) -> int:
    """64 bits of the turns' letters and digits: case, punctuation and white space don't count."""
    text = "\n".join(f"{turn['role']}:{_NOISE.sub(' ', turn['content'].casefold()).strip()}" for turn in messages)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class TwinReport:
    """repeated: rows that another row makes superfluous. conflicting: rows whose prompt has several answers.

    examples: `rows 3, 17, 21` of the first groups of each kind.
    """

    repeated: int
    conflicting: int
    repeated_examples: tuple[str, ...] = ()
    conflicting_examples: tuple[str, ...] = ()


class Twins:
    """Collects the fingerprints of rows, then finds the twins among them."""

    def __init__(self) -> None:
        self.prompts, self.answers, self.rows = array("Q"), array("Q"), array("Q")

    def add(self, prompt: int, answer: int, row: int) -> None:
        """One row, by the fingerprints of its prompt and of its last turn."""
        self.prompts.append(prompt)
        self.answers.append(answer)
        self.rows.append(row)

    def report(self) -> TwinReport:
        """Sort once and walk through the groups of equal prompts."""
        repeated = conflicting = 0
        again: list[str] = []
        against: list[str] = []
        for rows, answers in self._groups():
            repeated += len(answers) - len(set(answers))
            several = len(set(answers)) > 1
            conflicting += len(rows) if several else 0
            shown = against if several else again
            if len(shown) < SHOWN:
                shown.append(f"rows {', '.join(map(str, rows[:5]))}{' …' if len(rows) > 5 else ''}")
        return TwinReport(repeated, conflicting, tuple(again), tuple(against))

    def _groups(self) -> Iterator[tuple[list[int], list[int]]]:
        """(rows, answers) of each prompt that occurs more than once, in the order of the file."""
        import numpy as np

        if not self.rows:
            return
        prompts, answers, rows = (np.frombuffer(each, np.uint64) for each in (self.prompts, self.answers, self.rows))
        order = np.argsort(prompts, kind="stable")
        ordered = prompts[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        ends = np.append(starts[1:], len(ordered))
        groups = [order[start:end] for start, end in zip(starts, ends, strict=True) if end - start > 1]
        for group in sorted(groups, key=lambda group: int(group[0])):
            yield rows[group].tolist(), answers[group].tolist()
