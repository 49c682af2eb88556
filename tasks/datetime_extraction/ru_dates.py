"""How Russian says a date of the calendar: surface forms for each kind of meaning."""

from __future__ import annotations

from datetime import date

from tasks.datetime_extraction import ru_words as w
from tasks.datetime_extraction import russian
from tasks.datetime_extraction.day_kinds import RU_HOLIDAYS
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.forms import DayForms

_GEN = russian.MONTHS
# By the index of a holiday in day_kinds.HOLIDAYS: after «на», «в», and in the genitive, after «до».
HOLIDAYS: dict[int, tuple[str, ...]] = {
    0: ("на Новый год", "в Новый год", "первого января"),
    1: ("на Рождество", "в Рождество", "на Рождество Христово"),
    2: ("на старый Новый год", "в старый Новый год", "14 января, на старый Новый год"),
    3: ("на День святого Валентина", "в День всех влюблённых", "на День влюблённых"),
    4: ("на 23 февраля", "на День защитника Отечества", "в День защитника Отечества"),
    5: ("на 8 марта", "на Восьмое марта", "в Международный женский день"),
    7: ("на День космонавтики", "в День космонавтики", "12 апреля, в День космонавтики"),
    8: ("на Первомай", "на Первое мая", "в День труда"),
    9: ("на День Победы", "в День Победы", "на Девятое мая"),
    10: ("на День России", "в День России", "12 июня, в День России"),
    12: ("на День знаний", "в День знаний", "первого сентября, в День знаний"),
    14: ("на День народного единства", "в День народного единства", "4 ноября, в День единства"),
    17: ("под Новый год, тридцать первого", "в канун Нового года", "накануне Нового года"),
}
assert set(HOLIDAYS) == set(RU_HOLIDAYS)


def _month(d: Day) -> str:
    return _GEN[d.month - 1]


def _short(d: Day) -> str:
    """«дек.», but «мая», which isn't shortened."""
    return f"{w.MONTHS_SHORT[d.month - 1]}{'' if d.month == 5 else '.'}"


def _day_month(d: Day) -> str:
    return f"{d.day} {_month(d)}"


def _nth(d: Day) -> w.Adjective:
    return w.LAST if d.day > 4 else w.NTH[d.day - 1]


def _end_of(d: Day) -> str:
    return _month(d) if d.month else "месяца"


def _end_in(d: Day) -> str:
    return f"последний день {f'в {w.MONTHS_IN[d.month - 1]}' if d.month else 'этого месяца'}"


def _on(n: int) -> str:
    return russian.ON_WEEKDAY[n]


def _weekday_of(d: Day) -> int:
    return date(d.year, d.month, d.day).weekday()


def _span(n: int) -> str:
    return "неделю" if n == 7 else "две недели" if n == 14 else w.days(n)


def _span_words(n: int) -> str:
    return "неделю" if n == 7 else "две недели" if n == 14 else "день" if n == 1 else w.days_words(n)


