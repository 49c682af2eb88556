"""An independent reading of every meaning, on dateutil.relativedelta, against the task's gold.

Nothing here comes from the task's own arithmetic: only the meanings (Day, Clock, Setting) are shared.
"""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from random import Random

import pytest
from dateutil import rrule
from dateutil.relativedelta import relativedelta, weekday

from rewards.datetimes import NONE
from tasks.base import SPLITS, Split
from tasks.datetime_extraction import clock_kinds, day_kinds, deep, talk
from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.gold import solve
from tasks.datetime_extraction.meaning import LANGS, Lang, Meaning, Setting
from tasks.datetime_extraction.splits import menus
from tasks.datetime_extraction.zones import ZONES

MIDNIGHT = datetime.min.time()


def _strictly_after(start: datetime, n: int) -> datetime:
    return start + relativedelta(days=1, weekday=weekday(n, 1))


def _on_or_after(start: datetime, n: int) -> datetime:
    return start + relativedelta(weekday=weekday(n, 1))


def _monday(start: datetime) -> datetime:
    return start + relativedelta(weekday=weekday(0, -1))


def _of_week(start: datetime, n: int, weeks: int) -> datetime:
    return _monday(start) + relativedelta(weeks=weeks, days=n)


def _yearly(day: Day, today: datetime) -> datetime:
    then = today + relativedelta(month=day.month, day=day.day)
    return then if then >= today else today + relativedelta(years=1, month=day.month, day=day.day)


def _monthly(day: Day, today: datetime) -> datetime:
    then = today + relativedelta(day=day.day)
    return then if then >= today else today + relativedelta(months=1, day=day.day)


def _nth(start: datetime, n: int, nth: int) -> datetime:
    """The nth weekday (5: the last) of the month of start."""
    if nth == 5:
        return start + relativedelta(day=31, weekday=weekday(n, -1))
    return start + relativedelta(day=1, weekday=weekday(n, nth))


def _nth_of_named(day: Day, today: datetime) -> datetime:
    then = _nth(today + relativedelta(day=1, month=day.month), day.n, day.day)
    return then if then > today else _nth(today + relativedelta(day=1, month=day.month, years=1), day.n, day.day)


def _month_end(day: Day, today: datetime) -> datetime:
    then = today + relativedelta(day=31)
    while day.month and then.month != day.month:
        then = then + relativedelta(months=1, day=31)
    return then


def _last_workday(day: Day, today: datetime) -> datetime:
    end = _month_end(day, today)
    return max(then for then in (end - timedelta(days=back) for back in range(3)) if then.weekday() < 5)


def _workdays(day: Day, today: datetime) -> datetime:
    workdays = rrule.rrule(rrule.DAILY, byweekday=range(5), dtstart=today + timedelta(days=1), count=day.n)
    return list(workdays)[-1]


def _leap(day: Day, today: datetime) -> list[datetime]:
    year = day.year or (today.year if today.month < 3 else today.year + 1)
    return [datetime(year, 2, 29)] if calendar.isleap(year) else []


def _following(day: Day, s: Setting, today: datetime) -> list[datetime]:
    readings = {"week": _of_week(today, day.n, 1), "nearest": _strictly_after(today, day.n)}
    return [readings[s.policy.following]] if s.policy.following else list(readings.values())


def _in_weeks(day: Day, today: datetime) -> list[datetime]:
    return [_of_week(today, day.n, day.day), _on_or_after(today + relativedelta(weeks=day.day), day.n)]


def _in_months(day: Day, today: datetime) -> list[datetime]:
    base = today + relativedelta(months=day.month)
    return [_of_week(base, day.n, 0), _on_or_after(base, day.n)]


