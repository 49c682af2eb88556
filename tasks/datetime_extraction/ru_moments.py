"""How Russian says a moment relative to the current time."""

from __future__ import annotations

from tasks.datetime_extraction import ru_words as w
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.forms import DayForms

_HALVES = ("", "", "два", "три", "четыре", "пять")


def _hours(d: Day) -> str:
    hours, minutes = divmod(d.n, 60)
    return w.hours(hours) + (f" {w.minutes(minutes)}" if minutes else "")


def _days_hours(d: Day) -> str:
    return f"{'день' if d.day == 1 else w.days(d.day)} и {_hours(d)}"


MOMENTS: DayForms = {
    "in_seconds": (
        lambda d: f"через {w.seconds(d.month)}",
        lambda d: f"через {w.seconds_words(d.month)}",
        lambda d: f"через {d.month} {w.plural(d.month, 'секундочку', 'секундочки', 'секундочек')}",
        lambda d: f"через {d.month} сек",
        lambda d: f"{w.seconds(d.month)} спустя",
        lambda d: f"секунд через {d.month}" if d.month > 4 else f"через {w.seconds(d.month)}",
        lambda d: "через полторы минуты" if d.month == 90 else f"спустя {w.seconds(d.month)}",
    ),
    "minutes_seconds": (
        lambda d: f"через {w.minutes(d.n)} {w.seconds(d.month)}",
        lambda d: f"через {w.minutes(d.n)} и {w.seconds(d.month)}",
        lambda d: f"через {d.n} мин {d.month} сек",
        lambda d: f"спустя {w.minutes(d.n)} {w.seconds(d.month)}",
        lambda d: f"{w.minutes(d.n)} {w.seconds(d.month)} спустя",
        lambda d: f"через {w.minutes_words(d.n)} {w.seconds_words(d.month)}",
    ),
    "days_hours": (  # with «и»: «через день 10 часов» is ten o'clock, the day after tomorrow
        lambda d: f"через {_days_hours(d)}",
        lambda d: f"спустя {_days_hours(d)}",
        lambda d: f"ровно через {_days_hours(d)}",
        lambda d: f"{_days_hours(d)} спустя",
        lambda d: f"+ {_days_hours(d)}",
        lambda d: f"через {d.day} {w.plural(d.day, 'сутки', 'суток', 'суток')} и {_hours(d)}",
        lambda d: f"примерно через {_days_hours(d)}",
    ),
    "in_minutes": (
        lambda d: f"через {w.minutes(d.n)}",
        lambda d: f"через {w.minutes_words(d.n)}",
        lambda d: f"через {d.n} {w.plural(d.n, 'минутку', 'минутки', 'минуток')}",
        lambda d: f"+{d.n} мин",
        lambda d: (
            f"минут через {d.n}"
            if d.n > 4
            else f"минуты через {w.NUMBER['f'][d.n]}"
            if d.n > 2
            else f"через {w.minutes(d.n)}"
        ),
        lambda d: f"{w.minutes(d.n)} спустя",
        lambda d: f"через {d.n} мин" if d.n > 1 else "через минутку",
    ),
    "in_hours": (
        lambda d: f"через {w.hours(d.n // 60)}",
        lambda d: f"через {w.hours_words(d.n // 60)}",
        lambda d: f"через {d.n // 60} {w.plural(d.n // 60, 'часик', 'часика', 'часиков')}",
        lambda d: f"через {d.n // 60} ч" if d.n > 60 else "через 1 час",
        lambda d: (
            f"часа через {w.NUMBER['m'][d.n // 60]}"
            if 120 <= d.n <= 240
            else f"часов через {d.n // 60}"
            if d.n > 240
            else "через часочек"
        ),
        lambda d: "через часик" if d.n == 60 else f"спустя {w.hours(d.n // 60)}",
        lambda d: "через часок" if d.n == 60 else f"{w.hours(d.n // 60)} спустя",
    ),
    "couple_minutes": (
        lambda d: "через пару минут",
        lambda d: "через пару минуток",
        lambda d: "пару минут спустя",
        lambda d: "минуты через две",
    ),
    "half_hour": (
        lambda d: "через полчаса",
        lambda d: "через пол часа",
        lambda d: "через полчасика",
        lambda d: "через половину часа",
        lambda d: "через пол-часа",
        lambda d: "через пол часика",
        lambda d: "спустя полчаса",
        lambda d: "где-то через пол-часа",
        lambda d: "полчаса спустя",
    ),
    "quarter_hour": (
        lambda d: "через четверть часа",
        lambda d: "через пятнадцать минут",
        lambda d: "минут через пятнадцать",
        lambda d: "спустя четверть часа",
    ),
    "hour_and_half": (
        lambda d: "через полтора часа",
        lambda d: "через час тридцать",
        lambda d: "полтора часа спустя",
        lambda d: "часа через полтора",
        lambda d: "спустя полтора часа",
    ),
    "hours_and_half": (
        lambda d: f"через {_HALVES[d.n // 60]} с половиной часа",
        lambda d: f"через {d.n // 60},5 часа",
        lambda d: f"через {d.n // 60} с половиной часа",
        lambda d: f"спустя {_HALVES[d.n // 60]} с половиной часа",
    ),
    "hours_minutes": (
        lambda d: f"через {w.hours(d.n // 60)} {w.minutes(d.n % 60)}",
        lambda d: f"через {w.hours(d.n // 60)} и {w.minutes(d.n % 60)}",
        lambda d: f"через {w.hours(d.n // 60)} {d.n % 60}",
        lambda d: f"через {w.hours_words(d.n // 60)} {w.minutes_words(d.n % 60)}",
    ),
    "couple_hours": (
        lambda d: "через пару часов",
        lambda d: "через пару часиков",
        lambda d: "часа через два",
        lambda d: "спустя пару часов",
        lambda d: "пару часов спустя",
    ),
    "right_now": (
        lambda d: "прямо сейчас",
        lambda d: "сейчас",
        lambda d: "сию минуту",
        lambda d: "вот прямо сейчас",
        lambda d: "прямо вот сейчас",
    ),
}