CALENDAR_DAYS: DayForms = {
    "day_of_month": (
        lambda d: w.ORDINAL_GEN[d.day],
        lambda d: f"{w.ORDINAL_GEN[d.day]} числа",
        lambda d: f"на {d.day}-е",
        lambda d: f"на {w.ORDINAL_NOM[d.day]}",
        lambda d: f"{d.day}го",
        lambda d: f"на {w.ORDINAL_NOM[d.day]} число",
        lambda d: f"{d.day}-ого числа",
    ),
    "day_this_month": (
        lambda d: f"{d.day} числа этого месяца",
        lambda d: f"{w.ORDINAL_GEN[d.day]} числа этого месяца",
        lambda d: f"{d.day}-го этого месяца",
        lambda d: f"{d.day}го текущего месяца",
        lambda d: f"{d.day} числа текущего месяца",
    ),
    "day_next_month": (
        lambda d: f"{d.day} числа следующего месяца",
        lambda d: f"{w.ORDINAL_GEN[d.day]} числа следующего месяца",
        lambda d: f"{d.day}-го числа следующего месяца",
        lambda d: f"{d.day} следующего месяца",
        lambda d: f"в следующем месяце {d.day}-го",
        lambda d: f"{d.day}го числа следующего месяца",
        lambda d: f"в следующем месяце {d.day} числа",
    ),
    "day_month": (
        lambda d: f"на {_day_month(d)}",
        lambda d: f"{d.day}го {_month(d)}",
        lambda d: f"на {d.day}-е {_month(d)}",
        lambda d: f"{d.day} числа {_month(d)}",
        lambda d: f"{d.day} {w.MONTHS_SHORT[d.month - 1]}",
        lambda d: f"{d.day}-{'его' if d.day == 3 else 'ого'} {_month(d)}",
        lambda d: f"{d.day}-{_month(d)}",
        lambda d: f"{d.day}ое {_month(d)}",
    ),
    "day_month_words": (
        lambda d: f"{w.ORDINAL_GEN[d.day]} {_month(d)}",
        lambda d: f"на {w.ORDINAL_NOM[d.day]} {_month(d)}",
        lambda d: f"{w.ORDINAL_GEN[d.day]} числа {_month(d)}",
        lambda d: f"{w.ORDINAL_GEN[d.day]} {w.MONTHS_SHORT[d.month - 1]}",
    ),
    "weekday_day_of_month": (
        lambda d: f"{_on(d.n)} {d.day}-го",
        lambda d: f"{_on(d.n)}, {d.day}-го",
        lambda d: f"{_on(d.n)} {d.day} числа",
        lambda d: f"{d.day}-го, {_on(d.n)}",
        lambda d: f"{d.day} числа, {_on(d.n)}",
        lambda d: f"{_on(d.n)} {w.ORDINAL_GEN[d.day]}",
        lambda d: f"{w.IN[d.n]} {w.WEEKDAY_SHORT[d.n]} {d.day}го",
    ),
    "nth_day_of_month": (lambda d: f"{'во' if d.day == 2 else 'в'} {w.ORDINAL_MASC[d.day]} день {_month(d)}",),
    "numeric_date": (
        lambda d: f"{d.day}.{d.month}",
        lambda d: f"{d.day:02}/{d.month:02}",
        lambda d: f"{d.day:02}.{d.month:02}.",
        lambda d: f"{d.day}/{d.month}",
    ),
    "full_date": (
        lambda d: f"{_day_month(d)} {d.year}",
        lambda d: f"{_day_month(d)} {d.year} г.",
        lambda d: f"{d.day}-го {_month(d)} {d.year} года",
        lambda d: f"{w.ORDINAL_GEN[d.day]} {_month(d)} {d.year} года",
        lambda d: f"{d.day} {_short(d)} {d.year} г.",
        lambda d: f"{d.day} {_month(d)} {d.year}г",
        lambda d: f"{d.day}/{_month(d)}/{d.year}",
        lambda d: f"{_on(_weekday_of(d))}, {_day_month(d)} {d.year} года",
        lambda d: f"{_day_month(d)} {d.year} г., {_on(_weekday_of(d))}",
    ),
    "numeric_year": (
        lambda d: f"{d.day:02}.{d.month:02}.{d.year}",
        lambda d: f"{d.day}.{d.month}.{d.year}",
        lambda d: f"{d.day} {d.month:02} {d.year}",
        lambda d: f"{d.day}/{d.month}/{d.year}",
        lambda d: f"{d.day:02}.{d.month:02}.{d.year % 100:02}",
        lambda d: f"{d.day:02}/{d.month:02}/{d.year % 100:02}",
        lambda d: f"на {d.day}.{d.month:02}.{d.year % 100:02}",
    ),
    "iso_date": (lambda d: f"{d.year}-{d.month:02}-{d.day:02}", lambda d: f"на {d.year}-{d.month:02}-{d.day:02}"),
    "nth_weekday": (
        lambda d: f"{w.on_weekday_with(_nth(d), d.n)} {_month(d)}",
        lambda d: f"{w.on_weekday_with(_nth(d), d.n)} в {w.MONTHS_IN[d.month - 1]}",
        lambda d: f"в {w.MONTHS_IN[d.month - 1]}, {w.on_weekday_with(_nth(d), d.n)}",
    ),
    "nth_weekday_next_month": (
        lambda d: f"{w.on_weekday_with(_nth(d), d.n)} следующего месяца",
        lambda d: f"{w.on_weekday_with(_nth(d), d.n)} в следующем месяце",
        lambda d: f"в следующем месяце {w.on_weekday_with(_nth(d), d.n)}",
    ),
    "nth_weekday_this_month": (
        lambda d: f"{w.on_weekday_with(_nth(d), d.n)} месяца",
        lambda d: f"{w.on_weekday_with(_nth(d), d.n)} этого месяца",
        lambda d: f"в этом месяце {w.on_weekday_with(_nth(d), d.n)}",
    ),
    "weekday_after_date": (
        lambda d: f"{w.on_weekday_with(w.NTH[0], d.n)} после {d.day} числа",
        lambda d: f"{w.on_weekday_with(w.NTH[0], d.n)} после {w.ORDINAL_GEN[d.day]}",
    ),
    "last_day_of_month": (lambda d: f"в последний день {_end_of(d)}", lambda d: f"в последнее число {_end_of(d)}"),
    "last_business_day": (
        lambda d: f"в последний рабочий день {_end_of(d)}",
        lambda d: f"в последний будний день {_end_of(d)}",
    ),
    "days_before_date": (
        lambda d: f"за {_span(d.n)} до {_day_month(d)}",
        lambda d: f"за {_span_words(d.n)} до {w.ORDINAL_GEN[d.day]} {_month(d)}",
    ),
    "days_after_date": (
        lambda d: f"через {_span(d.n)} после {_day_month(d)}",
        lambda d: f"через {_span_words(d.n)} после {w.ORDINAL_GEN[d.day]} {_month(d)}",
        lambda d: f"{_day_month(d)} плюс {_span(d.n)}",
    ),
    "weekday_date": (
        lambda d: f"{_on(d.n)}, {_day_month(d)}",
        lambda d: f"{_on(d.n)} {_day_month(d)}",
        lambda d: f"{d.day}-го {_month(d)}, {_on(d.n)}",
        lambda d: f"{_on(d.n)}, {d.day:02}.{d.month:02}",
    ),
    "holiday": (lambda d: HOLIDAYS[d.n][0], lambda d: HOLIDAYS[d.n][1], lambda d: HOLIDAYS[d.n][-1]),
    "leap_day": (
        lambda d: f"29 февраля{f' {d.year} года' if d.year else ''}",
        lambda d: f"двадцать девятого февраля{f' {d.year}-го' if d.year else ''}",
        lambda d: f"29.02{f'.{d.year}' if d.year else ''}",
    ),
    "invalid_date": (
        lambda d: _day_month(d),
        lambda d: f"на {_day_month(d)}",
        lambda d: f"{d.day:02}.{d.month:02}",
        lambda d: f"{d.day}-го {_month(d)}",
    ),
}
CALENDAR_DAYS["weekday_date_conflict"] = CALENDAR_DAYS["weekday_date"]

