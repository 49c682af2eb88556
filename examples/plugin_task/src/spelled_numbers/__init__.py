"""A number in English words to digits: forty-two -> 42."""

from __future__ import annotations

import random
from collections.abc import Iterator

from rewards.core import Example
from rewards.formats import tag_format
from rewards.numbers import number
from tasks.base import SPLITS, Split, Task

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spelled(value: int) -> str:
    """0 to 999,999 in words."""
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10 - 2] + (f"-{ONES[value % 10]}" if value % 10 else "")
    for unit, name in ((1000, "thousand"), (100, "hundred")):
        if value >= unit:
            rest = f" {spelled(value % unit)}" if value % unit else ""
            return f"{spelled(value // unit)} {name}{rest}"
    raise ValueError(value)


def examples(split: Split, n: int, seed: int) -> Iterator[Example]:
    """Splits share no number: each has a remainder of its own."""
    for i in range(n):
        value = 3 * random.Random(f"{split}/{seed}/{i}").randrange(333_333) + SPLITS.index(split)
        yield Example(
            id=f"{split}-{seed}-{i}",
            messages=({"role": "user", "content": f"Write in digits: {spelled(value)}"},),
            answers=(str(value),),
            reasoning=f"{value // 1000} thousand and {value % 1000}",
            tags={"length": str(len(str(value)))},
            group=str(value),
        )


TASK = Task(
    name="spelled_numbers",
    version="0.1",
    examples=examples,
    rewards={"tag_format": (tag_format, 0.1), "number": (number, 1.0)},
    metric=number,
)
