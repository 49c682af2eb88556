"""How English says a date of the calendar: surface forms for each kind of meaning."""

from __future__ import annotations

from datetime import date

from tasks.datetime_extraction import en_words as w
from tasks.datetime_extraction.day_kinds import EN_HOLIDAYS
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.english import MONTHS, WEEKDAYS, ordinal
from tasks.datetime_extraction.forms import DayForms

# By the index of a holiday in day_kinds.HOLIDAYS.
HOLIDAYS: dict[int, tuple[str, ...]] = {
    0: ("on New Year's Day", "New Year's Day", "on new years day"),
    3: ("on Valentine's Day", "Valentine's", "on valentines day"),
    5: ("on Women's Day", "on International Women's Day", "Women's Day, March 8"),
    6: ("on April Fools' Day", "April Fools", "on April Fools"),
    8: ("on May Day", "on International Workers' Day", "for May Day"),
    11: ("on Independence Day", "on the Fourth of July", "the 4th of July"),
    13: ("on Halloween", "Halloween", "for Halloween"),
    15: ("on Christmas Eve", "Christmas Eve", "the day before Christmas"),
    16: ("on Christmas", "on Christmas Day", "at xmas", "Christmas"),
    17: ("on New Year's Eve", "New Year's Eve", "on new years eve"),
    18: ("on St. Patrick's Day", "on St Patrick's Day", "st paddy's day"),
}
assert set(HOLIDAYS) == set(EN_HOLIDAYS)


def _month(d: Day) -> str:
    return MONTHS[d.month - 1]


def _short(d: Day) -> str:
    return w.MONTHS_SHORT[d.month - 1]


def _abbreviated(d: Day) -> str:
    """`Dec.`, but `May`, which isn't shortened."""
    return f"{_short(d)}{'' if _short(d) == _month(d) else '.'}"


def _weekday_of(d: Day) -> str:
    return WEEKDAYS[date(d.year, d.month, d.day).weekday()]


def _nth(d: Day) -> str:
    return f"the {w.NTH[d.day - 1]} {WEEKDAYS[d.n]}"


def _end_of(d: Day) -> str:
    return _month(d) if d.month else "the month"


def _span(n: int) -> str:
    return {1: "a day", 7: "a week", 14: "two weeks"}.get(n, f"{n} days")