NOMINAL_DATES: DayForms = {
    "day_of_month": (lambda d: f"{d.day}-е число", lambda d: f"{w.ORDINAL_NOM[d.day]} число", lambda d: f"{d.day}-е"),
    "day_month": (lambda d: f"{d.day} {w.MONTHS_NOM[d.month - 1]}", lambda d: f"{d.day}-е {_month(d)}"),
    "day_month_words": (
        lambda d: f"{w.ORDINAL_NOM[d.day]} {_month(d)}",
        lambda d: f"{w.ORDINAL_NOM[d.day]} {w.MONTHS_SHORT[d.month - 1]}",
    ),
    "full_date": (
        lambda d: f"{w.ORDINAL_NOM[d.day]} {_month(d)} {d.year} года",
        lambda d: f"{w.ORDINAL_NOM[d.day]} {_month(d)} {d.year}",
        lambda d: f"{d.day}-е {_month(d)} {d.year}",
        lambda d: f"{w.WEEKDAY[_weekday_of(d)]}, {_day_month(d)} {d.year} года",
        lambda d: f"{w.WEEKDAY_SHORT[_weekday_of(d)]}, {d.day:02} {_short(d)} {d.year} г.",
        lambda d: f"{_day_month(d)} {d.year}г., {w.WEEKDAY[_weekday_of(d)]}",
    ),
    "weekday_day_of_month": (
        lambda d: f"{w.WEEKDAY[d.n]} {d.day}-е",
        lambda d: f"{w.WEEKDAY[d.n]}, {d.day}-е число",
    ),
    "nth_weekday": (lambda d: f"{w.weekday_with(_nth(d), d.n)} {_month(d)}",),
    "nth_weekday_this_month": (lambda d: f"{w.weekday_with(_nth(d), d.n)} месяца",),
    "nth_weekday_next_month": (lambda d: f"{w.weekday_with(_nth(d), d.n)} следующего месяца",),
    "weekday_after_date": (lambda d: f"{w.weekday_with(w.NTH[0], d.n)} после {d.day} числа",),
    "last_day_of_month": (lambda d: f"последний день {_end_of(d)}", lambda d: f"последнее число {_end_of(d)}", _end_in),
    "last_business_day": (lambda d: f"последний рабочий день {_end_of(d)}",),
    "weekday_date": (
        lambda d: f"{w.WEEKDAY[d.n]}, {_day_month(d)}",
        lambda d: f"{w.WEEKDAY_SHORT[d.n]}, {d.day} {_short(d)}",
        lambda d: f"{w.WEEKDAY[d.n]} {d.day:02}.{d.month:02}",
        lambda d: f"{_day_month(d)}, {w.WEEKDAY[d.n]}",
    ),
}
