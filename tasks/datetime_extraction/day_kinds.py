"""How the meanings of day phrases are drawn. A draw that makes no sense on the day gives None: draw again."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from datetime import date
from random import Random

from tasks.datetime_extraction import days
from tasks.datetime_extraction.chance import below
from tasks.datetime_extraction.date_steps import LAST, next_weekday, nth_weekday
from tasks.datetime_extraction.days import Day

Sampler = Callable[[Random, date], Day | None]

# Fixed dates only: day, month. The names are in ru_days.HOLIDAYS and en_days.HOLIDAYS, in this order.
HOLIDAYS = (
    *((1, 1), (7, 1), (14, 1), (14, 2), (23, 2), (8, 3), (1, 4), (12, 4)),
    *((1, 5), (9, 5), (12, 6), (4, 7), (1, 9), (31, 10), (4, 11), (24, 12), (25, 12), (31, 12), (17, 3)),
)
RU_HOLIDAYS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 14, 17)
EN_HOLIDAYS = (0, 3, 5, 6, 8, 11, 13, 15, 16, 17, 18)

# Full moments that need the current time: Day.n is in minutes, Day.day in days and Day.month in seconds beside them.
RELATIVE = frozenset(
    {"in_minutes", "in_hours", "half_hour", "quarter_hour", "hour_and_half", "hours_and_half", "hours_minutes"}
    | {"couple_hours", "couple_minutes", "right_now", "in_seconds", "minutes_seconds", "days_hours"}
)
NO_DAY = "no_day"  # a clock time alone
PART_OF_TODAY = "part_of_today"  # «сегодня вечером в 8», "tonight at 8": the clock phrase says the day too


def _fixed(kind: str, n: int) -> Sampler:
    return lambda rng, today: Day(kind, n)


def _upto(kind: str, low: int, high: int) -> Sampler:
    return lambda rng, today: Day(kind, below(rng, low, high))


def _other_weekday(kind: str, low: int = 0, high: int = 1) -> Sampler:
    """Any weekday but today's; Day.day is drawn from low to high - 1."""
    return lambda rng, today: Day(kind, (today.weekday() + below(rng, 1, 7)) % 7, below(rng, low, high))


def _this_weekday(rng: Random, today: date) -> Day | None:
    return Day("this_weekday", below(rng, today.weekday() + 1, 7)) if today.weekday() < 6 else None


def _weekend_day(rng: Random, today: date) -> Day | None:
    n = below(rng, 5, 7)
    return Day("weekend_day", n) if today.weekday() < min(n, 6) else None  # on a Sunday the weekend to come is disputed


def _weekday_in_months(rng: Random, today: date) -> Day:
    return Day("weekday_in_months", below(rng, 0, 7), 0, below(rng, 1, 4))


def _calendar(kind: str, weekday: Callable[[Random, date], int] | None = None) -> Sampler:
    def sample(rng: Random, today: date) -> Day:
        then = date.fromordinal(today.toordinal() + below(rng, 1, 364))
        if then.month == 2 and then.day == 29:  # of the year to come: it has its own phenomenon
            then = then.replace(day=28)
        return Day(kind, weekday(rng, then) if weekday else 0, then.day, then.month, then.year)

    return sample


FAR_DAYS = 40 * 365  # with the last year of training, 2059, within this century


def _full(kind: str) -> Sampler:
    def sample(rng: Random, today: date) -> Day:
        # One in four is far off: a model that has met three years ahead at most takes later ones for past.
        days = below(rng, 1, 1200 if rng.random() < 0.75 else FAR_DAYS)
        then = date.fromordinal(today.toordinal() + days)
        return Day(kind, 0, then.day, then.month, then.year)

    return sample


def _day_this_month(rng: Random, today: date) -> Day | None:
    last = monthrange(today.year, today.month)[1]
    return Day("day_this_month", 0, below(rng, today.day + 1, last + 1)) if today.day < last else None


def _day_of_month(rng: Random, today: date) -> Day | None:
    day = below(rng, 1, 32)
    if day == today.day or (day > 28 and not today.day < day <= monthrange(today.year, today.month)[1]):
        return None
    return Day("day_of_month", 0, day)


def _weekday_day_of_month(rng: Random, today: date) -> Day | None:
    day = _day_of_month(rng, today)
    if day is None:
        return None
    return day._replace(kind="weekday_day_of_month", n=days.resolve_day(day, today).date.weekday())


