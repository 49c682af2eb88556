"""Arithmetic on dates that writes down its steps, for the rationales."""

from __future__ import annotations

from calendar import monthrange
from datetime import date

from tasks.datetime_extraction.days import MONTHS, WEEKDAYS, Resolved, plus_days

LAST = 5  # Day.day of «последний понедельник», where 1-4 are the first to the fourth


def shift(start: date, n: int) -> Resolved:
    """start + n days for any sign of n: `3-5=-2, -2+31=29 Oct 2025`."""
    if n >= 0:
        return plus_days(start, n)
    steps, day, month, year = f"{start.day}-{-n}={start.day + n}", start.day + n, start.month, start.year
    while day < 1:
        month, year = (month - 1, year) if month > 1 else (12, year - 1)
        length = monthrange(year, month)[1]
        steps += f", {day}+{length}={day + length}"
        day += length
    return Resolved(date(year, month, day), f"{steps} {MONTHS[month - 1]} {year}")


def day_name(day: date) -> str:
    """`1 Feb=Sat=6`: a date with its weekday, Monday 1."""
    return f"{day.day} {MONTHS[day.month - 1]}={WEEKDAYS[day.weekday()]}={day.weekday() + 1}"


def plain_date(then: date) -> Resolved:
    """A date that needs no step: `7 Mar 2025`."""
    return Resolved(then, f"{then.day} {MONTHS[then.month - 1]} {then.year}")


def nth_weekday(year: int, month: int, weekday: int, nth: int) -> Resolved:
    """The nth (or the LAST) such weekday of a month, from the weekday of the month's first (or last) day."""
    if nth == LAST:
        end = date(year, month, monthrange(year, month)[1])
        back = (end.weekday() - weekday) % 7
        then = shift(end, -back)
        wrap = "+7" if end.weekday() < weekday else ""
        counted = f"{end.weekday() + 1}-{weekday + 1}{wrap}={back}"
        return Resolved(then.date, f"{day_name(end)}, {WEEKDAYS[weekday]}={weekday + 1}, {counted}; {then.steps}")
    first = date(year, month, 1)
    ahead = (weekday - first.weekday()) % 7
    wrap = "+7" if weekday < first.weekday() else ""
    then = plus_days(first, ahead + 7 * (nth - 1))
    added = f", {ahead}+{7 * (nth - 1)}={ahead + 7 * (nth - 1)}" if nth > 1 else ""
    counted = f"{weekday + 1}-{first.weekday() + 1}{wrap}={ahead}{added}"
    return Resolved(then.date, f"{day_name(first)}, {WEEKDAYS[weekday]}={weekday + 1}, {counted}; {then.steps}")