CALENDAR_DAYS: DayForms = {
    "day_of_month": (
        lambda d: f"on the {w.ORDINAL[d.day]}",
        lambda d: f"the {w.ORDINAL[d.day]}",
        lambda d: f"on {ordinal(d.day)}",
        lambda d: f"for the {ordinal(d.day)}",
        lambda d: f"on the {d.day}",
        lambda d: f"the {w.apart(w.ORDINAL[d.day])}",
        lambda d: f"on the {w.apart(w.ORDINAL[d.day])}",
    ),
    "day_this_month": (
        lambda d: f"on the {ordinal(d.day)} of this month",
        lambda d: f"the {ordinal(d.day)} of the current month",
        lambda d: f"this month on the {ordinal(d.day)}",
        lambda d: f"{ordinal(d.day)} of this month",
    ),
    "day_next_month": (
        lambda d: f"on the {ordinal(d.day)} of next month",
        lambda d: f"the {w.ORDINAL[d.day]} of next month",
        lambda d: f"next month on the {ordinal(d.day)}",
        lambda d: f"{ordinal(d.day)} of next month",
        lambda d: f"on the {ordinal(d.day)} day of next month",
        lambda d: f"{d.day} of next month",
    ),
    "day_month": (
        lambda d: f"{_month(d)} {d.day}",
        lambda d: f"on the {ordinal(d.day)} of {_month(d)}",
        lambda d: f"on {_short(d)} {d.day}",
        lambda d: f"{ordinal(d.day)} {_short(d)}",
        lambda d: f"{_abbreviated(d)} {d.day}",
        lambda d: f"{_month(d)} the {ordinal(d.day)}",
        lambda d: f"{ordinal(d.day)} of {_month(d)}",
        lambda d: f"{d.day} {_short(d)}",
        lambda d: f"{_month(d)} {ordinal(d.day)}",
        lambda d: f"{d.day} of {_month(d)}",
        lambda d: f"{_short(d)}-{d.day}",
        lambda d: f"{_month(d)}, {ordinal(d.day)}",
    ),
    "day_month_words": (
        lambda d: f"on {_month(d)} {w.ORDINAL[d.day]}",
        lambda d: f"on the {w.ORDINAL[d.day]} of {_month(d)}",
        lambda d: f"{_month(d)} {w.ORDINAL[d.day]}",
        lambda d: f"the {w.ORDINAL[d.day]} of {_month(d)}",
        lambda d: f"{w.ORDINAL[d.day]} of {_short(d)}",
        lambda d: f"{_month(d)} {w.NUMBER[d.day]}",
        lambda d: f"{_month(d)} {w.apart(w.ORDINAL[d.day])}",
        lambda d: f"on the {w.apart(w.ORDINAL[d.day])} of {_month(d)}",
        lambda d: f"{_month(d)} {w.apart(w.NUMBER[d.day])}",
        lambda d: f"{_short(d)} {w.apart(w.NUMBER[d.day])}",
        lambda d: f"on {_month(d)} the {w.apart(w.ORDINAL[d.day])}",
    ),
    "weekday_day_of_month": (
        lambda d: f"on {WEEKDAYS[d.n]} the {ordinal(d.day)}",
        lambda d: f"{WEEKDAYS[d.n]} the {ordinal(d.day)}",
        lambda d: f"on {WEEKDAYS[d.n]}, the {ordinal(d.day)}",
        lambda d: f"{w.WEEKDAYS_SHORT[d.n]} {ordinal(d.day)}",
        lambda d: f"{WEEKDAYS[d.n]} {ordinal(d.day)}",
        lambda d: f"on the {ordinal(d.day)}, {WEEKDAYS[d.n]}",
        lambda d: f"on {WEEKDAYS[d.n]} the {w.apart(w.ORDINAL[d.day])}",
    ),
    "nth_day_of_month": (
        lambda d: f"on the {ordinal(d.day)} day of {_month(d)}",
        lambda d: f"the {w.ORDINAL[d.day]} day of {_month(d)}",
    ),
    "numeric_date": (
        lambda d: f"{d.month:02}/{d.day:02}",
        lambda d: f"for {d.month}/{d.day}",
    ),
    "full_date": (
        lambda d: f"on {_month(d)} {d.day}, {d.year}",
        lambda d: f"{d.day} {_month(d)} {d.year}",
        lambda d: f"on the {ordinal(d.day)} of {_month(d)}, {d.year}",
        lambda d: f"{_month(d)} {ordinal(d.day)} {d.year}",
        lambda d: f"{_month(d)} {w.ORDINAL[d.day]}, {d.year}",
        lambda d: f"{d.day} {_short(d)} {d.year}",
        lambda d: f"{_short(d)} {d.day}, {d.year}",
        lambda d: f"{ordinal(d.day)} {_month(d)}, {d.year}",
        lambda d: f"{d.day}-{_month(d)} {d.year}",
        lambda d: f"{_abbreviated(d)} {d.day}, {d.year}",
        lambda d: f"{_weekday_of(d)}, {_month(d)} {d.day}, {d.year}",
        lambda d: f"{_weekday_of(d)[:3]}, {d.day} {_short(d)} {d.year}",
        lambda d: f"{d.year} {_month(d)} {d.day}",
        lambda d: f"{_month(d)} {w.apart(w.ORDINAL[d.day])} {d.year}",
    ),
    "numeric_year": (
        lambda d: f"{d.month}/{d.day}/{d.year}",
        lambda d: f"on {d.month:02}/{d.day:02}/{d.year}",
        lambda d: f"{d.month}-{d.day}-{d.year}",
        lambda d: f"{d.month}/{d.day}/{d.year % 100:02}",
        lambda d: f"on {d.month:02}/{d.day:02}/{d.year % 100:02}",
    ),
    "iso_date": (
        lambda d: f"{d.year}-{d.month:02}-{d.day:02}",
        lambda d: f"on {d.year}-{d.month:02}-{d.day:02}",
        lambda d: f"{d.year}/{d.month}/{d.day}",
    ),
    "nth_weekday": (
        lambda d: f"on {_nth(d)} of {_month(d)}",
        lambda d: f"{_nth(d)} in {_month(d)}",
        lambda d: f"{_nth(d)} of {_month(d)}",
        lambda d: f"{w.NTH[d.day - 1]} {WEEKDAYS[d.n]} of {_month(d)}",
        lambda d: f"in {_month(d)}, on {_nth(d)}",
    ),
    "nth_weekday_next_month": (
        lambda d: f"on {_nth(d)} of next month",
        lambda d: f"next month on {_nth(d)}",
        lambda d: f"{_nth(d)} of next month",
    ),
    "nth_weekday_this_month": (
        lambda d: f"on {_nth(d)} of the month",
        lambda d: f"{_nth(d)} of this month",
        lambda d: f"this month on {_nth(d)}",
    ),
    "weekday_after_date": (
        lambda d: f"on the first {WEEKDAYS[d.n]} after the {ordinal(d.day)}",
        lambda d: f"first {WEEKDAYS[d.n]} after the {ordinal(d.day)}",
    ),
    "last_day_of_month": (
        lambda d: f"on the last day of {_end_of(d)}",
        lambda d: f"the last day of {_end_of(d)}",
        lambda d: f"last day of {_end_of(d)}",
    ),
    "last_business_day": (
        lambda d: f"on the last business day of {_end_of(d)}",
        lambda d: f"the last working day of {_end_of(d)}",
        lambda d: f"last business day of {_end_of(d)}",
    ),
    "days_before_date": (
        lambda d: f"{_span(d.n)} before {_month(d)} {d.day}",
        lambda d: f"{_span(d.n)} before the {ordinal(d.day)} of {_month(d)}",
    ),
    "days_after_date": (
        lambda d: f"{_span(d.n)} after {_month(d)} {d.day}",
        lambda d: f"{_span(d.n)} after the {ordinal(d.day)} of {_month(d)}",
        lambda d: f"{_span(d.n)} from {_month(d)} {ordinal(d.day)}",
    ),
    "weekday_date": (
        lambda d: f"on {WEEKDAYS[d.n]}, {_month(d)} {d.day}",
        lambda d: f"{WEEKDAYS[d.n]} the {ordinal(d.day)} of {_month(d)}",
        lambda d: f"{w.WEEKDAYS_SHORT[d.n]}, {_short(d)} {d.day}",
        lambda d: f"on {_month(d)} {ordinal(d.day)}, {WEEKDAYS[d.n]}",
        lambda d: f"{WEEKDAYS[d.n]}, {d.day} {_month(d)}",
    ),
    "holiday": (lambda d: HOLIDAYS[d.n][0], lambda d: HOLIDAYS[d.n][1], lambda d: HOLIDAYS[d.n][-1]),
    "leap_day": (
        lambda d: f"on February 29{f', {d.year}' if d.year else ''}",
        lambda d: f"the 29th of February{f' {d.year}' if d.year else ''}",
        lambda d: f"on Feb 29{f', {d.year}' if d.year else ''}",
        lambda d: f"29 Feb{f' {d.year}' if d.year else ''}",
        lambda d: f"Feb 29th{f' {d.year}' if d.year else ''}",
    ),
    "invalid_date": (
        lambda d: f"on {_month(d)} {d.day}",
        lambda d: f"on the {ordinal(d.day)} of {_month(d)}",
        lambda d: f"{d.day} {_month(d)}",
    ),
}
CALENDAR_DAYS["weekday_date_conflict"] = CALENDAR_DAYS["weekday_date"]
