"""The surface forms of both languages in one shape, and which day goes with which clock."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from tasks.datetime_extraction import (
    clock_kinds,
    day_kinds,
    en_around,
    en_clocks,
    en_dates,
    en_days,
    en_talk,
    english,
    ru_around,
    ru_clocks,
    ru_dates,
    ru_days,
    ru_moments,
    ru_talk,
    russian,
)
from tasks.datetime_extraction.forms import ClockForm, ClockForms, DayForm, DayForms
from tasks.datetime_extraction.meaning import Lang


class Said(NamedTuple):
    """One surface form of a day. nominal: «среда», which fits fewer frames than «в среду»."""

    write: DayForm
    nominal: bool


class Language(NamedTuple):
    """Forms by kind of meaning; the modules with the frames of an answer and with what stands around it."""

    days: dict[str, tuple[Said, ...]]
    clocks: dict[str, tuple[ClockForm, ...]]
    talk: ModuleType
    around: ModuleType
    holidays: frozenset[int]


# How many of the plain forms to keep: the order of 3/4/2025 depends on the prompt, so it has a kind of its own.
_KEPT: dict[Lang, dict[str, int]] = {"en": {"full_date": 1}, "ru": {"full_date": 1}}


def _days(lang: Lang, plain: DayForms, further: list[DayForms], nominal: list[DayForms]) -> dict[str, tuple[Said, ...]]:
    merged: dict[str, tuple[Said, ...]] = {}
    for kind in day_kinds.SAMPLERS:
        keep = _KEPT[lang].get(kind)
        forms: list[DayForm] = list(plain.get(kind, ())[:keep])
        for table in further:
            forms.extend(table.get(kind, ()))
        as_noun = [form for table in nominal for form in table.get(kind, ())]
        said = (*(Said(form, False) for form in forms), *(Said(form, True) for form in as_noun))
        if said:
            merged[kind] = said
    return merged


def _clocks(forms: ClockForms) -> dict[str, tuple[ClockForm, ...]]:
    return {kind: forms[kind] for kind in clock_kinds.SAMPLERS if kind in forms}


LANGUAGES: dict[Lang, Language] = {
    "ru": Language(
        _days(
            "ru",
            russian.DAYS,
            [ru_days.RELATIVE_DAYS, ru_dates.CALENDAR_DAYS, ru_moments.MOMENTS],
            [ru_days.NOMINAL_DAYS, ru_dates.NOMINAL_DATES],
        ),
        _clocks(ru_clocks.CLOCKS),
        ru_talk,
        ru_around,
        frozenset(ru_dates.HOLIDAYS),
    ),
    "en": Language(
        _days(
            "en",
            english.DAYS,
            [en_days.RELATIVE_DAYS, en_dates.CALENDAR_DAYS, en_days.MOMENTS],
            [en_days.NOMINAL_DAYS],
        ),
        _clocks(en_clocks.CLOCKS),
        en_talk,
        en_around,
        frozenset(en_dates.HOLIDAYS),
    ),
}
NUMERIC = frozenset({"numeric_date", "numeric_year"})


def goes_with(day: str, clock: str) -> bool:
    """Whether people would say this kind of day with this kind of clock, and could be understood."""
    if day in day_kinds.RELATIVE:
        return clock == "no_time"
    if day == day_kinds.PART_OF_TODAY or clock == "today_part_hour":
        return day == day_kinds.PART_OF_TODAY and clock == "today_part_hour"
    if day == day_kinds.NO_DAY:
        return clock != "no_time"
    if day == "same_weekday":  # today or in a week: only a settled clock tells
        return clock == "no_time" or clock in clock_kinds.FIXED
    return not (day in NUMERIC and clock == "hh_mm_spaced")  # «9 09 18 30»
