"""A number as people and LaTeX write it, read exactly: 1 234, 10{,}000, 2 1/2, \\frac12, 1.38\\times 10^{-23}, 5\\%."""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd
from typing import NamedTuple

LONGEST = 160  # characters

_SIGN = re.compile(r"([+\-−–])\s*")
_UNIT = re.compile(r"\s*(?:\\?(%)|\^\s*(?:\\circ|\{\s*\\circ\s*\}))$")
_SPACE = r"(?:,?\\[,!;: ]|[ ~\u00a0\u202f\u2009])"
_SEPARATOR = rf"(?:,|\{{,\}}|{_SPACE})"
_SPACED = re.compile(rf"(?<![0-9.,])[1-9][0-9]{{0,2}}({_SPACE})[0-9]{{3}}(?:\1[0-9]{{3}})*(?![0-9])")
_SPACED_MIXED = re.compile(r"(?<![0-9.,])([0-9]+)(?:\s|~|\\[, ])+([0-9]+)\s*/\s*([0-9]+)(?![0-9A-Za-z^!])")
_MIXED = r"(?:(?P<whole>[0-9]{1,99})(?:\s|~|\\[, ]){0,9}%s)?"
_FRACTION = re.compile(
    _MIXED % ""
    + r"\\[dt]?frac\s*(?:\{\s*(?P<over>-?[0-9]+)\s*\}|(?P<o>[0-9]))\s*(?:\{\s*(?P<under>[0-9]+)\s*\}|(?P<u>[0-9]))"
)
_QUOTIENT = re.compile(_MIXED % r"(?<![0-9])" + r"(?P<over>[0-9]{1,99})\s*/\s*(?P<under>[0-9]{1,99})")
_DECIMAL = re.compile(
    # 0,125 is no group of thousands
    rf"(?P<whole>[1-9][0-9]{{0,2}}(?P<gap>{_SEPARATOR})[0-9]{{3}}(?:(?P=gap)[0-9]{{3}})*|[0-9]*)"
    r"(?:(?P<sign>\.|,|\{,\})(?P<part>[0-9]+))?"
    r"(?:\s*(?:\\times|\\cdot|\*|×)\s*10\s*\^\s*(?:(?P<digit>[0-9])|\{\s*(?P<power>[+\-−–]?[0-9]{1,4})\s*\})"
    r"|[eE](?P<e>[+-]?[0-9]{1,3}))?"
)
_WRAPPED = re.compile(r"\((.+)\)|\{(.+)\}|\\(?:text|mathrm|mathbf)\s*\{(.+)\}")


class Number(NamedTuple):
    """What a text says. percent: value is what stands before the sign. decimal: it has a decimal sign, so it may be
    rounded. fraction: it has a numerator. lowest: no fraction, or one in lowest terms that isn't whole.
    """

    value: Fraction
    percent: bool = False
    decimal: bool = False
    fraction: bool = False
    lowest: bool = True


def number_in(text: str) -> Number | None:
    """The one number that the whole text is, nothing being left to compute; None for anything else.

    Brackets, braces, \\text, and a full stop or semicolon at the end come off. A comma before three digits groups
    thousands (not behind a leading zero), any other is a decimal sign; in brackets it is neither: (1,2) is a pair.
    """
    text = text.strip()
    while len(text) <= LONGEST and "," not in text and (match := _WRAPPED.fullmatch(text)):
        text = match[match.lastindex or 0].strip()
    if len(text) > LONGEST:
        return None
    bare = text[:-1].rstrip() if text.endswith((".", ";")) else text
    sign = _SIGN.match(bare)
    bare = bare[sign.end() :] if sign else bare
    unit = _UNIT.search(bare)
    bare = bare[: unit.start()] if unit else bare
    found = _fraction(bare) or _decimal(bare)
    if found is None:
        return None
    value = -found.value if sign and sign[1] != "+" else found.value
    return found._replace(value=value, percent=bool(unit and unit[1]))


def _fraction(text: str) -> Number | None:
    match = _FRACTION.fullmatch(text) or _QUOTIENT.fullmatch(text)
    if not match:
        return None
    parts = match.groupdict()
    over, under = int(parts["over"] or parts["o"]), int(parts["under"] or parts["u"])
    if under == 0 or (parts["whole"] and not 0 <= over < under):  # 2 3/2 is no mixed number
        return None
    lowest = gcd(over, under) == 1 and under > 1
    return Number(int(parts["whole"] or 0) + Fraction(over, under), fraction=True, lowest=lowest)


def _decimal(text: str) -> Number | None:
    match = _DECIMAL.fullmatch(text)
    if not match or not (match["whole"] or match["part"]):
        return None
    if "," in (match["gap"] or "") and "," in (match["sign"] or ""):  # 1,234,5
        return None
    part = match["part"] or ""
    digits = re.sub("[^0-9]", "", match["whole"]) + part
    power = (match["digit"] or match["power"] or match["e"] or "0").replace("−", "-").replace("–", "-")
    value = int(digits) * Fraction(10) ** (int(power) - len(part))
    return Number(value, decimal=bool(part))


def spelled_out(formula: str) -> str:
    """A formula whose numbers have no spaces in them, for a reader that multiplies what stands side by side."""
    mixed = _SPACED_MIXED.sub(r"(\1+\2/\3)", formula)
    return _SPACED.sub(lambda match: re.sub("[^0-9]", "", match[0]), mixed)


def same_number(ours: Number, gold: Number) -> bool:
    """Whether an answer is the gold: exactly, but for decimals, which may be rounded.

    A number with a decimal sign, or beside one, is right within half of the sixth decimal place and a hundred
    thousandth of the gold, whichever is less: 0.333333 is 1/3. 5% is 5, and 0.05. A fraction that isn't in lowest
    terms is right only where the gold is a fraction too: 84/6 is a question whose answer is 14.
    """
    if not (ours.lowest or gold.fraction):
        return False
    pairs = [(ours.value, gold.value)]
    if ours.percent != gold.percent:
        pairs.append((ours.value, 100 * gold.value) if ours.percent else (100 * ours.value, gold.value))
    rounded = ours.decimal or gold.decimal
    return any(
        one == other or (rounded and abs(one - other) <= min(Fraction(1, 2_000_000), abs(other) / 100_000))
        for one, other in pairs
    )
