"""The plain task, from meanings to examples: a day phrase times a clock phrase times a frame, each combination a group.

A group is one pair of surface forms, for instance («через N дней», «в H часов»). Groups, not examples, are dealt out to
the splits: every single form occurs in training, but no tested pair does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from random import Random
from types import ModuleType
from typing import NamedTuple

from rewards.core import Example
from rewards.datetimes import NONE
from tasks.base import SPLITS, Split
from tasks.datetime_extraction import clocks, days, english, russian
from tasks.datetime_extraction.prompts import OFFSET, Prompt
from tasks.datetime_extraction.public import is_public

LANGUAGES: dict[str, ModuleType] = {"ru": russian, "en": english}
NO_DATE = "no_date"  # the phenomenon of an answer that names no moment
TODAYS = (date(2020, 1, 1).toordinal(), date(2031, 1, 1).toordinal())
VALIDATION_SHARE, TEST_SHARE = 0.1, 0.1


class Group(NamedTuple):
    """One combination of surface forms in one language. day_text and clock_text write a meaning out."""

    id: str
    lang: str
    phenomenon: str
    clock: str
    day_text: Callable[[days.Day], str]
    clock_text: Callable[[clocks.Clock], str]


def _always(phrase: str) -> Callable[[days.Day], str]:
    return lambda _: phrase


def all_groups() -> list[Group]:
    """Every combination in both languages, in a fixed order."""
    groups = []
    for lang, language in LANGUAGES.items():
        for phenomenon, day_forms in language.DAYS.items():
            for clock, clock_forms in language.CLOCKS.items():
                for i, day_text in enumerate(day_forms):
                    for j, clock_text in enumerate(clock_forms):
                        name = f"{lang}/{phenomenon}.{i}/{clock}.{j}"
                        groups.append(Group(name, lang, phenomenon, clock, day_text, clock_text))
        for i, phrase in enumerate(language.NO_DATE):
            name = f"{lang}/{NO_DATE}.{i}"
            groups.append(Group(name, lang, NO_DATE, "no_time", _always(phrase), lambda _: ""))
    return groups


def deal(groups: Sequence[Group]) -> dict[Split, dict[tuple[str, str], list[Group]]]:
    """Split -> (lang, phenomenon) -> its groups. Every phenomenon is in every split; no group is in two.

    The order is that of a hash of the group's name, so a new group moves few of the old ones.
    """
    dealt: dict[Split, dict[tuple[str, str], list[Group]]] = {split: {} for split in SPLITS}
    by_kind: dict[tuple[str, str], list[Group]] = {}
    for group in sorted(groups, key=lambda g: hashlib.sha256(g.id.encode()).digest()):
        by_kind.setdefault((group.lang, group.phenomenon), []).append(group)
    for kind, members in by_kind.items():
        tested, validated = max(1, round(len(members) * TEST_SHARE)), max(1, round(len(members) * VALIDATION_SHARE))
        dealt["test"][kind] = members[:tested]
        dealt["validation"][kind] = members[tested : tested + validated]
        dealt["train"][kind] = members[tested + validated :]
    return dealt


_DEALT = deal(all_groups())


def generate(prompt: Prompt, split: Split, n: int, seed: int) -> Iterator[Example]:
    """n examples of a split, phenomena and languages in equal shares. Example i depends on (split, seed, i) only."""
    pools = list(_DEALT[split].values())
    offset = (seed * len(SPLITS) + SPLITS.index(split)) << 40  # room for 2**40 examples before two streams meet
    rng = Random()
    for i in range(n):
        rng.seed(offset + i)
        pool = pools[rng.randrange(len(pools))]
        yield _example(rng, pool[rng.randrange(len(pool))], prompt, f"{split}-{seed}-{i}")


def _example(rng: Random, group: Group, prompt: Prompt, example_id: str) -> Example:
    today = date.fromordinal(rng.randrange(*TODAYS))
    text, answer, reasoning = _said(rng, group, today)
    while is_public(text):
        text, answer, reasoning = _said(rng, group, today)
    return Example(
        id=example_id,
        messages=prompt(group.lang, text, today),
        answers=(answer,),
        reasoning=reasoning,
        tags={"lang": group.lang, "phenomenon": group.phenomenon, "clock": group.clock},
        group=group.id,
        context={"text": text, "today": today.isoformat()},
    )


def _said(rng: Random, group: Group, today: date) -> tuple[str, str, str]:
    """The words, the gold and the rationale of one answer."""
    if group.phenomenon == NO_DATE:
        text, answer, reasoning = group.day_text(days.Day(NO_DATE)), NONE, "no date given"
    else:
        meaning = days.KINDS[group.phenomenon](rng, today)
        clock = clocks.KINDS[group.clock](rng)
        said = f"{group.day_text(meaning)} {group.clock_text(clock)}".rstrip()
        frames = LANGUAGES[group.lang].FRAMES
        text = frames[rng.randrange(len(frames))].format(said)
        answer, reasoning = solve(meaning, clock, today)
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text, answer, reasoning


def solve(day: days.Day, clock: clocks.Clock, today: date) -> tuple[str, str]:
    """The gold answer and the rationale of a meaning: today, the step, the date, the time."""
    then = days.resolve_day(day, today)
    time = clocks.resolve_clock(clock)
    weekday = today.weekday()
    stated = f"{days.WEEKDAYS[weekday]}={weekday + 1} {today.day} {days.MONTHS[today.month - 1]}"
    reasoning = f"{stated}; {then.steps}; {time.step}"
    return f"{then.date.isoformat()}T{time.hour:02}:{time.minute:02}:00{OFFSET}", reasoning
