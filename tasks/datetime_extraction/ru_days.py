"""How Russian says a day relative to today or to a weekday: surface forms for each kind of meaning."""

from __future__ import annotations

from tasks.datetime_extraction import ru_words as w
from tasks.datetime_extraction import russian
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.forms import DayForms


def _on(n: int) -> str:
    return russian.ON_WEEKDAY[n]


def _unit(d: Day) -> str:
    return ("дней", "недель", "месяцев")[d.day]


def _days(n: int) -> str:
    return "день" if n == 1 else w.days(n)


def _units(d: Day) -> list[str]:
    return [write(n) for n, write in ((d.year, w.years), (d.month, w.months), (d.n, _days)) if n]


RELATIVE_DAYS: DayForms = {
    "today": (lambda d: "на сегодня", lambda d: "прямо сегодня"),
    "tomorrow": (lambda d: "завтра же", lambda d: "уже завтра", lambda d: "на следующий день"),
    "day_after_tomorrow": (lambda d: "послезавтра же", lambda d: "уже послезавтра"),
    "two_days_after_tomorrow": (
        lambda d: "послепослезавтра",
        lambda d: "на послепослезавтра",
        lambda d: "после послезавтра",
    ),
    "in_days": (
        lambda d: f"через {w.days_words(d.n)}",
        lambda d: f"спустя {w.days(d.n)}",
        lambda d: f"дней через {d.n}",
        lambda d: f"через {d.n} {w.plural(d.n, 'сутки', 'суток', 'суток')}",
        lambda d: f"ровно через {w.days(d.n)}",
    ),
    "in_weeks": (
        lambda d: f"через {w.weeks_words(d.n)}",
        lambda d: f"{w.weeks(d.n)} спустя",
        lambda d: f"спустя {w.weeks(d.n)}",
    ),
    "in_months": (
        lambda d: f"через {w.months_words(d.n)}",
        lambda d: f"{w.months_words(d.n)} спустя",
        lambda d: f"{w.months(d.n)} спустя",
        lambda d: f"спустя {w.months(d.n)}",
    ),
    "in_years": (
        lambda d: f"через {w.years(d.n)}",
        lambda d: f"ровно через {w.years(d.n)}",
        lambda d: f"{w.years(d.n)} спустя",
    ),
    "span": (  # with «и»: «через 3 года 4 дня» may be four in the afternoon
        lambda d: f"через {' и '.join(_units(d))}",
        lambda d: f"примерно через {' и '.join(_units(d))}",
        lambda d: f"спустя {' и '.join(_units(d))}",
        lambda d: f"{' и '.join(_units(d))} спустя",
        lambda d: f"ровно через {' и '.join(_units(d))}",
        lambda d: f"где-то через {' и '.join(_units(d))}",
    ),
    "couple": (
        lambda d: f"через пару {_unit(d)}",
        lambda d: f"через парочку {_unit(d)}",
        lambda d: f"пару {_unit(d)} спустя",
    ),
    "every_other_day": (lambda d: "через день", lambda d: "через денёк"),
    "week_and_days": (
        lambda d: f"через {w.weeks(d.day)} и {w.days(d.n)}",
        lambda d: f"через {w.weeks_words(d.day)} и {w.days_words(d.n)}",
    ),
    "weekday": (
        lambda d: f"на {w.WEEKDAY_ACC[d.n]}",
        lambda d: f"{w.IN[d.n]} {w.WEEKDAY_SHORT[d.n]}",
        lambda d: f"на {w.agreed(w.NEAREST, d.n)} {w.WEEKDAY_ACC[d.n]}",
    ),
    "same_weekday": (lambda d: _on(d.n), lambda d: f"на {w.WEEKDAY_ACC[d.n]}"),
    "this_weekday": (
        lambda d: w.on_weekday_with(w.THIS, d.n),
        lambda d: f"{_on(d.n)} на этой неделе",
        lambda d: f"на этой неделе {_on(d.n)}",
        lambda d: f"{_on(d.n)} этой недели",
    ),
    "following_weekday": (
        lambda d: w.on_weekday_with(w.NEXT, d.n),
        lambda d: f"на {w.agreed(w.NEXT, d.n)} {w.WEEKDAY_ACC[d.n]}",
        lambda d: f"в след {w.WEEKDAY_ACC[d.n]}",
    ),
    "weekday_next_week": (
        lambda d: f"{_on(d.n)} следующей недели",
        lambda d: f"{_on(d.n)} на будущей неделе",
        lambda d: f"на следующей неделе, {_on(d.n)}",
    ),
    "weekend_day": (
        lambda d: f"на выходных {_on(d.n)}",
        lambda d: f"на выходных, {_on(d.n)}",
        lambda d: f"{_on(d.n)} на выходных",
        lambda d: f"в эти выходные {_on(d.n)}",
    ),
    "weekday_in_weeks": (
        lambda d: f"через {w.weeks(d.day)} {_on(d.n)}",
        lambda d: f"{_on(d.n)} через {w.weeks(d.day)}",
        lambda d: f"через {w.weeks(d.day)}, {_on(d.n)}",
    ),
    "weekday_in_months": (
        lambda d: f"через {w.months(d.month)} {_on(d.n)}",
        lambda d: f"{_on(d.n)} через {w.months(d.month)}",
    ),
    "skip_weekday": (
        lambda d: f"через {w.WEEKDAY_ACC[d.n]}",
        lambda d: f"не {w.on_weekday_with(w.THIS, d.n)}, а через {w.WEEKDAY_ACC[d.n]}",
        lambda d: f"только через {w.WEEKDAY_ACC[d.n]}",
    ),
    "weeks_from_weekday": (
        lambda d: f"через {w.weeks(d.day)} после {w.WEEKDAY_GEN[d.n]}",
        lambda d: f"через {w.weeks(d.day)} после ближайш{'ей' if w.GENDER[d.n] == 'f' else 'его'} {w.WEEKDAY_GEN[d.n]}",
    ),
    "days_from_weekday": (  # one day has words of its own: «через день» may be the second
        lambda d: f"{'на следующий день' if d.day == 1 else f'через {w.days(d.day)}'} после {w.WEEKDAY_GEN[d.n]}",
        lambda d: f"{'назавтра' if d.day == 1 else f'через {w.days_words(d.day)}'} после {w.WEEKDAY_GEN[d.n]}",
        lambda d: (
            f"на другой день после {w.WEEKDAY_GEN[d.n]}"
            if d.day == 1
            else f"через {w.days(d.day)} после ближайш{'ей' if w.GENDER[d.n] == 'f' else 'его'} {w.WEEKDAY_GEN[d.n]}"
        ),
        lambda d: f"{'сразу на другой день' if d.day == 1 else f'спустя {w.days(d.day)}'} после {w.WEEKDAY_GEN[d.n]}",
        lambda d: f"{w.WEEKDAY[d.n]} плюс {_days(d.day)}",
        lambda d: f"после {w.WEEKDAY_GEN[d.n]} {'на следующий день' if d.day == 1 else f'через {w.days(d.day)}'}",
    ),
    "business_days": (
        lambda d: f"через {d.n} {w.plural(d.n, 'рабочий день', 'рабочих дня', 'рабочих дней')}",
        lambda d: f"через {w.NUMBER['m'][d.n]} {w.plural(d.n, 'рабочий день', 'рабочих дня', 'рабочих дней')}",
    ),
    "no_day": (lambda d: "",),
    "part_of_today": (lambda d: "",),
}

NOMINAL_DAYS: DayForms = {
    "weekday": (
        lambda d: w.WEEKDAY[d.n],
        lambda d: f"{w.WEEKDAY_SHORT[d.n]}.",
        lambda d: w.weekday_with(w.NEAREST, d.n),
    ),
    "this_weekday": (lambda d: w.weekday_with(w.THIS, d.n),),
    "following_weekday": (lambda d: w.weekday_with(w.NEXT, d.n),),
    "weekday_next_week": (
        lambda d: f"{w.WEEKDAY[d.n]} на следующей неделе",
        lambda d: f"{w.WEEKDAY[d.n]} следующей недели",
    ),
}
