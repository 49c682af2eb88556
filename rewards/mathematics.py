"""Mathematical equality (1/2, 0.5, \\frac{1}{2}), through math-verify: pip install 'reasoning-toolkit[math]'.

An answer is one formula. Where the gold is a number it is a number too: 1234*5678 is the question, and copying that
mustn't pay. Whether a formula with letters is simplified can't be told. Those that take the parser or sympy long are
refused by their form, in any thread alike; a limit of time stands behind that, where one can be set (rewards.limits).
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from math import gcd, prod
from typing import Any

from rewards.core import Example, UserError
from rewards.limits import OutOfTime, time_limit
from rewards.text import answer_of

try:  # with this module, not in the first call: it takes seconds, which that call's limit of time would count
    import math_verify
except ImportError:
    math_verify = None

LONGEST = 160  # characters: the parser is slow on long formulas
DEEPEST = 6  # brackets in one another: the parser's time doubles with each
LARGEST_POWER = 10_000  # 2^{2024} is an answer, 7^{7^9} fills the memory
LARGEST_POWER_BESIDE = 100  # a root or a factorial: sympy factors what it is taken of
SECONDS = 1.5

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
# A number, as an answer and as a gold: a sign, a decimal or a fraction, percent or degrees.
_SIGN = re.compile(r"^[+\-−]")
_UNIT = re.compile(r"(?:\\?%|\^\s*(?:\\circ|\{\s*\\circ\s*\}))$")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*(-?[0-9]+)\s*\}|([0-9]))\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))")
_QUOTIENT = re.compile(r"(?:[0-9]+\s)?\s*-?([0-9]{1,99})\s*/\s*([0-9]{1,99})")
_DECIMAL = re.compile(
    r"(?:[0-9]{1,3}(?:(?:,|\{,\}|\\[,! ]| )[0-9]{3})+|(?=[.,]?[0-9])[0-9]*)(?:[.,][0-9]*)?"
    r"(?:\s*(?:\\times|\\cdot|\*|×)\s*10\s*\^\s*(?:[0-9]|\{\s*-?[0-9]+\s*\})|[eE][+-]?[0-9]+)?"
)
_POWER = re.compile(r"(?:\^|\*\*)\s*")
_TOWER = re.compile(r"(?:[0-9e)\]}]|\\pi)\s*(?:\^|\*\*)")  # x^2 in an exponent is none
_GROWING = re.compile(r"!|binom|choose|Gamma|operatorname")
_FACTORIAL = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}|[A-Za-z]|\([0-9]?[A-Za-z] ?(?:[+-] ?[0-9]{1,3})?\))!(?!!)")
_TERM = r"\s*\{\s*[A-Za-z0-9]{1,4}\s*(?:[+-]\s*[A-Za-z0-9]{1,3}\s*)?\}"
_BINOMIAL = re.compile(rf"\\[dt]?binom{_TERM}{_TERM}")
_ROOT = re.compile(r"\\sqrt\s*\[(?!\s*[A-Za-z0-9]{1,3}\s*\])")  # of an index that is no plain one
_EXPONENTIAL = re.compile(r"[0-9.]\s*[eE]\s*[+-]?[0-9]{4}")  # 1E999999


def math_equal(completion: str, example: Example) -> float:
    """1.0 if the answer is one formula that is mathematically equal to a gold; else 0.0.

    Raises UserError without math-verify.
    """
    answer = answer_of(completion)
    formula = _formula(answer) if answer is not None and len(answer) <= LONGEST else None
    if formula is None or _takes_long(formula):
        return 0.0
    golds = [gold for gold in example.answers if _may_answer(formula, _formula(gold) or gold)]
    _warm_up()
    try:
        with time_limit(SECONDS):
            ours = _parsed(formula)
            return float(bool(ours) and any(_equal(_parsed(_formula(gold) or gold), ours) for gold in golds))
    except OutOfTime:
        return 0.0


def _formula(text: str) -> str | None:
    """The one formula that the whole text is, without its dollars; None for several, and for several lines."""
    text = text.strip().replace("\\$", "")
    if match := _WRAPPED.fullmatch(text):
        text = match[match.lastindex or 0].strip()
    elif text.count("$") == 1:
        text = text.removeprefix("$")  # a price
    if text.startswith("\\boxed") and len(boxed := _operand(text, 6)) == len(text) - 6:
        text = boxed[1:-1].strip()
    return text if text and len(text.splitlines()) == 1 and not _SECOND.search(text) else None


def _may_answer(formula: str, gold: str) -> bool:
    """Whether a formula has the form of an answer, rather than that of a question whose answer the gold is."""
    if _is_number(gold):
        return _is_number(formula, any_fraction="/" in gold or "frac" in gold)
    return all(kind.search(gold) or not kind.search(formula) for kind in _OF_GOLDS)


def _is_number(formula: str, any_fraction: bool = True) -> bool:
    """Whether a formula is one number, nothing being left to compute; of fractions perhaps only those in lowest terms.

    84/6 is a question whose answer is 14.
    """
    bare = _UNIT.sub("", _SIGN.sub("", _FRACTION.sub(r" \1\2/\3\4", formula).strip())).strip()
    if match := _QUOTIENT.fullmatch(bare):
        over, under = (int(each) for each in match.groups())
        return any_fraction or (gcd(over, under) == 1 and under > 1)
    return _DECIMAL.fullmatch(bare) is not None


def _takes_long(formula: str) -> bool:
    """Whether a formula is of a form that the parser, or the arithmetic behind it, may take minutes for."""
    if _depth(formula) > DEEPEST or _EXPONENTIAL.search(formula) or _ROOT.search(formula):
        return True
    rest = _BINOMIAL.sub("", _FACTORIAL.sub("", formula))
    if "!" in rest or "binom" in rest or "choose" in rest:
        return True
    largest, of_groups = 1, 1  # the exponents of groups multiply: (2^{99})^{99}
    for power in _POWER.finditer(formula):
        exponent = _operand(formula, power.end())
        if _TOWER.search(exponent) or _POWER.match(formula, power.end() + len(exponent)) or _GROWING.search(exponent):
            return True
        numbers = re.findall("[0-9]+", exponent)
        size = LARGEST_POWER + 1 if any(len(each) > 5 for each in numbers) else prod(max(1, int(n)) for n in numbers)
        if formula[: power.start()].rstrip()[-1:] in (")", "]", "}"):
            of_groups *= size
        else:
            largest = max(largest, size)
    beside = "!" in formula or "sqrt" in formula
    return largest * of_groups > (LARGEST_POWER_BESIDE if beside else LARGEST_POWER)


def _depth(formula: str) -> int:
    """How many brackets are open at once; more than DEEPEST where they don't close."""
    depth = deepest = 0
    for character in formula:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth if depth >= 0 else DEEPEST + 1)
    return deepest if depth == 0 else DEEPEST + 1


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
        return bool(_library().verify(list(gold), list(ours), timeout_seconds=None))
    except Exception:  # as above
        return False


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
