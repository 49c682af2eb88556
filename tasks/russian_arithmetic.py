"""A short story in Russian to one number, with its steps: a procedural task on one page, to copy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime

from rewards.core import Example, Message
from rewards.formats import tag_format
from rewards.numbers import number
from tasks.base import Split, Task

SYSTEM = "Реши задачу. Сначала рассуждение, потом число: <reasoning>…</reasoning><answer>…</answer>"
PEOPLE = ("В саду", "На складе", "В корзине", "На столе", "В магазине", "В парке")
THINGS = ("яблок", "книг", "мячей", "шаров", "ламп", "камней")
GAINS = ("принесли ещё", "добавили", "привезли", "купили ещё")
LOSSES = ("убрали", "забрали", "раздали", "потеряли")
# A split has numbers of its own (by their remainder), so that no story of one is in another.
REMAINDERS: dict[Split, tuple[int, ...]] = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}


def examples(split: Split, n: int, seed: int) -> Iterator[Example]:
    """Example i depends on (split, seed, i) only."""
    for i in range(n):
        yield _example(split, seed, i, random.Random(f"{split}/{seed}/{i}"))


def _example(split: Split, seed: int, i: int, draw: random.Random) -> Example:
    start = 5 * draw.randint(20, 190) + draw.choice(REMAINDERS[split])
    place, things = draw.choice(PEOPLE), draw.choice(THINGS)
    story, steps, total = [f"{place} было {start} {things}."], [], start
    for _ in range(draw.randint(1, 3)):
        change = draw.randint(2, 90)
        if draw.random() < 0.5:
            story.append(f"Потом {draw.choice(GAINS)} {change}.")
            steps.append(f"{total} + {change} = {total + change}")
            total += change
        else:
            story.append(f"Потом {draw.choice(LOSSES)} {min(change, total)}.")
            steps.append(f"{total} - {min(change, total)} = {total - min(change, total)}")
            total -= min(change, total)
    return Example(
        id=f"{split}-{seed}-{i}",
        messages=_messages(f"{' '.join(story)} Сколько {things} стало?"),
        answers=(str(total),),
        reasoning="; ".join(steps),
        tags={"steps": str(len(steps))},
        group=f"{start}",
    )


def _messages(text: str) -> tuple[Message, ...]:
    return {"role": "system", "content": SYSTEM}, {"role": "user", "content": text}


def ask(text: str, now: datetime) -> tuple[Message, ...]:
    """The prompt for a stranger's story; it states no moment."""
    return _messages(text)


TASK = Task(
    name="russian_arithmetic",
    version="1",
    examples=examples,
    rewards={"tag_format": (tag_format, 0.1), "number": (number, 1.0)},
    metric=number,
    ask=ask,
)
