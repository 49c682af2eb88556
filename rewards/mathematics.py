"""Mathematical equality (1/2, 0.5, \\frac{1}{2}), through math-verify: pip install 'reasoning-toolkit[math]'.

An answer is one formula. Where the gold is a number it is a number too, and the two are compared as such, without the
library: 1234*5678 is the question, and copying that mustn't pay. Whether a formula is simplified can't be told, nor
whether a fraction need be, where the gold is one: 2/4 is 1/2. `rewards lint` names tasks whose questions hold their
answers so. What is known to take the parser or sympy long is refused by its form, in any thread alike; a limit of
computing time stands behind that, where one can be set (rewards.limits).
"""

from __future__ import annotations

import logging
import re
import time
from functools import lru_cache
from math import comb, floor, log10, prod
from typing import Any

from rewards.core import Example, UserError
from rewards.limits import OutOfTime, time_limit
from rewards.text import answer_of
from rewards.written_numbers import LONGEST, number_in, same_number, spelled_out

try:  # with this module, not in the first call: it takes seconds, which that call's limit of time would count
    import math_verify
except ImportError:
    math_verify = None

DEEPEST = 6  # brackets in one another: the parser's time doubles with each
LARGEST_POWER = 10_000  # 2^{2024} is an answer, 7^{7^9} fills the memory
LARGEST_POWER_BESIDE = 100  # a root or a factorial: sympy factors what it is taken of
MOST_TERMS = 256  # of a formula multiplied out, which sympy does to compare
MOST_DIGITS = 50_000  # of groups raised to powers: those of fractions are computed exactly
MOST_COMMAS = 64
SECONDS = 1.5  # of computing: on a busy machine a right answer must stay right

_WRAPPED = re.compile(r"\$\$(.+)\$\$|\$(.+)\$|\\\((.+)\\\)|\\\[(.+)\\\]")
_SECOND = re.compile(r"\$|\\[(\[)\]]|\\boxed")  # a sign that this isn't one formula
# What an answer may have only where the gold has it too: "5 = 12" isn't 12, and an integral is a question.
_OF_GOLDS = (
    re.compile(r"=|\\(?:equiv|in|approx|sim|simeq|cong)(?![a-z])"),
    re.compile(r"\\(?:i{0,3}int|oint|sum|prod|lim)(?![a-z])"),
    re.compile(r"\\[dt]?frac\s*\{\s*(?:d|\\partial)\b"),
    re.compile(r"(?<![a-z])\\?(?:gcd|lcm|[bp]?mod|max|min|[dt]?binom)(?![a-z])"),
    re.compile(r"(?<![a-z])\\?(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![a-z])"),
    re.compile(r"(?<![a-z])\\?(?:log|ln|lg)(?![a-z])"),
)
_POWER = re.compile(r"(?:\^|\*\*)\s*")
_INDEX = re.compile(r"_\s*")
_TOWER = re.compile(r"(?:[0-9e)\]}]|\\pi)\s*(?:\^|\*\*)")  # x^2 in an exponent is none
_GROWING = re.compile(r"!|binom|choose|Gamma|operatorname")
_FACTORIAL = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}|[A-Za-z]|\([0-9]?[A-Za-z] ?(?:[+-] ?[0-9]{1,3})?\))!(?!!)")
_FACTORIAL_OF_NAME = re.compile(r"\\[A-Za-z]+\s*!")  # \pi! is none of a whole number
_TERM = r"\s*\{\s*[A-Za-z0-9]{1,4}\s*(?:[+-]\s*[A-Za-z0-9]{1,3}\s*)?\}"
_BINOMIAL = re.compile(rf"\\[dt]?binom{_TERM}{_TERM}")
_PLAIN = re.compile(r"(?:[\s0-9.,+\-*/^()\[\]{}]|\\(?:[dt]?frac|cdot|times|left|right)(?![A-Za-z]))*")  # it is a number
_STRETCHED = re.compile(r"\\(?:left|right)(?=\W)")
_NEEDLESS = re.compile(r"(?<!\\) (?!\w)|(?<![\w\\]) ")  # not that of "5 6", "x y" and "\\ "
_ROOT = re.compile(r"\\sqrt\s*\[(?!\s*[A-Za-z0-9]{1,3}\s*\])")  # of an index that is no plain one
_EXPONENTIAL = re.compile(r"[0-9.]\s*[eE]\s*[+-]?[0-9]{4}")  # 1E999999


