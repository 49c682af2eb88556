"""Rows that ask the same: repeated (the same answer), in conflict (another one), or near one another.

48 bytes of memory a row.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rewards.core import Message
from toolkit.conversations.near import FEATURES, MARK, features, folded, near_groups

SHOWN = 5  # groups of twins that a report names


def fingerprints(batch: Sequence[Sequence[Message]]) -> tuple[list[tuple[int, int]], Any]:
    """(64 bits of each conversation's prompt and of its last turn, its features for `near_groups`).

    Case, white space and punctuation don't count, but signs, symbols and the brackets of formulas do (`near.folded`).
    """
    halves = [half for messages in batch for half in (messages[:-1], messages[-1:])]
    # the space is left out, but keeps the role's letter from what the turn begins with: u(7) would be a call
    texts = ["".join([f"{MARK}{turn['role'][0]} {turn['content']}" for turn in half]) for half in halves]
    letters, ends = folded(texts)
    data, starts = letters.tobytes(), [0, *(4 * ends).tolist()]
    hashes = [
        int.from_bytes(hashlib.blake2b(data[start:end], digest_size=8).digest(), "big")
        for start, end in pairwise(starts)
    ]
    return list(zip(hashes[::2], hashes[1::2], strict=True)), features(letters, ends[1::2])


@dataclass(frozen=True, slots=True)
class TwinReport:
    """repeated: rows that another row makes superfluous. conflicting: rows whose prompt has several answers.
    near: rows that share most of their text with another, repetitions not counted.

    examples: `rows 3, 17, 21` of the first groups of each kind; of several files `rows 3 of a.csv, 3 of b.csv`.
    """

    repeated: int
    conflicting: int
    near: int = 0
    repeated_examples: tuple[str, ...] = ()
    conflicting_examples: tuple[str, ...] = ()
    near_examples: tuple[str, ...] = ()


class Twins:
    """Collects the fingerprints of rows, then finds the twins among them."""

    def __init__(self) -> None:
        self.prompts, self.answers, self.rows, self.features = (array("Q") for _ in range(4))
        self.files: list[str] = []
        self.starts: list[int] = []  # index of the first row of each file: rows come file by file

    def add_features(self, features: Any) -> None:
        """`near.features` of the rows that are added, in their order."""
        self.features.frombytes(features.tobytes())

    def add(self, prompt: int, answer: int, row: int, file: str) -> None:
        """One row, by the fingerprints of its prompt and of its last turn."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
            self.starts.append(len(self.rows))
        self.prompts.append(prompt)
        self.answers.append(answer)
        self.rows.append(row)

    def report(self) -> TwinReport:
        """Sort once and walk through the groups of equal prompts."""
        repeated = conflicting = 0
        again: list[str] = []
        against: list[str] = []
        for group, answers in self._groups():
            repeated += len(answers) - len(set(answers))
            several = len(set(answers)) > 1
            conflicting += len(group) if several else 0
            shown = against if several else again
            if len(shown) < SHOWN:
                shown.append(self._named(group))
        near = self._near()
        shown_near = tuple(map(self._named, near[:SHOWN]))
        return TwinReport(repeated, conflicting, sum(map(len, near)), tuple(again), tuple(against), shown_near)

    def _near(self) -> list[list[int]]:
        """Indices of the rows of each group of near ones."""
        import numpy as np

        if not self.features:
            return []
        prompts, answers = (np.frombuffer(each, np.uint64) for each in (self.prompts, self.answers))
        found = np.frombuffer(self.features, np.uint64).reshape(-1, FEATURES)
        return [group.tolist() for group in near_groups(found, prompts * np.uint64(3) ^ answers)]

    def _groups(self) -> Iterator[tuple[list[int], list[int]]]:
        """(indices of the rows, answers) of each prompt that occurs more than once, in the order of the file."""
        import numpy as np

        if not self.rows:
            return
        prompts, answers = (np.frombuffer(each, np.uint64) for each in (self.prompts, self.answers))
        order = np.argsort(prompts, kind="stable")
        ordered = prompts[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        ends = np.append(starts[1:], len(ordered))
        groups = [order[start:end] for start, end in zip(starts, ends, strict=True) if end - start > 1]
        for group in sorted(groups, key=lambda group: int(group[0])):
            yield group.tolist(), answers[group].tolist()

    def _named(self, group: Sequence[int]) -> str:
        return f"rows {', '.join(map(self._place, group[:5]))}{' …' if len(group) > 5 else ''}"

    def _place(self, index: int) -> str:
        """The row's number, and its file where there are several: each counts its rows anew."""
        file = self.files[bisect_right(self.starts, index) - 1]
        return f"{self.rows[index]} of {Path(file).name}" if len(self.files) > 1 else str(self.rows[index])