_UNITS = ("days", "weeks", "months")
_One = Callable[[Day, datetime], datetime]
ONE_DATE: dict[str, _One] = {
    "today": lambda d, t: t,
    day_kinds.PART_OF_TODAY: lambda d, t: t,
    "nth_weekday_this_month": lambda d, t: _nth(t, d.n, d.day),
    day_kinds.NO_DAY: lambda d, t: t,
    "tomorrow": lambda d, t: t + relativedelta(days=1),
    "day_after_tomorrow": lambda d, t: t + relativedelta(days=2),
    "two_days_after_tomorrow": lambda d, t: t + relativedelta(days=3),
    "in_days": lambda d, t: t + relativedelta(days=d.n),
    "in_weeks": lambda d, t: t + relativedelta(weeks=d.n),
    "in_months": lambda d, t: t + relativedelta(months=d.n),
    "in_years": lambda d, t: t + relativedelta(years=d.n),
    "couple": lambda d, t: t + relativedelta(**{_UNITS[d.day]: 2}),  # type: ignore[arg-type]
    "span": lambda d, t: t + relativedelta(years=d.year, months=d.month) + relativedelta(days=d.n),
    "days_from_weekday": lambda d, t: _strictly_after(t, d.n) + relativedelta(days=d.day),
    "week_and_days": lambda d, t: t + relativedelta(weeks=d.day, days=d.n),
    "weekday": lambda d, t: _strictly_after(t, d.n),
    "weekend_day": lambda d, t: _strictly_after(t, d.n),
    "this_weekday": lambda d, t: _of_week(t, d.n, 0),
    "weekday_next_week": lambda d, t: _of_week(t, d.n, 1),
    "skip_weekday": lambda d, t: _strictly_after(_strictly_after(t, d.n), d.n),
    "weeks_from_weekday": lambda d, t: _strictly_after(t, d.n) + relativedelta(weeks=d.day),
    "weekdays_from_now": lambda d, t: t + relativedelta(days=1, weekday=weekday(d.n, d.day)),
    "weeks_from_tomorrow": lambda d, t: t + relativedelta(days=1, weeks=d.n),
    **dict.fromkeys(("day_of_month", "weekday_day_of_month"), _monthly),
    "day_this_month": lambda d, t: t.replace(day=d.day),
    "day_next_month": lambda d, t: t + relativedelta(months=1, day=d.day),
    "nth_weekday": _nth_of_named,
    "nth_weekday_next_month": lambda d, t: _nth(t + relativedelta(months=1), d.n, d.day),
    "weekday_after_date": lambda d, t: _strictly_after(_monthly(d, t), d.n),
    "last_day_of_month": _month_end,
    "last_business_day": _last_workday,
    "business_days": _workdays,
    "days_before_date": lambda d, t: _yearly(d, t) - relativedelta(days=d.n),
    "days_after_date": lambda d, t: _yearly(d, t) + relativedelta(days=d.n),
    **dict.fromkeys(("full_date", "numeric_year", "iso_date"), lambda d, t: datetime(d.year, d.month, d.day)),
    **dict.fromkeys(
        ("day_month", "day_month_words", "numeric_date", "nth_day_of_month", "weekday_date", "weekday_date_conflict"),
        _yearly,
    ),
    "holiday": _yearly,
}


def _dates(day: Day, s: Setting) -> list[datetime]:
    today = datetime.combine(s.today, MIDNIGHT)
    if day.kind == "invalid_date":
        with pytest.raises(ValueError, match="day"):
            datetime(2024, day.month, day.day)
        return []
    if day.kind == "leap_day":
        return _leap(day, today)
    if day.kind == "every_other_day":
        return [today + relativedelta(days=2), today + relativedelta(days=1)]
    if day.kind == "following_weekday":
        return _following(day, s, today)
    if day.kind == "weekday_in_weeks":
        return _in_weeks(day, today)
    if day.kind == "weekday_in_months":
        return _in_months(day, today)
    return [ONE_DATE[day.kind](day, today)]


def _named(clock: Clock, s: Setting) -> int | None:
    """Hours of a clock that is a word."""
    if clock.kind == "day_part":
        return s.policy.parts[clock.part]
    return {"no_time": s.policy.default_hour, "lunch": s.policy.parts[1], "noon": 12}.get(clock.kind)


def _hours(clock: Clock, s: Setting, near_now: bool) -> list[float]:
    """Accepted hours of the day, as numbers from 0 to 36; several where they are ordered by preference."""
    if clock.kind in ("midnight", "twelve_at_night"):
        return [0, 24]
    named = _named(clock, s)
    if named is not None:
        return [named]
    value = clock.hour + clock.minute / 60
    if clock.kind in {"hour_part", "part_hour", "today_part_hour"} or clock.kind.endswith("_part"):
        night = clock.part == 3
        return [value % 12 + (12 if clock.part in (1, 2) or (night and 6 <= clock.hour < 12) else 0)]
    if clock.hour > 12 or clock.hour == 0 or clock.kind in ("hh_mm", "hh_mm_padded", "hh_mm_spaced", "hh_mm_compact"):
        return [value]
    if s.policy.afternoon is None and near_now and s.now is not None:
        face = value % 12 if clock.hour < 12 else value
        ahead = [hours for hours in (face, face + 12) if round(hours * 60) > s.now and hours < 24]
        return ahead[:1] or [face + 12]
    limit = 7 if s.policy.afternoon is None else s.policy.afternoon
    chosen = value + 12 if clock.hour <= limit and clock.hour < 12 else value
    as_it_stands = clock.kind in ("hh_mm_early", "hh_mm_words", "hours_minutes") and s.policy.afternoon is None
    return [chosen, value] if as_it_stands else [chosen]