def math_equal(completion: str, example: Example) -> float:
    """1.0 if the answer is one formula mathematically equal to a gold, or is a gold letter by letter; else 0.0.

    White space, \\left and \\right are no letters.

    Numbers as in rewards.written_numbers: 5 000 is 5000, 1,5 is 1.5 and 2 1/2 is 5/2; so a list needs brackets or
    spaces. Raises UserError without math-verify.
    """
    _warm_up()
    answer = answer_of(completion)
    if answer is None:
        return 0.0
    formula = _formula(answer)
    golds = [_formula(gold) or gold.strip() for gold in example.answers]
    if (formula or answer) in golds:
        return 1.0
    if formula is None:
        return 0.0
    ours, theirs = number_in(formula), [number_in(gold) for gold in golds]
    if ours and any(same_number(ours, number) for number in theirs if number):
        return 1.0
    rest = [gold for gold, number in zip(golds, theirs, strict=True) if not number]
    if not ours and _bare(formula) in map(_bare, rest):
        return 1.0
    rest = [gold for gold in rest if _may_answer(formula, gold)]
    if not rest or len(answer) > LONGEST or _takes_long(formula):
        return 0.0
    try:
        with time_limit(SECONDS, time.thread_time):
            parsed = _parsed(formula)
            return float(bool(parsed) and any(_equal(_parsed(gold), parsed) for gold in rest))
    except OutOfTime:
        return 0.0


def _formula(text: str) -> str | None:
    """The one formula that the whole text is, without its dollars; None for several, and for several lines."""
    text = text.strip().replace("\\$", "")
    if match := _WRAPPED.fullmatch(text):
        text = match[match.lastindex or 0].strip()
    elif text.count("$") == 1:
        text = text.removeprefix("$")  # a price
    if text.startswith("\\boxed"):
        boxed = text[6:].strip()
        if len(boxed) == 1:  # TeX takes one token: \boxed 56 is a 5 in a box, and a 6
            text = boxed
        elif len(_operand(boxed, 0)) == len(boxed):
            text = boxed[1:-1].strip()
    return text if text and len(text.splitlines()) == 1 and not _SECOND.search(text) else None


def _bare(formula: str) -> str:
    """Without the white space that says nothing, and \\left and \\right."""
    return _NEEDLESS.sub("", " ".join(_STRETCHED.sub(" ", formula).split()))


def _may_answer(formula: str, gold: str) -> bool:
    """Whether a formula has the form of an answer, rather than that of a question whose answer the gold is."""
    return all(kind.search(gold) or not kind.search(formula) for kind in _OF_GOLDS)


def _takes_long(formula: str) -> bool:
    """Whether a formula is of a form that the parser, or the arithmetic behind it, may take minutes for."""
    if _depth(formula) > DEEPEST or _EXPONENTIAL.search(formula) or _ROOT.search(formula):
        return True
    if _FACTORIAL_OF_NAME.search(formula) or formula.count(",") > MOST_COMMAS or _terms(formula) > MOST_TERMS:
        return True
    rest = _BINOMIAL.sub("", _FACTORIAL.sub("", formula))
    if "!" in rest or "binom" in rest or "choose" in rest:
        return True
    largest, of_groups = 1, 1  # the exponents of groups multiply: (2^{99})^{99}
    for power in _POWER.finditer(formula):
        exponent = _operand(formula, power.end())
        if _TOWER.search(exponent) or _POWER.match(formula, power.end() + len(exponent)) or _GROWING.search(exponent):
            return True
        size = _size(exponent)
        if formula[: power.start()].rstrip()[-1:] in (")", "]", "}"):
            of_groups *= size
        else:
            largest = max(largest, size)
    if of_groups > 1 and largest * of_groups * sum(map(str.isdigit, formula)) > MOST_DIGITS:
        return True
    beside = "!" in formula or "sqrt" in formula
    return largest * of_groups > (LARGEST_POWER_BESIDE if beside else LARGEST_POWER)


