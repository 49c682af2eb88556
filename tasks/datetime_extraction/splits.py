"""Which combinations and which days belong to which split.

Three things are kept apart: pairs of surface forms («через N дней» with «часов в H») are dealt out, a tenth each to
validation and test; reference dates come from different years, and every 29 February is a test day; and some pairs of
phenomena (a kind of day with a kind of clock) are never seen together in training, in any form.
"""

from __future__ import annotations

import hashlib
from datetime import date
from functools import cache
from typing import NamedTuple

from tasks.base import Split, Task
from tasks.datetime_extraction import clock_kinds, day_kinds
from tasks.datetime_extraction.forms import ClockForm
from tasks.datetime_extraction.further_phrases import FURTHER
from tasks.datetime_extraction.languages import LANGUAGES, Said, goes_with
from tasks.datetime_extraction.meaning import LANGS, Lang

TEST_YEARS, VALIDATION_YEARS = (2024, 2027, 2030), (2022, 2029)
FIRST_YEAR, LAST_YEAR = 2012, 2036
# Wide enough that training sees each last digit after an even and an odd one, also those of the test's years.
TRAINING_FIRST, TRAINING_LAST = 2000, 2059
HELD_OUT_PAIRS = 16  # one pair of phenomena in so many is held out
TEST_SHARE = VALIDATION_SHARE = 26 / 256

_COMMON_CLOCKS = {
    "no_time": 6,
    "hh_mm": 4,
    "bare_hour": 4,
    "hour_part": 4,
    "hour_24": 2,
    "hh_mm_part": 2,
    "half_past": 2,
}
_COMMON_DAYS = {"weekday": 4, "tomorrow": 4, "today": 3, "day_after_tomorrow": 3, "day_month": 3, "day_of_month": 3}
_COMMON_DAYS |= {"no_day": 3, "in_days": 2, "following_weekday": 2, "weekday_next_week": 2, "day_month_words": 2}


class Pair(NamedTuple):
    """One combination of surface forms: the group of its examples."""

    group: str
    day: Said
    clock: ClockForm


class Choice(NamedTuple):
    """The pairs that a kind of clock offers beside a given kind of day."""

    clock: str
    pairs: tuple[Pair, ...]


class Menu(NamedTuple):
    """What a split draws from: kinds of day, repeated by their weight, and for each the choices, likewise."""

    days: tuple[str, ...]
    choices: dict[str, tuple[Choice, ...]]


def _byte(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0]


def held_out(day: str, clock: str) -> bool:
    """Whether this pair of phenomena is kept out of training. A moment or a clock alone has nothing to pair with."""
    alone = day in day_kinds.RELATIVE or clock in ("no_time", "today_part_hour") or day == day_kinds.NO_DAY
    return not alone and _byte(f"{day}+{clock}") < 256 // HELD_OUT_PAIRS


def split_of(group: str) -> Split:
    """The split that a pair of surface forms was dealt to."""
    dealt = _byte(group) / 256
    if dealt < TEST_SHARE:
        return "test"
    return "validation" if dealt < TEST_SHARE + VALIDATION_SHARE else "train"


@cache
def menus(lang: Lang) -> dict[str, Menu]:
    """The menus of train, validation, test, and of `held_out`: the pairs of phenomena that only the test has."""
    found: dict[str, dict[str, list[Choice]]] = {name: {} for name in ("train", "validation", "test", "held_out")}
    language = LANGUAGES[lang]
    for day, said in language.days.items():
        for clock, clock_forms in language.clocks.items():
            if goes_with(day, clock):
                for name, pairs in _dealt(lang, day, clock, said, clock_forms).items():
                    choice = Choice(clock, tuple(pairs))
                    found[name].setdefault(day, []).extend([choice] * _COMMON_CLOCKS.get(clock, 1))
    return {name: _menu(choices) for name, choices in found.items()}


def _dealt(
    lang: Lang, day: str, clock: str, said: tuple[Said, ...], clock_forms: tuple[ClockForm, ...]
) -> dict[str, list[Pair]]:
    if day in day_kinds.RELATIVE or day == day_kinds.PART_OF_TODAY:
        return _dealt_in_turn(lang, day, clock, said, clock_forms)
    dealt: dict[str, list[Pair]] = {}
    kept_out = held_out(day, clock)
    for i, form in enumerate(said):
        for j, clock_form in enumerate(clock_forms):
            group = f"{lang}/{day}.{i}/{clock}.{j}"
            dealt.setdefault("held_out" if kept_out else split_of(group), []).append(Pair(group, form, clock_form))
    return dealt


def _dealt_in_turn(
    lang: Lang, day: str, clock: str, said: tuple[Said, ...], clock_forms: tuple[ClockForm, ...]
) -> dict[str, list[Pair]]:
    """Few forms that go with one kind of clock only: one to test, one to validation, the rest to training."""
    pairs = [
        Pair(f"{lang}/{day}.{i}/{clock}.{j}", form, clock_form)
        for i, form in enumerate(said)
        for j, clock_form in enumerate(clock_forms)
    ]
    pairs.sort(key=lambda pair: hashlib.sha256(pair.group.encode()).digest())
    return {"test": pairs[:1], "validation": pairs[1:2], "train": pairs[2:]}


def _menu(choices: dict[str, list[Choice]]) -> Menu:
    days = tuple(day for day in choices for _ in range(_COMMON_DAYS.get(day, 1)))
    return Menu(days, {day: tuple(offered) for day, offered in choices.items()})


@cache
def todays(split: Split) -> tuple[date, ...]:
    """The reference dates of a split. No date is in two splits."""
    first, last = (TRAINING_FIRST, TRAINING_LAST) if split == "train" else (FIRST_YEAR, LAST_YEAR)
    every = (date.fromordinal(n) for n in range(date(first, 1, 1).toordinal(), date(last + 1, 1, 1).toordinal()))
    return tuple(day for day in every if split_of_today(day) == split)


def split_of_today(today: date) -> Split:
    """By year; a 29 February is always a test day."""
    if today.year in TEST_YEARS or (today.month, today.day) == (2, 29):
        return "test"
    return "validation" if today.year in VALIDATION_YEARS else "train"


@cache
def phrases(lang: Lang, name: str, split: Split) -> tuple[str, ...]:
    """The phrases of a split that name no moment; name is NO_ANSWER, WINDOWS or PAST. None is in two splits."""
    every: list[str] = sorted(
        getattr(LANGUAGES[lang].talk, name), key=lambda phrase: hashlib.sha256(phrase.encode()).digest()
    )
    share = max(2, len(every) // 8)
    if split == "test":
        return tuple(every[:share])
    return tuple(every[share : 2 * share]) if split == "validation" else (*every[2 * share :], *FURTHER[lang, name])


def check_menus(_: Task) -> list[str]:
    """For `toolkit task check`: the kinds of day and clock that a split lacks altogether."""
    missing = []
    for lang in LANGS:
        for name in ("train", "validation", "test"):
            menu = menus(lang)[name]
            clocks = {choice.clock for offered in menu.choices.values() for choice in offered}
            missing += [
                f"{lang} {name}: no day of kind {day}" for day in LANGUAGES[lang].days if day not in menu.choices
            ]
            missing += [
                f"{lang} {name}: no clock of kind {clock}" for clock in clock_kinds.SAMPLERS if clock not in clocks
            ]
    return missing
