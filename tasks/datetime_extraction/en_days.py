"""How English says a day relative to today or to a weekday, and a moment relative to the current time."""

from __future__ import annotations

from tasks.datetime_extraction import en_words as w
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.english import WEEKDAYS
from tasks.datetime_extraction.forms import DayForms


def _on(d: Day) -> str:
    return WEEKDAYS[d.n]


def _unit(d: Day) -> str:
    return ("days", "weeks", "months")[d.day]


def _units(d: Day) -> list[str]:
    return [w.count(n, unit) for n, unit in ((d.year, "year"), (d.month, "month"), (d.n, "day")) if n]


def _hours(d: Day) -> str:
    hours, minutes = divmod(d.n, 60)
    return w.count(hours, "hour") + (f" {minutes} minutes" if minutes else "")


def _short_hours(d: Day) -> str:
    hours, minutes = divmod(d.n, 60)
    return f"{hours}h" + (f" {minutes}min" if minutes else "")


RELATIVE_DAYS: DayForms = {
    "today": (lambda d: "this day", lambda d: "for today"),
    "tomorrow": (lambda d: "the next day", lambda d: "for tomorrow", lambda d: "tmr"),
    "day_after_tomorrow": (
        lambda d: "overmorrow",
        lambda d: "on the day after tomorrow",
        lambda d: "in two days' time",
    ),
    "two_days_after_tomorrow": (lambda d: "two days after tomorrow", lambda d: "2 days after tomorrow"),
    "in_days": (
        lambda d: f"in {w.count_words(d.n, 'day')}",
        lambda d: f"{w.count_words(d.n, 'day')} from now",
        lambda d: f"{d.n} days from today",
        lambda d: f"{d.n} days later",
        lambda d: f"in {d.n} days' time",
        lambda d: f"{d.n} days hence",
    ),
    "in_weeks": (
        lambda d: f"in {w.count_words(d.n, 'week')}",
        lambda d: f"{w.count(d.n, 'week')} from today",
        lambda d: f"in {w.count(d.n, 'week')}{'’s' if d.n == 1 else '’'} time",
        lambda d: "in a fortnight" if d.n == 2 else f"{w.count_words(d.n, 'week')} from now",
        lambda d: f"{w.count(d.n, 'week')} hence",
        lambda d: f"{w.count_words(d.n, 'week')} hence" if d.n != 2 else "in a fortnight's time",
    ),
    "in_months": (
        lambda d: f"in {w.count_words(d.n, 'month')}",
        lambda d: f"{w.count(d.n, 'month')} from today",
        lambda d: f"{w.count_words(d.n, 'month')} from now",
        lambda d: f"{w.count(d.n, 'month')} later",
        lambda d: f"{w.count_words(d.n, 'month')} hence",
    ),
    "in_years": (
        lambda d: f"in {w.count(d.n, 'year')}",
        lambda d: f"{w.count(d.n, 'year')} from now",
        lambda d: f"in {w.count_words(d.n, 'year')}",
        lambda d: f"{w.count(d.n, 'year')} from today",
    ),
    "span": (
        lambda d: f"in {' and '.join(_units(d))}",
        lambda d: f"{' and '.join(_units(d))} from now",
        lambda d: f"in {' '.join(_units(d))}",
        lambda d: f"{' '.join(_units(d))} later",
        lambda d: f"{', '.join(_units(d))} from today",
        lambda d: f"in {', '.join(_units(d))}",
        lambda d: f"after {' and '.join(_units(d))}",
    ),
    "couple": (
        lambda d: f"in a couple of {_unit(d)}",
        lambda d: f"in a couple {_unit(d)}",
        lambda d: f"a couple of {_unit(d)} from now",
    ),
    "week_and_days": (
        lambda d: f"in {w.count(d.day, 'week')} and {w.count(d.n, 'day')}",
        lambda d: f"{w.count(d.day, 'week')} and {w.count(d.n, 'day')} from now",
    ),
    "weekday": (
        _on,
        lambda d: f"on {w.WEEKDAYS_SHORT[d.n]}",
        lambda d: f"coming {_on(d)}",
        lambda d: f"the coming {_on(d)}",
        lambda d: f"for {_on(d)}",
    ),
    "same_weekday": (lambda d: f"on {_on(d)}", _on),
    "this_weekday": (
        lambda d: f"this {_on(d)}",
        lambda d: f"{_on(d)} this week",
        lambda d: f"on {_on(d)} of this week",
        lambda d: f"this week on {_on(d)}",
        lambda d: f"this week {_on(d)}",
    ),
    "following_weekday": (
        lambda d: f"next {_on(d)}",
        lambda d: f"on next {_on(d)}",
        lambda d: f"next {w.WEEKDAYS_SHORT[d.n]}",
    ),
    "weekday_next_week": (
        lambda d: f"next week {_on(d)}",
        lambda d: f"{_on(d)}, next week",
        lambda d: f"{_on(d)} of next week",
        lambda d: f"next week, {_on(d)}",
        lambda d: f"on {_on(d)} next week",
    ),
    "weekend_day": (
        lambda d: f"on the weekend, on {_on(d)}",
        lambda d: f"this weekend on {_on(d)}",
        lambda d: f"{_on(d)} this weekend",
    ),
    "weekday_in_weeks": (
        lambda d: f"in {w.count(d.day, 'week')} on {_on(d)}",
        lambda d: f"on {_on(d)} in {w.count(d.day, 'week')}",
        lambda d: f"{w.count(d.day, 'week')} from now on {_on(d)}",
    ),
    "weekday_in_months": (
        lambda d: f"in {w.count(d.month, 'month')} on a {_on(d)}",
        lambda d: f"in {w.count(d.month, 'month')}, on {_on(d)}",
    ),
    "skip_weekday": (
        lambda d: f"the {_on(d)} after next",
        lambda d: f"{_on(d)} after next",
        lambda d: f"not this coming {_on(d)} but the one after",
    ),
    "weeks_from_weekday": (
        lambda d: f"{w.count(d.day, 'week')} from {_on(d)}",
        lambda d: f"{w.count(d.day, 'week')} after {_on(d)}",
        lambda d: f"{w.count_words(d.day, 'week')} from {_on(d)}",
    ),
    "days_from_weekday": (
        lambda d: f"{w.count(d.day, 'day')} after {_on(d)}",
        lambda d: f"{w.count_words(d.day, 'day')} after {_on(d)}",
        lambda d: f"{w.count(d.day, 'day')} from {_on(d)}",
        lambda d: f"{w.count(d.day, 'day')} after this coming {_on(d)}",
        lambda d: f"the day after {_on(d)}" if d.day == 1 else f"{_on(d)} plus {d.day} days",
        lambda d: f"{w.count_words(d.day, 'day')} from {_on(d)}",
        lambda d: f"{_on(d)} +{d.day} days" if d.day > 1 else f"the next day after {_on(d)}",
    ),
    "weekdays_from_now": (
        lambda d: f"{d.day} {_on(d)}s from now",
        lambda d: f"{w.NUMBER[d.day]} {_on(d)}s from now",
    ),
    "weeks_from_tomorrow": (
        lambda d: f"{w.count(d.n, 'week')} from tomorrow",
        lambda d: f"{w.count(d.n, 'week')} after tomorrow",
        lambda d: f"{w.count_words(d.n, 'week')} from tomorrow",
    ),
    "business_days": (
        lambda d: "on the next business day" if d.n == 1 else f"in {d.n} business days",
        lambda d: "the next working day" if d.n == 1 else f"in {w.NUMBER[d.n]} working days",
        lambda d: "next business day" if d.n == 1 else f"in {w.NUMBER[d.n]} business days",
    ),
    "no_day": (lambda d: "",),
    "part_of_today": (lambda d: "",),
}