def _depth(formula: str) -> int:
    """How many brackets are open at once; more than DEEPEST where they don't close."""
    depth = deepest = 0
    for character in formula:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth if depth >= 0 else DEEPEST + 1)
    return deepest if depth == 0 else DEEPEST + 1


def _terms(formula: str) -> int:
    """How many terms a formula of closed brackets has at most when multiplied out; (a+b+c)^{n} has (n+2 over 2).

    A group of numbers alone is one number.
    """
    total, product, place = 0, 1, 0
    while place < len(formula):
        if power := _POWER.match(formula, place) or _INDEX.match(formula, place):  # of no group: it adds none
            place = power.end() + len(_operand(formula, power.end()))
            continue
        if formula[place] in "+-" and formula[:place].strip():
            total, product = total + product, 1
        operand = _operand(formula, place) if formula[place] in "([{" else formula[place]
        place += len(operand)
        if len(operand) > 1:
            inside, times = 1 if _PLAIN.fullmatch(operand) else _terms(operand[1:-1]), 1
            if power := _POWER.match(formula, place):
                exponent = _operand(formula, power.end())
                times = min(_size(exponent), LARGEST_POWER)
                place = power.end() + len(exponent)
            product *= comb(inside + times - 1, times) if inside <= MOST_TERMS else inside
    return total + product


def _size(exponent: str) -> int:
    """What an exponent comes to at most: its numbers multiplied."""
    numbers = re.findall("[0-9]+", exponent)
    return LARGEST_POWER + 1 if any(len(each) > 5 for each in numbers) else prod(max(1, int(n)) for n in numbers)


def _operand(formula: str, start: int) -> str:
    """What a power's sign is followed by: a group in brackets, a number, or one character."""
    if formula[start : start + 1] not in ("(", "{", "["):
        match = re.compile(r"[+-]?\s*(?:[0-9]+|.)").match(formula, start)
        return match[0] if match else ""
    depth = 0
    for end in range(start, len(formula)):
        depth += (formula[end] in "([{") - (formula[end] in ")]}")
        if depth == 0:
            return formula[start : end + 1]
    return formula[start:]


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[Any, ...]:
    # As LaTeX alone: the library's other reading takes the last number that it finds in a text. No timeouts of its
    # own: they raise in a thread.
    library = _library()
    text = spelled_out(text)
    try:
        return tuple(
            library.parse(
                text if "$" in text else f"${text}$",
                extraction_config=[library.LatexExtractionConfig()],
                parsing_timeout=None,
            )
        )
    except Exception:  # a stranger's text in a stranger's parser: whatever it raises, this is no formula
        return ()


def _equal(gold: tuple[Any, ...], ours: tuple[Any, ...]) -> bool:
    try:
        places = _places(gold[0])
        return bool(_library().verify(list(gold), list(ours), float_rounding=places, timeout_seconds=None))
    except Exception:  # as above
        return False


def _places(gold: Any) -> int:
    """How many decimals to compare at: six, and of a gold that is small, or holds a small decimal, five digits."""
    numbers = [gold] if getattr(gold, "is_number", False) else [each for each in gold.atoms() if each.is_Float]
    sizes = [size for size in (float(abs(each)) for each in numbers) if 0 < size < 1]
    return max(6, 4 - floor(log10(min(sizes)))) if sizes else 6


@lru_cache(maxsize=1)
def _warm_up() -> None:
    """The first formula loads the parser's tables, which isn't that answer's fault. Raises UserError without them."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns of each call without its timeouts
    _library()
    _equal(_parsed("1"), _parsed("1"))


def _library() -> Any:
    if math_verify is None:
        raise UserError("rewards.mathematics needs math-verify: pip install 'reasoning-toolkit[math]'")
    return math_verify
