"""What a day phrase means: kinds of meaning, how each is sampled, and how each is resolved to a date.

A meaning is data (`Day`), free of language; `resolve_day` computes the date and the short rationale from it. The
conventions are those of docs in tasks/datetime_extraction/README.md.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from collections.abc import Callable
from datetime import date
from random import Random
from typing import NamedTuple

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Day(NamedTuple):
    """A language-free day phrase. kind says which of the numbers count, and what they mean (see KINDS)."""

    kind: str
    n: int = 0  # days, weeks or months ahead; a weekday (Monday 0)
    day: int = 0
    month: int = 0
    year: int = 0


class Resolved(NamedTuple):
    """The date that a Day means on a given today, and the steps that lead there."""

    date: date
    steps: str


def _future_day(rng: Random, today: date) -> date:
    return date.fromordinal(today.toordinal() + rng.randrange(1, 365))


def _weekday(kind: str) -> Callable[[Random, date], Day]:
    # Today's own weekday is ambiguous without the current time, which plain prompts don't state.
    return lambda rng, today: Day(kind, (today.weekday() + rng.randrange(1, 7)) % 7)


def _calendar(kind: str) -> Callable[[Random, date], Day]:
    def sample(rng: Random, today: date) -> Day:
        then = _future_day(rng, today)
        if then.month == 2 and then.day == 29:  # a common year has no such day: that is another phenomenon
            then = then.replace(day=28)
        return Day(kind, 0, then.day, then.month, then.year)

    return sample


def _day_of_month(rng: Random, today: date) -> Day:
    # Days 1-28 exist in every month; today's own day is left out.
    return Day("day_of_month", 0, (today.day + rng.randrange(27)) % 28 + 1 if today.day <= 28 else rng.randrange(1, 29))


# kind -> how to draw a meaning. The key is the name of the phenomenon in tags and tables.
KINDS: dict[str, Callable[[Random, date], Day]] = {
    "today": lambda rng, today: Day("today", 0),
    "tomorrow": lambda rng, today: Day("tomorrow", 1),
    "day_after_tomorrow": lambda rng, today: Day("day_after_tomorrow", 2),
    "in_days": lambda rng, today: Day("in_days", rng.randrange(2, 31)),
    "in_weeks": lambda rng, today: Day("in_weeks", rng.randrange(1, 5)),
    "in_months": lambda rng, today: Day("in_months", rng.randrange(1, 7)),
    "weekday": _weekday("weekday"),
    "weekday_next_week": _weekday("weekday_next_week"),
    "day_of_month": _day_of_month,
    "day_month": _calendar("day_month"),
    "numeric_date": _calendar("numeric_date"),
    "full_date": _calendar("full_date"),
}


def leap_step(year: int) -> str:
    """Whether a year of 2000-2099 is a leap year, from its last two digits: `2024 even 4 leap`, `2030 odd 0 common`.

    After an even digit 0, 4 and 8 make a leap year, after an odd one 2 and 6: a small model applies this table to years
    that it has never seen. Without the step it remembers which years of its training were leap years.
    """
    parity = "odd" if year // 10 % 2 else "even"
    return f"{year} {parity} {year % 10} {'leap' if isleap(year) else 'common'}"


def month_end(year: int, month: int) -> str:
    """The last day of a month: `Nov ends 30`, `2024 even 4 leap, Feb ends 29`. Said before a count that may pass it."""
    leap = f"{leap_step(year)}, " if month == 2 else ""
    return f"{leap}{MONTHS[month - 1]} ends {monthrange(year, month)[1]}"


def plus_days(today: date, n: int) -> Resolved:
    """today + n days, the carry over the ends of months written out: `17+20=37, 37-31=6 Feb 2025`."""
    steps = f"{today.day}+{n}={today.day + n}"
    day, month, year = today.day + n, today.month, today.year
    while day > 28:
        length = monthrange(year, month)[1]
        if month == 2:
            steps += f", {leap_step(year)}"
        if day <= length:
            break
        steps += f", {day}-{length}={day - length}"
        month, year = (month + 1, year) if month < 12 else (1, year + 1)
        day -= length
    said = f", {day}" if month == 2 and day > 28 else ""  # the sum isn't the last thing said
    return Resolved(date(year, month, day), f"{steps}{said} {MONTHS[month - 1]} {year}")


def plus_months(today: date, n: int) -> Resolved:
    """today + n months, clamped to the end of the month."""
    years, month = divmod(today.month - 1 + n, 12)
    year, month = today.year + years, month + 1
    day = min(today.day, monthrange(year, month)[1])
    leap = f", {leap_step(year)}" if month == 2 and today.day > 28 else ""
    clamped = "" if day == today.day else f", {day} is its last"
    months = f"{today.month}+{n}={today.month + n}" + (f", -12={month}" if years else "")
    return Resolved(date(year, month, day), f"month {months}{leap}{clamped}: {day} {MONTHS[month - 1]} {year}")


def resolve_day(meaning: Day, today: date) -> Resolved:
    """The date that `meaning` has on `today`. Raises KeyError on an unknown kind."""
    return _RESOLVERS[meaning.kind](meaning, today)


def _today(meaning: Day, today: date) -> Resolved:
    return Resolved(today, f"{today.day} {MONTHS[today.month - 1]} {today.year}")


def _days(meaning: Day, today: date) -> Resolved:
    return plus_days(today, meaning.n)


def _weeks(meaning: Day, today: date) -> Resolved:
    then = plus_days(today, 7 * meaning.n)
    return Resolved(then.date, f"{meaning.n}*7={7 * meaning.n}; {then.steps}")


def _months(meaning: Day, today: date) -> Resolved:
    return plus_months(today, meaning.n)


def _next_weekday(meaning: Day, today: date) -> Resolved:
    # Weekdays as numbers, Monday 1: small models subtract numbers far better than they count names.
    now, then = today.weekday() + 1, meaning.n + 1
    ahead = then - now if then > now else then - now + 7
    later = plus_days(today, ahead)
    wrap = "" if then > now else "+7"
    return Resolved(later.date, f"{WEEKDAYS[meaning.n]}={then}, {then}-{now}{wrap}={ahead}; {later.steps}")


def _next_week(meaning: Day, today: date) -> Resolved:
    now, then = today.weekday() + 1, meaning.n + 1
    later = plus_days(today, then - now + 7)
    return Resolved(later.date, f"{WEEKDAYS[meaning.n]}={then}, {then}-{now}+7={then - now + 7}; {later.steps}")


def _of_month(meaning: Day, today: date) -> Resolved:
    month, year = today.month, today.year
    if passed := meaning.day < today.day:
        month, year = (month + 1, year) if month < 12 else (1, year + 1)
    sign = f"{meaning.day}<{today.day}, next month" if passed else f"{meaning.day}>{today.day}, this month"
    return Resolved(date(year, month, meaning.day), f"{sign}: {meaning.day} {MONTHS[month - 1]} {year}")


def _month_day(meaning: Day, today: date) -> Resolved:
    passed = (meaning.month, meaning.day) < (today.month, today.day)
    year = today.year + passed
    name = f"{meaning.day} {MONTHS[meaning.month - 1]}"
    return Resolved(date(year, meaning.month, meaning.day), f"{name} is {'past' if passed else 'ahead'}: {name} {year}")


def _full(meaning: Day, today: date) -> Resolved:
    then = date(meaning.year, meaning.month, meaning.day)
    return Resolved(then, f"{then.day} {MONTHS[then.month - 1]} {then.year}")


_RESOLVERS: dict[str, Callable[[Day, date], Resolved]] = {
    "today": _today,
    "tomorrow": _days,
    "day_after_tomorrow": _days,
    "in_days": _days,
    "in_weeks": _weeks,
    "in_months": _months,
    "weekday": _next_weekday,
    "weekday_next_week": _next_week,
    "day_of_month": _of_month,
    "day_month": _month_day,
    "numeric_date": _month_day,
    "full_date": _full,
}