def _span(rng: Random, today: date) -> Day | None:
    """Two of years, months and days. From a 29 February the order of the years and the months would matter."""
    if (today.month, today.day) == (2, 29):
        return None
    years, months, more = below(rng, 1, 4), below(rng, 1, 12), below(rng, 1, 29)
    left_out = below(rng, 0, 4)  # years, half of the time
    return Day("span", 0 if left_out == 3 else more, 0, 0 if left_out == 2 else months, 0 if left_out < 2 else years)


def _nth_weekday(rng: Random, today: date) -> Day:
    return Day("nth_weekday", below(rng, 0, 7), below(rng, 1, LAST + 1), below(rng, 1, 13))


def _nth_weekday_this_year(rng: Random, today: date) -> Day | None:
    day = _nth_weekday(rng, today)
    return None if nth_weekday(today, today.year, day.month, day.n, day.day).date == today else day


def _nth_weekday_this_month(rng: Random, today: date) -> Day | None:
    n, nth = below(rng, 0, 7), below(rng, 1, LAST + 1)
    ahead = nth_weekday(today, today.year, today.month, n, nth).date > today
    return Day("nth_weekday_this_month", n, nth) if ahead else None


def _weekday_after(rng: Random, today: date) -> Day | None:
    """Not where the date is past but its weekday is still ahead: people mean that one, the rule for dates the next."""
    day, n = below(rng, 1, 29), below(rng, 0, 7)
    if day == today.day or (day < today.day and next_weekday(today.replace(day=day), n).date >= today):
        return None
    return Day("weekday_after_date", n, day)


def _month_end(kind: str) -> Sampler:
    """month 0 is «месяца» without a name: this one, unless it ends within three days."""

    def sample(rng: Random, today: date) -> Day | None:
        month = 0 if rng.random() < 0.4 else below(rng, 1, 13)
        if month in (0, today.month) and monthrange(today.year, today.month)[1] - today.day < 4:
            return None
        return Day(kind, 0, 0, month)

    return sample


def _beside(kind: str) -> Sampler:
    def sample(rng: Random, today: date) -> Day | None:
        n = (1, 2, 3, 4, 5, 7, 7, 10, 14)[below(rng, 0, 9)]
        then = date.fromordinal(today.toordinal() + below(rng, n + 1, 350))
        return None if (then.month, then.day) == (2, 29) else Day(kind, n, then.day, then.month)

    return sample


def _holiday(rng: Random, today: date) -> Day | None:
    n = below(rng, 0, len(HOLIDAYS))
    day, month = HOLIDAYS[n]
    return None if (day, month) == (today.day, today.month) else Day("holiday", n, day, month)


def _leap_day(rng: Random, today: date) -> Day | None:
    if (today.month, today.day) == (2, 29):
        return None
    year = today.year + below(rng, 0, 5) if rng.random() < 0.5 else 0
    return None if year == today.year and today.month > 2 else Day("leap_day", 0, 29, 2, year)


_INVALID = (
    (30, 2),
    (31, 2),
    (31, 4),
    (31, 6),
    (31, 9),
    (31, 11),
    (32, 1),
    (32, 5),
    (33, 3),
    (35, 8),
    (32, 12),
    (34, 10),
)


def _invalid(rng: Random, today: date) -> Day:
    day, month = _INVALID[below(rng, 0, len(_INVALID))]
    return Day("invalid_date", 0, day, month)


def _in_minutes(rng: Random, today: date) -> Day:
    if rng.random() < 0.15:
        return Day("in_minutes", (60, 65, 70, 75, 80, 90)[below(rng, 0, 6)])
    return Day("in_minutes", below(rng, 1, 60) if rng.random() < 0.4 else 5 * below(rng, 1, 12))


def _in_hours(rng: Random, today: date) -> Day:
    if rng.random() < 0.2:
        return Day("in_hours", 60 * (24, 24, 36, 48, below(rng, 13, 24))[below(rng, 0, 5)])
    return Day("in_hours", 60 * below(rng, 1, 13))


def _in_seconds(rng: Random, today: date) -> Day:
    return Day(
        "in_seconds", month=below(rng, 1, 60) if rng.random() < 0.5 else (10, 15, 20, 30, 45, 90)[below(rng, 0, 6)]
    )


