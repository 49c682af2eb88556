"""How Russian says a day and a clock time: for each kind of meaning, its surface forms."""

from __future__ import annotations

from collections.abc import Callable

from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.ru_words import days, months, plural, weeks

MONTHS = (
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "октября",
    "ноября",
    "декабря",
)
# Accusative, after «в»; the preposition takes its long form before «вт».
ON_WEEKDAY = ("в понедельник", "во вторник", "в среду", "в четверг", "в пятницу", "в субботу", "в воскресенье")
ON_NEAREST_WEEKDAY = (
    "в ближайший понедельник",
    "в ближайший вторник",
    "в ближайшую среду",
    "в ближайший четверг",
    "в ближайшую пятницу",
    "в ближайшую субботу",
    "в ближайшее воскресенье",
)
HOUR_WORDS = (
    "час",
    "два",
    "три",
    "четыре",
    "пять",
    "шесть",
    "семь",
    "восемь",
    "девять",
    "десять",
    "одиннадцать",
    "двенадцать",
)
# Genitive of the ordinal: the half hour belongs to the hour to come, «половина восьмого» is 7:30.
HALF_OF = (
    "второго",
    "третьего",
    "четвёртого",
    "пятого",
    "шестого",
    "седьмого",
    "восьмого",
    "девятого",
    "десятого",
    "одиннадцатого",
    "двенадцатого",
    "первого",
)
PART_OF_HOUR = ("утра", "дня", "вечера")
DAY_PARTS = ("утром", "днём", "вечером", "ночью")


DAYS: dict[str, tuple[Callable[[Day], str], ...]] = {
    "today": (lambda d: "сегодня", lambda d: "сегодня же"),
    "tomorrow": (lambda d: "завтра", lambda d: "на завтра"),
    "day_after_tomorrow": (lambda d: "послезавтра", lambda d: "на послезавтра"),
    "in_days": (lambda d: f"через {days(d.n)}", lambda d: f"{days(d.n)} спустя"),
    "in_weeks": (lambda d: f"через {weeks(d.n)}", lambda d: f"ровно через {weeks(d.n)}"),
    "in_months": (lambda d: f"через {months(d.n)}", lambda d: f"ровно через {months(d.n)}"),
    "weekday": (lambda d: ON_WEEKDAY[d.n], lambda d: ON_NEAREST_WEEKDAY[d.n]),
    "weekday_next_week": (
        lambda d: f"{ON_WEEKDAY[d.n]} на следующей неделе",
        lambda d: f"на следующей неделе {ON_WEEKDAY[d.n]}",
        lambda d: f"на той неделе {ON_WEEKDAY[d.n]}",
    ),
    "day_of_month": (lambda d: f"{d.day}-го", lambda d: f"{d.day} числа", lambda d: f"{d.day}-го числа"),
    "day_month": (lambda d: f"{d.day} {MONTHS[d.month - 1]}", lambda d: f"{d.day}-го {MONTHS[d.month - 1]}"),
    "numeric_date": (lambda d: f"{d.day:02}.{d.month:02}", lambda d: f"на {d.day:02}.{d.month:02}"),
    "full_date": (
        lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year} года",
        lambda d: f"{d.day:02}.{d.month:02}.{d.year}",
    ),
}


def half(genitive: str) -> str:
    """The short form: полвосьмого, but пол-одиннадцатого (before a vowel or «л» the half takes a hyphen)."""
    return f"пол-{genitive}" if genitive[0] in "аеёиоуыэюял" else f"пол{genitive}"


def _half_past(c: Clock) -> str:
    return HALF_OF[c.hour - 1]


CLOCKS: dict[str, tuple[Callable[[Clock], str], ...]] = {
    "hh_mm": (
        lambda c: f"в {c.hour}:{c.minute:02}",
        lambda c: f"в {c.hour}.{c.minute:02}",
        lambda c: f"в {c.hour}-{c.minute:02}",
    ),
    "bare_hour": (
        lambda c: f"в {c.hour}",
        lambda c: f"в {HOUR_WORDS[c.hour - 1]}",
        lambda c: f"в {c.hour} {plural(c.hour, 'час', 'часа', 'часов')}",
    ),
    "hour_part": (
        lambda c: f"в {c.hour} {PART_OF_HOUR[c.part]}",
        lambda c: f"в {HOUR_WORDS[c.hour - 1]} {PART_OF_HOUR[c.part]}",
    ),
    "half_past": (lambda c: f"в половине {_half_past(c)}", lambda c: f"в {half(_half_past(c))}"),
    "noon": (lambda c: "в полдень", lambda c: "ровно в полдень"),
    "day_part": (lambda c: DAY_PARTS[c.part],),
    "no_time": (lambda c: "",),
}

NO_DATE = (
    "не знаю",
    "мне всё равно",
    "перезвоните мне",
    "пока не решил",
    "а сколько это стоит",
    "подумаю",
    "никогда",
    "не могу сказать",
    "я ещё не знаю",
    "без разницы",
    "потом решу",
    "спасибо, не надо",
    "кто это",
    "не понял вопроса",
    "отмените запись",
    "скажу позже",
)
FRAMES = ("{}", "{}", "давайте {}", "{}, пожалуйста", "можно {}", "запишите меня {}")
