"""Rewards on an answer that is one number."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Literal

from rewards.core import Example
from rewards.text import answer_of

LONGEST = 64  # characters of a number
_SPACES = re.compile(r"(?<=[0-9])[ \u00a0\u202f\u2009](?=[0-9]{3}(?![0-9]))")  # 1 234 567
_DIGITS = r"(?=[.,]?[0-9])(?:[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]*)(?:{sign}[0-9]+)?"
_FORM = {
    sign: re.compile(rf"[+-]?{_DIGITS.format(sign=re.escape(sign), group=re.escape(group))}(?:[eE][+-]?[0-9]{{1,3}})?")
    for sign, group in (".,", ",.")
}


def number_of(text: str, decimal: Literal[".", ","] = ".") -> Decimal | None:
    """The number that the whole text is; None for anything else, units and infinities included.

    decimal: the decimal sign. The other one of . and , groups thousands, and so does a space. Typographic minuses and a
    full stop at the end are taken.
    """
    if len(text) > LONGEST:
        return None
    plain = _SPACES.sub("", text.strip().removesuffix(".").replace("\u2212", "-").replace("\u2013", "-"))
    if not _FORM[decimal].fullmatch(plain):
        return None
    grouping = "," if decimal == "." else "."
    try:
        return Decimal(plain.replace(grouping, "").replace(",", "."))
    except InvalidOperation:
        return None


def number(
    completion: str,
    example: Example,
    tolerance: float = 0.0,
    relative: float = 0.0,
    decimal: Literal[".", ","] = ".",
) -> float:
    """1.0 if the answer is within max(tolerance, relative x |gold|) of a gold; else 0.0."""
    answer = answer_of(completion)
    ours = number_of(answer, decimal) if answer is not None else None
    if ours is None:
        return 0.0
    for gold in example.answers:
        theirs = number_of(gold, decimal)
        if theirs is not None and abs(ours - theirs) <= max(
            Decimal(str(tolerance)), Decimal(str(relative)) * abs(theirs)
        ):
            return 1.0
    return 0.0
