"""What a model gives when it hasn't solved anything: the list that `toolkit task check` and `rewards lint` share."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from rewards.canonical import canonical
from rewards.core import Example
from rewards.datetimes import NONE, moment
from rewards.numbers import number_of
from rewards.response import ANSWER_CLOSE, ANSWER_OPEN, REASONING_CLOSE, REASONING_OPEN, TAGS, render
from rewards.structured import object_of
from rewards.text import normalized

Named = tuple[str, str]
"""(what it is, the text)"""

# "12 * 34" in a question: what is to be computed. A minus or a slash without spaces may be a date's.
_EXPRESSION = re.compile(r"[0-9]+(?:\s*[+*×·^]\s*[0-9]+|\s+[-/]\s+[0-9]+)+")

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
    """Well-formed answers that are surely wrong, each as near to the gold as its kind allows."""
    gold = example.answers[0] if example.answers else ""
    if (then := moment(gold)) is not None:
        found = list(_wrong_moments(then))
    elif (number := number_of(gold)) is not None:
        # far off: a task may allow a tolerance
        found = [("twice the number and one", str(2 * number + 1)), ("the number's opposite", str(-number))]
        found = found if number else found[:1]
    elif (value := object_of(gold)) is not None:
        found = [
            ("every value changed", json.dumps({key: _other(each) for key, each in value.items()}, ensure_ascii=False))
        ]
        found.append(("an object without its fields", "{}"))
    else:
        found = [("a letter before the answer", f"x{gold}"), ("two more words", f"{gold} x7q y8r")]
    found += [(OTHER, other) for other in others if differs(other, example)][:1]
    for name, answer in found:
        if differs(answer, example):
            yield name, render(example.reasoning, answer)


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
