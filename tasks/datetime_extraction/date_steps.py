"""Arithmetic on dates that writes down its steps, for the rationales."""

from __future__ import annotations

from calendar import isleap, monthrange
from datetime import date

from tasks.datetime_extraction.days import MONTHS, WEEKDAYS, Resolved, leap_step, month_end, plus_days, plus_months

LAST = 5  # Day.day of «последний понедельник», where 1-4 are the first to the fourth


def shift(start: date, n: int) -> Resolved:
    """start + n days for any sign of n: `3-5=-2, Oct: -2+31=29 Oct 2025`; the month first, since its length follows."""
    if n >= 0:
        return plus_days(start, n)
    steps, day, month, year = f"{start.day}-{-n}={start.day + n}", start.day + n, start.month, start.year
    while day < 1:
        month, year = (month - 1, year) if month > 1 else (12, year - 1)
        length = monthrange(year, month)[1]
        if month == 2:
            steps += f", {leap_step(year)}"
        steps += f", {MONTHS[month - 1]}: {day}+{length}={day + length}"
        day += length
    return Resolved(date(year, month, day), f"{steps} {MONTHS[month - 1]} {year}")


def to_weekday(start: date, weekday: int, weeks: int) -> Resolved:
    """The weekday of the ISO week that is `weeks` after that of start."""
    now, then = start.weekday() + 1, weekday + 1
    ahead = then - now + 7 * weeks
    later = shift(start, ahead)
    added = f"+{7 * weeks}" if weeks else ""
    return Resolved(later.date, f"{WEEKDAYS[weekday]}={then}, {then}-{now}{added}={ahead}; {later.steps}")


def _weeks_to_next(start: date, weekday: int) -> int:
    return 0 if weekday > start.weekday() else 1


def next_weekday(start: date, weekday: int, more_weeks: int = 0) -> Resolved:
    """The weekday next after start, and `more_weeks` later."""
    return to_weekday(start, weekday, _weeks_to_next(start, weekday) + more_weeks)


def weeks_from(weekday: int, start: date) -> int:
    """Weeks to add for the first such weekday on or after start."""
    return 0 if weekday >= start.weekday() else 1


def weekday_in_weeks(start: date, weekday: int, weeks: int) -> tuple[Resolved, Resolved]:
    """The weekday of the ISO week that is `weeks` later, and the first one at least so many weeks ahead.

    The one that is nearer to so many weeks comes first. The day's place in its week is said before all, since the
    choice hangs on it: `Mon=1, 1-6=-5, -5+14=9`.
    """
    now, then = start.weekday() + 1, weekday + 1
    place = then - now

    def after(n: int) -> Resolved:
        later = plus_days(start, place + 7 * n)
        counted = f"{then}-{now}={place}, {place}+{7 * n}={place + 7 * n}"
        return Resolved(later.date, f"{WEEKDAYS[weekday]}={then}, {counted}; {later.steps}")

    same_week, first = after(weeks), after(weeks + weeks_from(weekday, start))
    return (first, same_week) if place < -3 else (same_week, first)


def plus_years(today: date, n: int) -> Resolved:
    """today + n years, 29 February clamped to the 28th of a common year."""
    then = plus_months(today, 12 * n).date
    clamped = "" if then.day == today.day else f"{month_end(then.year, 2)}; "
    return Resolved(then, f"{today.year}+{n}={then.year}; {clamped}{then.day} {MONTHS[then.month - 1]} {then.year}")


def day_name(day: date) -> str:
    """`1 Feb=Sat=6`: a date with its weekday, Monday 1."""
    return f"{day.day} {MONTHS[day.month - 1]}={WEEKDAYS[day.weekday()]}={day.weekday() + 1}"


def named_day(today: date, then: date) -> str:
    """The weekday of `then`, of this year or the next, counted from today's: a small model can't see it in one step.

    Within a month the days are counted. Otherwise both dates become numbers of days since 31 December, modulo 7: a
    month stands for the days before it modulo 7, which is a table of twelve (and twelve of leap years) to remember.
    `2025 even 5 common: Mar=3, 27+3=30; Dec=5, 31+5=36; 4+36=40, 40-30=10, 10-7=3, 31 Dec=Wed=3`.
    """
    weekday = today.weekday() + 1
    if (today.year, today.month) == (then.year, then.month):
        return f"{_within_a_week(weekday, then.day, today.day)}, {day_name(then)}"
    start, year, here = _number_of(today)
    end, next_year, there = _number_of(then, 0 if then.year == today.year else 1 + isleap(today.year))
    later = "" if then.year == today.year else f"{next_year}, "
    return f"{year}: {here}; {later}{there}; {_within_a_week(weekday, end, start)}, {day_name(then)}"


def _number_of(day: date, more: int = 0) -> tuple[int, str, str]:
    """The day's number as in named_day, its year, and its sum; more: the whole years before, modulo 7."""
    before = (date(day.year, day.month, 1).toordinal() - date(day.year, 1, 1).toordinal()) % 7
    number = day.day + before + more
    added = f"+{more}" if more else ""
    year = f"{leap_step(day.year)}{f': {added}' * bool(more)}"
    return number, year, f"{MONTHS[day.month - 1]}={before}, {day.day}+{before}{added}={number}"


def _within_a_week(weekday: int, end: int, start: int) -> str:
    """weekday + end - start as a number from 1 to 7: `4+36=40, 40-30=10, 10-7=3`."""
    total = weekday + end - start
    weeks = 7 * ((total - 1) // 7)
    wrapped = "" if not weeks else f", {total}{'-' if weeks > 0 else '+'}{abs(weeks)}={total - weeks}"
    return f"{weekday}+{end}={weekday + end}, {weekday + end}-{start}={total}{wrapped}"


def plain_date(then: date) -> Resolved:
    """A date that needs no step: `7 Mar 2025`."""
    return Resolved(then, f"{then.day} {MONTHS[then.month - 1]} {then.year}")


def end_of_february(end: date) -> str:
    """What has to be said before the last day of a month is named: of February, whether the year is a leap year."""
    return f"{leap_step(end.year)}; " if end.month == 2 else ""


def named_end(today: date, end: date) -> str:
    """named_day of the last day of a month."""
    return f"{end_of_february(end)}{named_day(today, end)}"


def nth_weekday(today: date, year: int, month: int, weekday: int, nth: int) -> Resolved:
    """The nth (or the LAST) such weekday of a month, from the weekday of the month's first (or last) day."""
    if nth == LAST:
        end = date(year, month, monthrange(year, month)[1])
        back = (end.weekday() - weekday) % 7
        then = shift(end, -back)
        wrap = "+7" if end.weekday() < weekday else ""
        counted = f"{end.weekday() + 1}-{weekday + 1}{wrap}={back}"
        named = named_end(today, end)
        return Resolved(then.date, f"{named}, {WEEKDAYS[weekday]}={weekday + 1}, {counted}; {then.steps}")
    first = date(year, month, 1)
    ahead = (weekday - first.weekday()) % 7
    wrap = "+7" if weekday < first.weekday() else ""
    then = plus_days(first, ahead + 7 * (nth - 1))
    added = f", {ahead}+{7 * (nth - 1)}={ahead + 7 * (nth - 1)}" if nth > 1 else ""
    counted = f"{weekday + 1}-{first.weekday() + 1}{wrap}={ahead}{added}"
    return Resolved(then.date, f"{named_day(today, first)}, {WEEKDAYS[weekday]}={weekday + 1}, {counted}; {then.steps}")
