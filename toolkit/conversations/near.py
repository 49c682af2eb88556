"""Texts without case, white space and the punctuation that says nothing, and near-duplicates among them, in numpy.

Near-duplicates share most of their runs of four letters. They are found without comparing any two of them, by
one-permutation min-hashing (Li, Owen and Zhang, 2012) with super-shingles (Broder, 1997): every run of letters is
hashed into one of 16 bins, a bin keeps its smallest hash, and three features hash five or six bins each. Two texts are
near when one of the three is equal. Measured: of texts that share 98% of their runs (Jaccard) 99 in 100 are found, at
94% 95, at 79% 69, at 49% 14.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from string import ascii_letters, digits
from typing import Any

import numpy as np

FEATURES = 3
MARK = "\x02"  # is kept like a letter, to stand between turns
_SIGNS = "*/-%"  # punctuation to Unicode, but 7*5 isn't 7/5; + < = > are symbols to it
_OPENING, _CLOSING = 1, 2  # brackets, kept in formulas: (2+3)*4 isn't 2+3*4, but a smile :) is none
_LAST = 127  # of ASCII, which has all brackets that are looked at
_SIGN, _WORD = 1, 2  # what stands outside a bracket of a formula
_POINTS = (ord("."), ord(","))  # are kept between digits: 1.5 isn't 15
_RUN = 4  # letters
_BINS = 16
_GROUPS = ((0, 5), (5, 10), (10, 16))  # bins of each feature
_PLANE = 1 << 16
_ODD = np.random.default_rng(0).integers(0, 2**31, _RUN + 1, dtype=np.uint32) * 2 + 1
_MIX = np.random.default_rng(1).integers(0, 2**63, _BINS, dtype=np.uint64) * 2 + 1


def folded(texts: Sequence[str]) -> tuple[Any, Any]:
    """(all texts in lower case without what says nothing, as code points, [len(texts)] where each text ends in them).

    Letters, digits, vowel signs and accents, symbols, signs of arithmetic and the brackets of formulas stay.
    """
    raw = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    letters = np.where(raw < _PLANE, _table()[np.minimum(raw, _PLANE - 1)], raw)
    points = np.flatnonzero((raw == _POINTS[0]) | (raw == _POINTS[1]))
    points = points[_between_digits(raw, points, ends)]
    letters[points] = raw[points]
    brackets = np.flatnonzero(_brackets()[np.minimum(raw, _LAST)])
    brackets = brackets[_in_formula(raw, brackets, ends)]
    letters[brackets] = raw[brackets]
    kept = letters != 0
    before = np.concatenate(([0], np.cumsum(kept)))
    return letters[kept], before[ends]


def _between_digits(raw: Any, places: Any, ends: Any) -> Any:
    """[len(places)] whether a digit stands on either side, in the same text."""
    inside = (places > 0) & (places < len(raw) - 1) & ~np.isin(places, ends) & ~np.isin(places + 1, ends)
    sides = (raw[np.clip(places + step, 0, max(len(raw) - 1, 0))] for step in (-1, 1))
    before, after = ((side < _PLANE) & _digits()[np.minimum(side, _PLANE - 1)] for side in sides)
    return inside & before & after


def _in_formula(raw: Any, places: Any, ends: Any) -> Any:
    """[len(places)] whether a sign or, as in f(x), a Latin letter or digit touches the bracket's outer side.

    A space may stand before the sign, since people write 2 * (3 + 4).
    """
    outwards = np.where(_brackets()[raw[places]] == _OPENING, -1, 1)
    text = np.searchsorted(ends, places, side="right")

    def beside(step: int) -> tuple[Any, Any]:
        """What stands there: the code point and its kind, 0 outside the text."""
        there = places + step * outwards
        inside = (there >= 0) & (there < len(raw)) & (np.searchsorted(ends, there, side="right") == text)
        found = np.where(inside, raw[np.clip(there, 0, max(len(raw) - 1, 0))], 0)
        return found, _neighbours()[np.minimum(found, _PLANE - 1)]

    (near, touching), (_, beyond) = beside(1), beside(2)
    return (touching != 0) | ((near == ord(" ")) & (beyond == _SIGN))


@cache
def _brackets() -> Any:
    """Of each code point up to _LAST: _OPENING, _CLOSING or 0."""
    kinds = np.zeros(_LAST + 1, np.uint8)
    kinds[list(b"([{")] = _OPENING
    kinds[list(b")]}")] = _CLOSING
    return kinds


@cache
def _neighbours() -> Any:
    """Of each code point of the basic plane: _SIGN, _WORD or 0."""
    kinds = np.zeros(_PLANE, np.uint8)
    for code in range(_PLANE):
        if chr(code) in f"{_SIGNS}^" or unicodedata.category(chr(code)) == "Sm":
            kinds[code] = _SIGN
    kinds[list(f"{ascii_letters}{digits}".encode())] = _WORD
    return kinds


@cache
def _table() -> Any:
    """Of each code point of the basic plane: its lower case, 0 for what is left out."""
    folds = (chr(code).casefold() if _says_something(chr(code)) else "" for code in range(_PLANE))
    return np.fromiter((ord(fold[0]) if fold else 0 for fold in folds), np.uint32, _PLANE)


def _says_something(character: str) -> bool:
    return character.isalnum() or character in (MARK, *_SIGNS) or unicodedata.category(character)[0] in "MS"


@cache
def _digits() -> Any:
    return np.fromiter((chr(code).isdecimal() for code in range(_PLANE)), bool, _PLANE)


def features(letters: Any, ends: Any) -> Any:
    """[len(ends), FEATURES] uint64 of the texts that `folded` gave."""
    n = len(ends)
    padded = np.insert(letters, np.repeat(ends, _RUN), 0)
    lengths = np.diff(ends, prepend=0) + _RUN
    runs = padded * _ODD[0]
    for step in range(1, _RUN):
        runs[:-step] += padded[step:] * _ODD[step]
    runs ^= runs >> np.uint32(15)
    runs *= _ODD[_RUN]
    runs ^= runs >> np.uint32(13)
    smallest = np.full(n * _BINS + 1, np.iinfo(np.uint32).max, np.uint32)
    bins = np.repeat(np.arange(n) * _BINS, lengths) + (runs & np.uint32(_BINS - 1))
    last = np.cumsum(lengths)[:, None] - 1
    bins[(last - np.arange(_RUN - 1)).ravel()] = n * _BINS  # these runs reach into the next text
    np.minimum.at(smallest, bins, runs)
    mixed = smallest[:-1].reshape(-1, _BINS) * _MIX
    return np.stack([mixed[:, start:end].sum(1, dtype=np.uint64) for start, end in _GROUPS], 1)


def near_groups(found: Any, same: Any) -> list[Any]:
    """Groups of row indices that are near one another, in the order of their first row.

    found: [n, FEATURES] of `features`. same: [n], equal where rows repeat one another exactly; of those one stands for
    all.
    """
    _, firsts = np.unique(same, return_index=True)
    order = np.sort(firsts)
    parent = np.arange(len(order))
    for column in found[order].T:
        _, first, which = np.unique(column, return_index=True, return_inverse=True)
        parent = _joined(parent, first[which])
    _, which, sizes = np.unique(parent, return_inverse=True, return_counts=True)
    members = np.argsort(which, kind="stable")
    groups = np.split(order[members], np.cumsum(sizes)[:-1])
    return sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))


def _joined(parent: Any, other: Any) -> Any:
    """The components of two partitions together; each names its smallest member. [n] each."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(parent)
    here = np.arange(n)
    edges = coo_matrix((np.ones(2 * n, bool), (np.tile(here, 2), np.concatenate((parent, other)))), (n, n))
    _, labels = connected_components(edges, directed=False)
    smallest = np.full(labels.max(initial=-1) + 1, n)
    np.minimum.at(smallest, labels, here)
    return smallest[labels]