MOMENTS: DayForms = {
    "in_seconds": (
        lambda d: f"in {w.count(d.month, 'second')}",
        lambda d: f"in {w.count_words(d.month, 'second')}",
        lambda d: f"{w.count(d.month, 'second')} from now",
        lambda d: f"in {d.month} sec",
        lambda d: f"in {d.month} secs",
        lambda d: f"{d.month} seconds later",
        lambda d: f"in about {w.count(d.month, 'second')}",
    ),
    "minutes_seconds": (
        lambda d: f"in {w.count(d.n, 'minute')} and {w.count(d.month, 'second')}",
        lambda d: f"in {w.count(d.n, 'minute')} {w.count(d.month, 'second')}",
        lambda d: f"{w.count(d.n, 'minute')} and {w.count(d.month, 'second')} from now",
        lambda d: f"in {d.n} min {d.month} sec",
        lambda d: f"in {d.n}m {d.month}s",
    ),
    "days_hours": (
        lambda d: f"in {w.count(d.day, 'day')} and {_hours(d)}",
        lambda d: f"in {w.count(d.day, 'day')} {_hours(d)}",
        lambda d: f"{w.count(d.day, 'day')} and {_hours(d)} from now",
        lambda d: f"in {d.day}d {_short_hours(d)}",
        lambda d: f"+{d.day} day{'' if d.day == 1 else 's'} {_short_hours(d)}",
        lambda d: f"after {w.count(d.day, 'day')} and {_hours(d)}",
        lambda d: f"in {w.count(d.day, 'day')}, {_hours(d)}",
        lambda d: f"{w.count(d.day, 'day')} {_hours(d)} later",
    ),
    "in_minutes": (
        lambda d: f"in {w.count(d.n, 'minute')}",
        lambda d: f"in {w.count_words(d.n, 'minute')}",
        lambda d: f"{w.count(d.n, 'minute')} from now",
        lambda d: f"in about {w.count(d.n, 'minute')}",
        lambda d: f"in {d.n} min",
        lambda d: f"in {d.n} mins",
        lambda d: f"+{d.n} minutes",
        lambda d: f"{d.n} minutes later",
    ),
    "in_hours": (
        lambda d: f"in {w.count(d.n // 60, 'hour')}",
        lambda d: f"in {w.count_words(d.n // 60, 'hour')}",
        lambda d: f"{w.count(d.n // 60, 'hour')} from now",
        lambda d: f"in about {w.count(d.n // 60, 'hour')}",
        lambda d: f"in {d.n // 60}h",
        lambda d: f"in {d.n // 60} hrs",
    ),
    "couple_minutes": (
        lambda d: "in a couple of minutes",
        lambda d: "in a couple minutes",
        lambda d: "a couple of minutes from now",
        lambda d: "in a pair of minutes",
    ),
    "half_hour": (
        lambda d: "in about half an hour",
        lambda d: "in half an hour",
        lambda d: "half an hour from now",
        lambda d: "in a half hour",
        lambda d: "in 1/2 hour",
    ),
    "quarter_hour": (
        lambda d: "in a quarter of an hour",
        lambda d: "a quarter of an hour from now",
        lambda d: "in fifteen minutes",
        lambda d: "in about a quarter of an hour",
    ),
    "hour_and_half": (
        lambda d: "in an hour and a half",
        lambda d: "in one and a half hours",
        lambda d: "in 1.5 hours",
    ),
    "hours_and_half": (
        lambda d: f"in {d.n // 60}.5 hours",
        lambda d: f"in {w.NUMBER[d.n // 60]} and a half hours",
        lambda d: f"{d.n // 60} and a half hours from now",
        lambda d: f"in {d.n // 60} and a half hours",
    ),
    "hours_minutes": (
        lambda d: f"in {w.count(d.n // 60, 'hour')} and {d.n % 60} minutes",
        lambda d: f"in {w.count(d.n // 60, 'hour')} {d.n % 60} minutes",
        lambda d: f"in {d.n // 60}h {d.n % 60}min",
        lambda d: f"in {w.count(d.n // 60, 'hour')} {w.NUMBER[d.n % 60]}",
    ),
    "couple_hours": (
        lambda d: "in a couple of hours",
        lambda d: "in a couple hours",
        lambda d: "a couple of hours from now",
        lambda d: "in about a couple of hours",
    ),
    "right_now": (lambda d: "right now", lambda d: "now", lambda d: "right away, this minute"),
}

NOMINAL_DAYS: DayForms = {
    "weekday": (lambda d: f"{w.WEEKDAYS_SHORT[d.n]}.", lambda d: w.WEEKDAYS_SHORT[d.n]),
}