def _minutes_seconds(rng: Random, today: date) -> Day:
    seconds = below(rng, 1, 60) if rng.random() < 0.3 else 5 * below(rng, 1, 12)
    return Day("minutes_seconds", below(rng, 1, 31), month=seconds)


def _days_hours(rng: Random, today: date) -> Day:
    minutes = 5 * below(rng, 1, 12) if rng.random() < 0.3 else 0
    return Day("days_hours", 60 * below(rng, 1, 13) + minutes, below(rng, 1, 8))


def _hours_minutes(rng: Random, today: date) -> Day:
    return Day("hours_minutes", 60 * below(rng, 1, 6) + 5 * below(rng, 1, 12))


SAMPLERS: dict[str, Sampler] = {
    **days.KINDS,
    "day_of_month": _day_of_month,
    "two_days_after_tomorrow": _fixed("two_days_after_tomorrow", 3),
    "couple": lambda rng, today: Day("couple", 2, below(rng, 0, 3)),
    "every_other_day": _fixed("every_other_day", 2),
    "week_and_days": lambda rng, today: Day("week_and_days", below(rng, 1, 7), below(rng, 1, 4)),
    "in_years": _upto("in_years", 1, 4),
    "span": _span,
    "same_weekday": lambda rng, today: Day("same_weekday", today.weekday()),
    "this_weekday": _this_weekday,
    "following_weekday": _upto("following_weekday", 0, 7),
    "weekend_day": _weekend_day,
    "weekday_in_weeks": _other_weekday("weekday_in_weeks", 1, 5),
    "weekday_in_months": _weekday_in_months,
    "skip_weekday": _other_weekday("skip_weekday"),
    "weeks_from_weekday": _other_weekday("weeks_from_weekday", 1, 4),
    "days_from_weekday": _other_weekday("days_from_weekday", 1, 7),
    "weekdays_from_now": _other_weekday("weekdays_from_now", 2, 5),
    "weeks_from_tomorrow": _upto("weeks_from_tomorrow", 1, 5),
    "day_this_month": _day_this_month,
    "day_next_month": lambda rng, today: Day("day_next_month", 0, below(rng, 1, 29)),
    "weekday_day_of_month": _weekday_day_of_month,
    "day_month_words": _calendar("day_month_words"),
    "nth_day_of_month": _calendar("nth_day_of_month"),
    "full_date": _full("full_date"),
    "numeric_year": _full("numeric_year"),
    "iso_date": _full("iso_date"),
    "weekday_date": _calendar("weekday_date", lambda rng, then: then.weekday()),
    "weekday_date_conflict": _calendar(
        "weekday_date_conflict", lambda rng, then: (then.weekday() + below(rng, 1, 7)) % 7
    ),
    "nth_weekday": _nth_weekday_this_year,
    "nth_weekday_this_month": _nth_weekday_this_month,
    "nth_weekday_next_month": lambda rng, today: Day(
        "nth_weekday_next_month", below(rng, 0, 7), below(rng, 1, LAST + 1)
    ),
    "weekday_after_date": _weekday_after,
    "last_day_of_month": _month_end("last_day_of_month"),
    "last_business_day": _month_end("last_business_day"),
    "days_before_date": _beside("days_before_date"),
    "days_after_date": _beside("days_after_date"),
    "holiday": _holiday,
    "business_days": _upto("business_days", 1, 6),
    "leap_day": _leap_day,
    "invalid_date": _invalid,
    "in_seconds": _in_seconds,
    "in_minutes": _in_minutes,
    "minutes_seconds": _minutes_seconds,
    "in_hours": _in_hours,
    "days_hours": _days_hours,
    "half_hour": _fixed("half_hour", 30),
    "quarter_hour": _fixed("quarter_hour", 15),
    "hour_and_half": _fixed("hour_and_half", 90),
    "hours_and_half": lambda rng, today: Day("hours_and_half", 60 * below(rng, 2, 6) + 30),
    "hours_minutes": _hours_minutes,
    "couple_hours": _fixed("couple_hours", 120),
    "couple_minutes": _fixed("couple_minutes", 2),
    "right_now": _fixed("right_now", 0),
    NO_DAY: _fixed(NO_DAY, 0),
    PART_OF_TODAY: _fixed(PART_OF_TODAY, 0),
}
