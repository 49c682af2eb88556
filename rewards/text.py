"""Rewards on an answer as text: exact, normalized, one of several choices, by a pattern."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from rewards.core import Example, UserError
from rewards.response import parse

LONGEST = 4096  # characters of an answer that a pattern is tried on: patterns can be slow, a rambling model long


def answer_of(completion: str) -> str | None:
    """The answer of a well-formed response; None when the form is broken."""
    response = parse(completion)
    return response.answer if response.problem is None else None


def exact_text(completion: str, example: Example) -> float:
    """1.0 if the answer is one of the golds, character for character; else 0.0."""
    answer = answer_of(completion)
    return float(answer is not None and any(answer == gold.strip() for gold in example.answers))


_AROUND = " .,;:?\"'«»“”„()"
_RAISED = re.compile(r"(?<=\d)([¹²³\u2070-\u208e]+)")  # 10⁵ and 101₂, not H₂O
# A number or a formula of single letters, and ! directly behind it: 5!, n!, (n+1)!. Not ok!, nor "room 5!".
_FACTORIAL = re.compile(
    r"(?!.*(?:[a-zα-ω]{2}|\w \w))[\da-zα-ω¹²³\u2070-\u208e .,+\-*/^=()!×·÷−]*[\da-zα-ω¹²³\u2070-\u208e)]!+"
)


def normalized(text: str) -> str:
    """One form for case, Unicode variants, ё and е, runs of white space, and punctuation around the whole.

    But for numerals raised or lowered directly behind a digit, and for ! behind a number or a formula: 10⁵ isn't 105,
    nor 5! 5.
    """
    parts = _RAISED.split(text)
    parts[::2] = [unicodedata.normalize("NFKC", part) for part in parts[::2]]
    words = " ".join("".join(parts).casefold().replace("ё", "е").split()).lstrip(_AROUND + "!")
    whole = words.rstrip(_AROUND)
    return whole if _FACTORIAL.fullmatch(whole) else whole.rstrip(_AROUND + "!")


def normalized_text(completion: str, example: Example) -> float:
    """1.0 if the answer is one of the golds in normalized form; else 0.0. An answer of punctuation alone is none."""
    answer = answer_of(completion)
    form = normalized(answer) if answer is not None else ""
    return float(bool(form) and any(form == normalized(gold) for gold in example.answers))


_CHOICE = re.compile(r"\(?\s*([^\s().]+)\s*[).]?")  # B, b, (B), B) and B. are one answer


_LOOK_ALIKES = str.maketrans("АВЕКМНОРСТУХ", "ABEKMHOPCTYX")  # Cyrillic to Latin


def choice(completion: str, example: Example, options: Sequence[str] = ("A", "B", "C", "D")) -> float:
    """1.0 if the answer names one option, and it is the gold; else 0.0. Two options, or a sentence, name none.

    Where no option is Cyrillic, a Cyrillic capital that looks like a Latin one is that.
    """
    answer = answer_of(completion)
    if answer is None or len(answer) > LONGEST:
        return 0.0
    if not any("CYRILLIC" in unicodedata.name(character, "") for option in options for character in option):
        answer = answer.translate(_LOOK_ALIKES)
    known = {option.strip().casefold() for option in options}
    named: str | None = answer.casefold()
    if named not in known:  # an option of several words, or with a full stop in it, is written as it is
        match = _CHOICE.fullmatch(answer)
        named = match[1].casefold() if match else None
    return float(named in known and any(named == gold.strip().casefold() for gold in example.answers))


def regex_fullmatch(completion: str, example: Example, pattern: str | None = None) -> float:
    """1.0 if the whole answer matches; else 0.0. pattern None: each gold is a pattern.

    Patterns are the task's author's: one that backtracks without end on a long answer is a fault of the task. Raises
    UserError for what is no pattern.
    """
    answer = answer_of(completion)
    if answer is None or len(answer) > LONGEST:
        return 0.0
    return float(any(_compiled(each).fullmatch(answer) for each in ([pattern] if pattern else example.answers)))


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"{pattern!r} isn't a regular expression: {error}") from error
