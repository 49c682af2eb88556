"""What the further day phrases mean: each kind resolved to its accepted dates, the canonical one first, with the steps.

A resolver gives a text instead where the calendar has no such day: the reason that ends the rationale.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from collections.abc import Callable
from datetime import date

from tasks.datetime_extraction import days
from tasks.datetime_extraction.date_steps import (
    end_of_february,
    named_day,
    named_end,
    next_weekday,
    nth_weekday,
    plain_date,
    plus_years,
    shift,
    to_weekday,
    weekday_in_weeks,
    weeks_from,
)
from tasks.datetime_extraction.days import (
    MONTHS,
    WEEKDAYS,
    Day,
    Resolved,
    leap_step,
    month_end,
    plus_days,
    plus_months,
    resolve_day,
)
from tasks.datetime_extraction.meaning import Setting

Dates = tuple[Resolved, ...] | str


def resolve_dates(day: Day, setting: Setting) -> Dates:
    """The accepted dates of a day phrase, or why there is none. Raises KeyError on an unknown kind."""
    further = _RESOLVERS.get(day.kind)
    return further(day, setting) if further else (resolve_day(day, setting.today),)


def _days(day: Day, s: Setting) -> Dates:
    return (plus_days(s.today, day.n),)


def _in_days(day: Day, s: Setting) -> Dates:
    """The unit first, as for hours and minutes (gold.py): «5 дней спустя» and «5 часов спустя» differ in it alone."""
    then = plus_days(s.today, day.n)
    return (Resolved(then.date, f"days: {then.steps}"),)


def _distinct(*dates: Resolved) -> Dates:
    return dates[:1] + tuple(other for other in dates[1:] if other.date != dates[0].date)


def _couple(day: Day, s: Setting) -> Dates:
    if day.day == 2:
        return (plus_months(s.today, 2),)
    if day.day == 1:
        then = plus_days(s.today, 14)
        return (Resolved(then.date, f"2*7=14; {then.steps}"),)
    return (plus_days(s.today, 2),)


def _every_other_day(day: Day, s: Setting) -> Dates:
    return plus_days(s.today, 2), plus_days(s.today, 1)


def _week_and_days(day: Day, s: Setting) -> Dates:
    total = 7 * day.day + day.n
    then = plus_days(s.today, total)
    return (Resolved(then.date, f"{day.day}*7={7 * day.day}, {7 * day.day}+{day.n}={total}; {then.steps}"),)


def _years(day: Day, s: Setting) -> Dates:
    return (plus_years(s.today, day.n),)


def _span(day: Day, s: Setting) -> Dates:
    """Years and months first, then days: «через месяц и 3 дня»."""
    then, steps = s.today, list[str]()
    for n, plus in ((day.year, plus_years), (day.month, plus_months), (day.n, plus_days)):
        if n:
            ahead = plus(then, n)
            then, steps = ahead.date, [*steps, ahead.steps]
    return (Resolved(then, "; ".join(steps)),)


def _following(day: Day, s: Setting) -> Dates:
    week, near = to_weekday(s.today, day.n, 1), next_weekday(s.today, day.n)
    if s.policy.following == "nearest":
        return (near,)
    return (week,) if s.policy.following == "week" else _distinct(week, near)


def _weekday_in_weeks(day: Day, s: Setting) -> Dates:
    return _distinct(*weekday_in_weeks(s.today, day.n, day.day))


def _weekday_in_months(day: Day, s: Setting) -> Dates:
    base = plus_months(s.today, day.month)

    def steps(then: Resolved) -> Resolved:
        return Resolved(then.date, f"{base.steps}; {named_day(s.today, base.date)}; {then.steps}")

    same_week = to_weekday(base.date, day.n, 0)
    on_or_after = to_weekday(base.date, day.n, weeks_from(day.n, base.date))
    return _distinct(steps(same_week), steps(on_or_after))


def _skip_weekday(day: Day, s: Setting) -> Dates:
    return (next_weekday(s.today, day.n, 1),)


def _weeks_from_weekday(day: Day, s: Setting) -> Dates:
    return (next_weekday(s.today, day.n, day.day),)


def _days_from_weekday(day: Day, s: Setting) -> Dates:
    base = next_weekday(s.today, day.n)
    then = plus_days(base.date, day.day)
    return (Resolved(then.date, f"{base.steps}; {then.steps}"),)


def _weekdays_from_now(day: Day, s: Setting) -> Dates:
    return (next_weekday(s.today, day.n, day.day - 1),)


def _week_from_tomorrow(day: Day, s: Setting) -> Dates:
    total = 7 * day.n + 1
    then = plus_days(s.today, total)
    return (Resolved(then.date, f"{day.n}*7={7 * day.n}, {7 * day.n}+1={total}; {then.steps}"),)


def _day_this_month(day: Day, s: Setting) -> Dates:
    return (plain_date(date(s.today.year, s.today.month, day.day)),)


def _next_month(today: date) -> tuple[int, int]:
    return (today.year, today.month + 1) if today.month < 12 else (today.year + 1, 1)


def _day_next_month(day: Day, s: Setting) -> Dates:
    year, month = _next_month(s.today)
    return (plain_date(date(year, month, day.day)),)


def _place_of(month: int, today: date) -> str:
    """`Jun is this month; `: the year of a named month, and how its weekdays are counted, follow from that.

    Nothing where no month is named (0).
    """
    if not month:
        return ""
    place = "past" if month < today.month else "ahead" if month > today.month else "this month"
    return f"{MONTHS[month - 1]} is {place}; "


def _nth_weekday(day: Day, s: Setting) -> Dates:
    year, place = s.today.year, _place_of(day.month, s.today)
    if day.month < s.today.month:
        next_year = nth_weekday(s.today, year + 1, day.month, day.n, day.day)
        return (Resolved(next_year.date, f"{place}{next_year.steps}"),)
    this = nth_weekday(s.today, year, day.month, day.n, day.day)
    if this.date > s.today:
        return (Resolved(this.date, f"{place}{this.steps}"),)
    next_year = nth_weekday(s.today, year + 1, day.month, day.n, day.day)
    return (Resolved(next_year.date, f"{place}{this.steps}, past; {next_year.steps}"),)


def _nth_weekday_next_month(day: Day, s: Setting) -> Dates:
    year, month = _next_month(s.today)
    return (nth_weekday(s.today, year, month, day.n, day.day),)


def _nth_weekday_this_month(day: Day, s: Setting) -> Dates:
    return (nth_weekday(s.today, s.today.year, s.today.month, day.n, day.day),)


def _weekday_after(day: Day, s: Setting) -> Dates:
    base = resolve_day(Day("day_of_month", 0, day.day), s.today)
    then = next_weekday(base.date, day.n)
    return (Resolved(then.date, f"{base.steps}; {named_day(s.today, base.date)}; {then.steps}"),)


def _end_of_month(day: Day, s: Setting) -> date:
    month = day.month or s.today.month
    year = s.today.year + (month < s.today.month)
    return date(year, month, monthrange(year, month)[1])


def _last_day(day: Day, s: Setting) -> Dates:
    end = plain_date(_end_of_month(day, s))
    return (end._replace(steps=_place_of(day.month, s.today) + end_of_february(end.date) + end.steps),)


def _last_business_day(day: Day, s: Setting) -> Dates:
    end = _end_of_month(day, s)
    back = max(0, end.weekday() - 4)
    named = _place_of(day.month, s.today) + named_end(s.today, end)
    if not back:
        return (Resolved(end, f"{named}; {plain_date(end).steps}"),)
    then = shift(end, -back)
    return (Resolved(then.date, f"{named}, {end.weekday() + 1}-5={back}; {then.steps}"),)


def _beside_date(sign: int) -> Callable[[Day, Setting], Dates]:
    def resolve(day: Day, s: Setting) -> Dates:
        base = resolve_day(Day("day_month", 0, day.day, day.month), s.today)
        then = shift(base.date, sign * day.n)
        return (Resolved(then.date, f"{base.steps}; {then.steps}"),)

    return resolve


def _business_days(day: Day, s: Setting) -> Dates:
    """Each day is named, the business days are numbered: `Nov ends 30; 1 Fri 29, Sat 30, Sun 1, 2 Mon 2 Dec 2030`."""
    then, number, steps = s.today, 0, []
    while number < day.n:
        then = date.fromordinal(then.toordinal() + 1)
        business = then.weekday() < 5
        number += business
        steps.append(f"{f'{number} ' * business}{WEEKDAYS[then.weekday()]} {then.day}")
    counted = f"{month_end(s.today.year, s.today.month)}; {', '.join(steps)}"
    return (Resolved(then, f"{counted} {MONTHS[then.month - 1]} {then.year}"),)


def _leap_day(day: Day, s: Setting) -> Dates:
    passed = (s.today.month, s.today.day) > (2, 29)
    year = day.year or s.today.year + passed
    step = leap_step(year)
    if not day.year:
        step = f"29 Feb is {'past' if passed else 'ahead'}: {step}"
    if not isleap(year):
        return f"{step}, no 29 Feb"
    return (Resolved(date(year, 2, 29), f"{step}; 29 Feb {year}"),)


def _invalid(day: Day, s: Setting) -> Dates:
    at_most = " at most" if day.month == 2 else ""
    return f"{MONTHS[day.month - 1]} has {monthrange(2024, day.month)[1]} days{at_most}, not {day.day}"


def _core(kind: str) -> Callable[[Day, Setting], Dates]:
    return lambda day, s: (resolve_day(day._replace(kind=kind), s.today),)


def _same_weekday(day: Day, s: Setting) -> Dates:
    # Which of the two it is depends on the clock: gold.py decides.
    return days.resolve_day(Day("today"), s.today), to_weekday(s.today, day.n, 1)


_RESOLVERS: dict[str, Callable[[Day, Setting], Dates]] = {
    "two_days_after_tomorrow": _days,
    "in_days": _in_days,
    "couple": _couple,
    "every_other_day": _every_other_day,
    "week_and_days": _week_and_days,
    "in_years": _years,
    "span": _span,
    "same_weekday": _same_weekday,
    "this_weekday": lambda day, s: (to_weekday(s.today, day.n, 0),),
    "following_weekday": _following,
    "weekend_day": _core("weekday"),
    "weekday_in_weeks": _weekday_in_weeks,
    "weekday_in_months": _weekday_in_months,
    "skip_weekday": _skip_weekday,
    "weeks_from_weekday": _weeks_from_weekday,
    "days_from_weekday": _days_from_weekday,
    "weekdays_from_now": _weekdays_from_now,
    "weeks_from_tomorrow": _week_from_tomorrow,
    "day_this_month": _day_this_month,
    "day_next_month": _day_next_month,
    "weekday_day_of_month": _core("day_of_month"),
    "day_month_words": _core("day_month"),
    "nth_day_of_month": _core("day_month"),
    "numeric_year": _core("full_date"),
    "iso_date": _core("full_date"),
    "weekday_date": _core("day_month"),
    "weekday_date_conflict": _core("day_month"),
    "nth_weekday": _nth_weekday,
    "nth_weekday_this_month": _nth_weekday_this_month,
    "part_of_today": _core("today"),
    "nth_weekday_next_month": _nth_weekday_next_month,
    "weekday_after_date": _weekday_after,
    "last_day_of_month": _last_day,
    "last_business_day": _last_business_day,
    "days_before_date": _beside_date(-1),
    "days_after_date": _beside_date(1),
    "holiday": _core("day_month"),
    "business_days": _business_days,
    "leap_day": _leap_day,
    "invalid_date": _invalid,
}
