"""What a model gives when it hasn't solved anything: the list that `toolkit task check` and `rewards lint` share."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from rewards.canonical import canonical
from rewards.core import Example
from rewards.datetimes import NONE, moment
from rewards.numbers import number_of
from rewards.response import ANSWER_CLOSE, ANSWER_OPEN, REASONING_CLOSE, REASONING_OPEN, TAGS, render
from rewards.structured import object_of
from rewards.text import normalized

_HALF, _QUARTER = Decimal("0.5"), Decimal("0.25")

Named = tuple[str, str]
"""(what it is, the text)"""

# "12 * 34" in a question: what is to be computed. A minus or a slash without spaces may be a date's.
_EXPRESSION = re.compile(r"[0-9]+(?:\s*[+*×·^]\s*[0-9]+|\s+[-/]\s+[0-9]+)+")

# 30/63, 2 1/2, \frac{6}{84}, \sqrt{12}: a question may ask to simplify these. 01/02/2025 is a date.
_FRACTION_OR_ROOT = re.compile(
    r"(?<![\w/.,])(?:[0-9]+ )?[0-9]+/[0-9]+(?![\w/]|[.,][0-9])"
    r"|(?:[0-9]+ ?)?\\[dt]?frac(?:\{[0-9]+\}\{[0-9]+\}|[0-9]{2})|\\sqrt\{[0-9]+\}|√[0-9]+"
)
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{?([0-9]+?)\}?\{?([0-9]+)\}?")

COPIED = "a fraction or root copied from the question"
BESIDE = {  # and what is taken too, where the task allows a tolerance of about that
    "half more than the number": "a quarter less than the number",
    "half less than the number": "a quarter more than the number",
}
CUT = ("its first character", "all but its last character")
OTHER = "another example's answer"
ODD_TEXTS: tuple[str, ...] = (
    "\x00",
    "\ud800",  # half of a surrogate pair: what a cut byte sequence may decode to
    "\ufffd" * 3,
    "\u202e<answer>1</answer>",
    "<" * 50,
    "".join(reversed(TAGS)),
    render("", "\x00"),
    render("", "\ud800"),
    render("", "٢٠٢٥"),
    render("", "nan"),
    render("", "inf"),
    render("", "1e999999"),
    render("", "9" * 5000),
    render("", "[" * 5000),
    render("", "{" * 5000),
    render("", "(" * 500 + "a" * 500),
    render("", "None"),
    render("", "\\frac{1}{0}"),
)


def cheats(example: Example, others: Sequence[str]) -> Iterator[Named]:
    """Completions that no metric may give full marks: not in the form, without an answer, or with more than one.

    others: answers of other examples.
    """
    prompt = "\n".join(turn["content"] for turn in example.messages)
    gold = example.answers[0] if example.answers else ""
    response = render(example.reasoning, gold)
    yield "an empty completion", ""
    yield "white space", " \n"
    yield "the prompt repeated", prompt
    yield "the prompt repeated as the reasoning", render(prompt, "")
    yield "the prompt repeated as the answer", render("", prompt)
    for found in [text for text in _EXPRESSION.findall(prompt) if differs(text, example)][:1]:
        yield "the question's own expression as the answer", render("", found)
    yield "bare tags", render("", "")
    yield "bare opening tags", REASONING_OPEN + ANSWER_OPEN
    yield "an answer in the reasoning only", render(gold, "")
    yield "a reasoning block without an answer block", f"{REASONING_OPEN}{gold}{REASONING_CLOSE}"
    yield "the response given twice", response + response
    yield "the response inside another", render(response, response)
    yield "the answer block a hundred times", render("", gold) + f"{ANSWER_OPEN}{gold}{ANSWER_CLOSE}" * 99
    for other in [answer for answer in others if differs(answer, example)][:1]:
        second = f"{ANSWER_OPEN}{other}{ANSWER_CLOSE}"
        yield "two answer blocks", response + second
        yield "two answers in one block", render(example.reasoning, f"{gold} or {other}")
        yield "every answer in one block", render("", "\n".join([*others, gold]))


def guesses(examples: Sequence[Example]) -> list[Named]:
    """Well-formed answers that don't depend on the question: each is right as often as chance has it."""
    counts = Counter(example.answers[0] for example in examples if example.answers)
    frequent = [("the most frequent answer, always", answer) for answer, _ in counts.most_common(1)]
    constant = [
        ("nothing but the format", "x"),
        (f"{NONE!r}, always", NONE),
        ("'0', always", "0"),
        ("'{}', always", "{}"),
    ]
    long = "so " * 2000
    return [(name, render("", answer)) for name, answer in [*constant, *frequent]] + [
        ("a long reasoning and an empty phrase", render(long, "see above"))
    ]