def _of_the_night(meaning: Meaning, s: Setting, hours: list[float]) -> list[float]:
    """Small hours «ночи» are in the coming night; of a night that is named by a day, before or after it."""
    kind, clock = meaning.day.kind, meaning.clock
    if clock.part != 3 or "part" not in clock.kind or hours[0] >= 6 or kind in ("same_weekday", day_kinds.NO_DAY):
        return hours
    if kind not in ("today", day_kinds.PART_OF_TODAY):
        return [hours[0], hours[0] + 24]
    if s.now is None:
        return [hours[0] + 24, hours[0]]
    return hours if s.now < round(60 * hours[0]) else [hours[0] + 24]


def _moments(meaning: Meaning, s: Setting) -> list[datetime]:
    day, today = meaning.day, datetime.combine(s.today, MIDNIGHT)
    if day.kind in day_kinds.RELATIVE:
        if s.now is None:
            return []
        return [today + timedelta(days=day.day, minutes=s.now + day.n, seconds=day.month)]
    near_now = day.kind in ("today", day_kinds.PART_OF_TODAY, day_kinds.NO_DAY, "same_weekday")
    hours = _of_the_night(meaning, s, _hours(meaning.clock, s, near_now))
    if day.kind in ("today", day_kinds.NO_DAY) and len(hours) > 1 and 24 in hours:
        hours = [24]
    if near_now and s.now is not None:
        hours = hours[:1]
    dates = [today] if day.kind == "same_weekday" else _dates(day, s)
    moments = [then + timedelta(minutes=round(60 * hour)) for then in dates for hour in hours]
    now = None if s.now is None else today + timedelta(minutes=s.now)
    if day.kind == "same_weekday":
        ahead = now is not None and moments[0] > now and meaning.clock.kind != "no_time"
        return [moments[0] if ahead else moments[0] + timedelta(weeks=1)]
    if day.kind == day_kinds.NO_DAY and now is not None:
        return [moments[0] if moments[0] > now else moments[0] + timedelta(days=1)]
    if day.kind in ("today", day_kinds.PART_OF_TODAY) and now is not None:
        return [moment for moment in moments if moment > now]
    return moments


def expected(meaning: Meaning, s: Setting) -> set[str]:
    """Every accepted answer."""
    if meaning.reason:
        return {NONE}
    ours = timezone(timedelta(minutes=s.offset))
    theirs = ours if meaning.zone is None else timezone(timedelta(minutes=ZONES[meaning.zone].offset))
    answers = {moment.replace(tzinfo=theirs).astimezone(ours).isoformat() for moment in _moments(meaning, s)}
    return {answer.replace("+00:00", "Z") for answer in answers} or {NONE}


@pytest.mark.parametrize("n", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_an_independent_computation_agrees(n: int) -> None:
    rng, seen = Random(), Counter[str]()
    shares: dict[Split, int] = {"train": 3 * n // 5, "validation": n // 5, "test": n // 5}
    for split in SPLITS:
        for i in range(shares[split]):
            rng.seed(f"{n}{split}{i}")
            drawn = deep.draw(rng, split)
            meaning = drawn.built.meaning
            assert set(drawn.gold.answers) == expected(meaning, drawn.setting), (meaning, drawn.setting, drawn.text)
            seen[meaning.day.kind] += 1
            seen[meaning.clock.kind] += 1
    assert set(day_kinds.SAMPLERS) | set(clock_kinds.SAMPLERS) <= set(seen), "a phenomenon was never drawn"


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("n", [40_000, pytest.param(300_000, marks=pytest.mark.slow)])
def test_no_phrase_is_another_meaning_s_phrase_too(lang: Lang, n: int) -> None:
    """«Через день 10 часов» would be, if days and hours were said without «и»: ten o'clock, or 34 hours from now."""
    rng, setting = Random(1), Setting(date(2025, 1, 15), 10 * 60 + 7)
    of_splits = [menus(lang)[name] for name in ("train", "train", "test", "validation", "held_out")]
    read: dict[str, tuple[frozenset[str], str]] = {}
    for i in range(n):
        phrase = talk._phrase(talk.Draw(rng, lang, setting, of_splits[i % len(of_splits)], "train"))
        gold = phrase and solve(Meaning(lang, "plain", phrase.day, phrase.clock), setting)
        if phrase is None or gold is None:
            continue
        text = " ".join(phrase.said(rng).lower().replace(",", " ").split())
        answers, group = read.setdefault(text, (frozenset(gold.answers), phrase.group))
        assert answers & set(gold.answers), (text, group, phrase.group)