def differs(answer: str, example: Example) -> bool:
    """Whether an answer says something else than every gold of the example, under any reading of ours."""
    golds = example.answers
    return all(canonical(answer) != canonical(gold) and normalized(answer) != normalized(gold) for gold in golds)


def wrong_answers(example: Example, others: Sequence[str]) -> Iterator[Named]:
    """Well-formed answers that are surely wrong, each as near to the gold as its kind allows.

    Three kinds may be right all the same: what is BESIDE a number, where the task allows a tolerance, what is CUT, such
    as y for yes, and what is COPIED, which is the gold unsimplified.
    """
    gold = example.answers[0] if example.answers else ""
    if (then := moment(gold)) is not None:
        found = list(_wrong_moments(then))
    elif (number := number_of(gold)) is not None:
        # far off: a task may allow a tolerance
        found = [("twice the number and one", str(2 * number + 1)), ("the number's opposite", str(-number))]
        found = found if number else found[:1]
        found += zip(BESIDE, (str(number + _HALF), str(number - _HALF)), strict=True)
        found += zip(BESIDE.values(), (str(number - _QUARTER), str(number + _QUARTER)), strict=True)
        found += [*_shortened(gold), *_copied(example)]
    elif (value := object_of(gold)) is not None:
        changed = {key: _other(each) for key, each in value.items()}
        found = [
            ("every value changed", json.dumps(changed, ensure_ascii=False)),
            ("an object without its fields", "{}"),
            ("a field too many", json.dumps({**value, "x7q": "y8r"}, ensure_ascii=False)),
        ]
    else:
        found = [("a letter before the answer", f"x{gold}"), ("two more words", f"{gold} x7q y8r")]
        found += [*_shortened(gold), *_swapped(gold), *_copied(example)]
    found += [(OTHER, other) for other in others if differs(other, example)][:1]
    for name, answer in found:
        if differs(answer, example):
            yield name, render(example.reasoning, answer)


def _shortened(gold: str) -> Iterator[Named]:
    """Cut within a word or a whole number: what is left of `5 m` or 3.14 may be the gold, unitless or rounded."""
    if gold[:2].isalpha() or gold[:2].isdecimal():
        yield CUT[0], gold[:1]
    if "." not in gold and "," not in gold and (gold[-2:].isalpha() or gold[-2:].isdecimal()):
        yield CUT[1], gold[:-1]


def _swapped(gold: str) -> Iterator[Named]:
    """In words only: yx is xy in a formula."""
    if len(gold) >= 4 and gold.replace(" ", "").replace("-", "").isalpha():
        for place in range(len(gold) - 1):
            one, other = gold[place], gold[place + 1]
            if one.isalpha() and other.isalpha() and one.casefold() != other.casefold():
                yield "two letters swapped", f"{gold[:place]}{other}{one}{gold[place + 2 :]}"
                return


def _copied(example: Example) -> Iterator[Named]:
    golds = {_plain_fraction(gold) for gold in example.answers}
    prompt = "\n".join(turn["content"] for turn in example.messages)
    for text in list(dict.fromkeys(_FRACTION_OR_ROOT.findall(prompt)))[:3]:
        if _plain_fraction(text) not in golds:
            yield COPIED, text


def _plain_fraction(text: str) -> str:
    return _LATEX_FRACTION.sub(r" \1/\2", text).strip(" $")


def _wrong_moments(then: datetime) -> Iterator[Named]:
    offset = then.utcoffset() or timedelta()
    shifted = offset + timedelta(hours=1 if offset < timedelta(hours=12) else -1)
    changes: list[tuple[str, Any]] = [
        ("a day off", lambda: then + timedelta(days=1)),
        ("twelve hours off", lambda: then.replace(hour=(then.hour + 12) % 24)),
        ("a minute off", lambda: then.replace(minute=(then.minute + 1) % 60)),
        ("a second off", lambda: then.replace(second=(then.second + 1) % 60)),
        ("another offset, the same hour", lambda: then.replace(tzinfo=timezone(shifted))),
        ("another offset, the same instant", lambda: then.astimezone(timezone(shifted))),
        ("day and month swapped", lambda: then.replace(day=then.month, month=then.day)),
        ("another year", lambda: then.replace(year=then.year + 1)),
    ]
    for name, change in changes:
        try:
            changed = change()
        except (ValueError, OverflowError):  # no such day: nothing to try
            continue
        if changed.isoformat() != then.isoformat():
            yield name, changed.isoformat()
    yield "the date only", then.date().isoformat()


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x" if isinstance(value, str) else "x"
