"""How Russian says a clock time: surface forms for each kind of meaning."""

from __future__ import annotations

from tasks.datetime_extraction import ru_words as w
from tasks.datetime_extraction import russian
from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.forms import ClockForms
from tasks.datetime_extraction.russian import HALF_OF, HOUR_WORDS, half

PART_OF_HOUR = ("утра", "дня", "вечера", "ночи")
DAY_PARTS = ("утром", "днём", "вечером", "ночью")


def _word(c: Clock) -> str:
    return HOUR_WORDS[c.hour - 1]


def _part(c: Clock) -> str:
    return PART_OF_HOUR[c.part]


def _hours(n: int) -> str:
    return f"{n} {w.plural(n, 'час', 'часа', 'часов')}"


def _hours_words(n: int) -> str:
    return "час" if n == 1 else f"{w.CLOCK_NUMBER[n]} {w.plural(n, 'час', 'часа', 'часов')}"


def _after_noon(c: Clock) -> bool:
    return c.part == 1 and c.hour < 6


def _about(c: Clock) -> str:
    return f"часов в {c.hour}" if c.hour > 4 else f"часа в {c.hour}" if c.hour > 1 else "около часа"


def _in_few(c: Clock) -> str:
    """«в » before an hour that would else be a number of days: «завтра 3 дня»."""
    return "в " if c.part == 1 and 2 <= c.hour <= 4 else ""


def _next_hour(c: Clock) -> int:
    return c.hour % 12 + 1


def _minutes_words(n: int) -> str:
    return w.CLOCK_NUMBER[n] if n >= 10 else f"ноль {w.CLOCK_NUMBER[n]}" if n else "ноль ноль"


def _face(c: Clock) -> str:
    """«семь тридцать», «час ноль пять»."""
    hour = "час" if c.hour == 1 else w.CLOCK_NUMBER[c.hour]
    return f"{hour} {_minutes_words(c.minute)}"


def _past(c: Clock) -> str:
    """«двадцать минут пятого», «четверть девятого»: the hour to come, in the genitive."""
    if c.minute == 15:
        return f"четверть {HALF_OF[c.hour - 1]}"
    return f"{w.NUMBER['f'][c.minute]} минут {HALF_OF[c.hour - 1]}"


def _to(c: Clock) -> str:
    """«без десяти пять», «без четверти семь»."""
    minutes = "четверти" if c.minute == 45 else w.MINUTES_GEN[60 - c.minute]
    return f"без {minutes} {HOUR_WORDS[_next_hour(c) - 1]}"


def _joined_half(c: Clock) -> str:
    return half(HALF_OF[c.hour - 1])


def _start(c: Clock) -> str:
    return w.HOUR_GEN[c.hour - 1] if c.hour <= 12 else str(c.hour)


def _end(c: Clock) -> str:
    return w.HOUR_GEN[c.part - 1] if c.part <= 12 else str(c.part)


CLOCKS: ClockForms = {
    "no_time": (lambda c: "",),
    "hh_mm": (
        *russian.CLOCKS["hh_mm"],
        lambda c: f"на {c.hour}:{c.minute:02}",
        lambda c: f"к {c.hour}:{c.minute:02}",
        lambda c: f"{c.hour}:{c.minute:02}",
        lambda c: f"ровно в {c.hour}:{c.minute:02}",
        lambda c: f"где-то в {c.hour}:{c.minute:02}",
    ),
    "hh_mm_padded": (
        lambda c: f"в {c.hour:02}:{c.minute:02}",
        lambda c: f"{c.hour:02}:{c.minute:02}",
        lambda c: f"к {c.hour:02}:{c.minute:02}",
    ),
    "hh_mm_early": (
        lambda c: f"в {c.hour}:{c.minute:02}",
        lambda c: f"на {c.hour}:{c.minute:02}",
        lambda c: f"в {c.hour}.{c.minute:02}",
    ),
    "hh_mm_spaced": (
        lambda c: f"в {c.hour} {c.minute:02}",
        lambda c: f"на {c.hour} {c.minute:02}",
        lambda c: f"{c.hour} {c.minute:02}",
    ),
    "hh_mm_compact": (
        lambda c: f"в {c.hour}ч{c.minute:02}",
        lambda c: f"в {c.hour} ч {c.minute:02} мин",
        lambda c: f"в {c.hour}ч {c.minute:02}м",
    ),
    "hh_mm_words": (
        lambda c: f"в {_face(c)}",
        lambda c: f"на {_face(c)}",
        _face,
        lambda c: f"ровно в {_face(c)}",
        lambda c: f"в {'час' if c.hour == 1 else w.CLOCK_NUMBER[c.hour]} {c.minute:02}",
    ),
    "hh_mm_part": (
        lambda c: f"в {c.hour}:{c.minute:02} {_part(c)}",
        lambda c: f"в {_face(c)} {_part(c)}",
        lambda c: f"{c.hour}:{c.minute:02} {_part(c)}",
        lambda c: f"в {c.hour}.{c.minute:02} {_part(c)}",
        lambda c: f"в {c.hour}-{c.minute:02} {_part(c)}",
        lambda c: f"в {c.hour} {c.minute:02} {_part(c)}",
        lambda c: f"в {c.hour}:{c.minute:02} после обеда" if _after_noon(c) else f"{_face(c)} {_part(c)}",
    ),
    "hours_minutes": (
        lambda c: f"в {_hours(c.hour)} {c.minute} {w.plural(c.minute, 'минуту', 'минуты', 'минут')}",
        lambda c: f"в {c.hour} ч. {c.minute} мин.",
        lambda c: f"в {_hours_words(c.hour)} {w.minutes_words(c.minute)}",
        lambda c: f"{_hours(c.hour)} {c.minute} мин.",
    ),
    "bare_hour": (
        *russian.CLOCKS["bare_hour"],
        lambda c: f"на {c.hour}",
        lambda c: f"на {_word(c)}",
        lambda c: f"ровно в {c.hour}",
        lambda c: f"в {_hours_words(c.hour)}" if c.hour > 1 else "примерно в час",
    ),
    "hour_24": (
        lambda c: f"в {c.hour}",
        lambda c: f"в {_hours(c.hour)}",
        lambda c: f"в {w.CLOCK_NUMBER[c.hour]}",
        lambda c: f"на {c.hour}",
        lambda c: f"в {w.CLOCK_NUMBER[c.hour]} ноль ноль",
        lambda c: f"к {c.hour}",
        lambda c: _hours(c.hour),
        lambda c: f"в {_hours_words(c.hour)}",
        lambda c: f"в {c.hour} 00",
    ),
    "hour_part": (
        lambda c: f"в {c.hour} {_part(c)}",
        lambda c: f"в {_word(c)} {_part(c)}",
        lambda c: f"в {_hours(c.hour)} {_part(c)}",
        lambda c: f"{_in_few(c)}{c.hour} {_part(c)}",
        lambda c: f"к {w.HOUR_DAT[c.hour - 1]} {_part(c)}",
        lambda c: f"{_about(c)} {_part(c)}",
        lambda c: f"в {c.hour} после обеда" if _after_noon(c) else f"ровно в {c.hour} {_part(c)}",
        lambda c: f"{_in_few(c)}{_word(c)} {_part(c)}",
        lambda c: f"в {_hours(c.hour)} пополудни" if _after_noon(c) else f"примерно в {c.hour} {_part(c)}",
        lambda c: f"в {_hours(c.hour)} после полудня" if _after_noon(c) else f"где-то в {c.hour} {_part(c)}",
        lambda c: f"в {_hours_words(c.hour)} {_part(c)}",
        lambda c: f"в {c.hour}{_part(c)}",
    ),
    "part_hour": (
        lambda c: f"{DAY_PARTS[c.part]} в {c.hour}",
        lambda c: f"{DAY_PARTS[c.part]} в {_word(c)}",
        lambda c: (
            f"{DAY_PARTS[c.part]} часов в {_word(c)}" if c.hour > 4 else f"{DAY_PARTS[c.part]} в {_hours(c.hour)}"
        ),
        lambda c: f"{DAY_PARTS[c.part]} к {w.HOUR_DAT[c.hour - 1]}",
        lambda c: f"{DAY_PARTS[c.part]}, в {c.hour}",
    ),
    "today_part_hour": (
        lambda c: f"сегодня {DAY_PARTS[c.part]} в {c.hour}",
        lambda c: f"сегодня {DAY_PARTS[c.part]} в {_word(c)}",
        lambda c: f"сегодня в {c.hour} {_part(c)}",
        lambda c: f"{DAY_PARTS[c.part]} сегодня в {_word(c)}",
    ),
    "half_past": (
        *russian.CLOCKS["half_past"],
        lambda c: f"в пол {HALF_OF[c.hour - 1]}",
        lambda c: f"половина {HALF_OF[c.hour - 1]}",
        lambda c: f"в пол {_next_hour(c)}",
        lambda c: f"на {_joined_half(c)}",
        lambda c: f"в половину {HALF_OF[c.hour - 1]}",
        _joined_half,
    ),
    "half_past_part": (
        lambda c: f"в {_joined_half(c)} {_part(c)}",
        lambda c: f"в половине {HALF_OF[c.hour - 1]} {_part(c)}",
        lambda c: f"в пол {HALF_OF[c.hour - 1]} {_part(c)}",
        lambda c: f"ровно в {_joined_half(c)} {_part(c)}",
        lambda c: f"{DAY_PARTS[c.part]} в {_joined_half(c)}",
        lambda c: (
            f"в половине {HALF_OF[c.hour - 1]} после обеда"
            if c.part == 1 and c.hour < 6
            else f"около {_joined_half(c)} {_part(c)}"
        ),
    ),
    "quarter_past": (
        lambda c: f"в {_past(c)}",
        _past,
        lambda c: f"в 15 минут {HALF_OF[c.hour - 1]}",
        lambda c: f"в пятнадцать минут {HALF_OF[c.hour - 1]}",
    ),
    "quarter_to": (
        _to,
        lambda c: f"где-то {_to(c)}",
        lambda c: f"без 15 {_next_hour(c)}",
        lambda c: f"без четверти {_next_hour(c)}",
    ),
    "minutes_past": (
        lambda c: f"в {_past(c)}",
        _past,
        lambda c: f"в {c.minute} минут {HALF_OF[c.hour - 1]}",
        lambda c: f"{c.minute} мин. {HALF_OF[c.hour - 1]}",
    ),
    "minutes_to": (
        _to,
        lambda c: f"без {60 - c.minute} {HOUR_WORDS[_next_hour(c) - 1]}",
        lambda c: f"без {60 - c.minute} {_next_hour(c)}",
        lambda c: f"без {w.MINUTES_GEN[60 - c.minute]} минут {HOUR_WORDS[_next_hour(c) - 1]}",
    ),
    "minutes_past_part": (
        lambda c: f"в {_past(c)} {_part(c)}",
        lambda c: f"в {c.minute} минут {HALF_OF[c.hour - 1]} {_part(c)}",
        lambda c: f"{DAY_PARTS[c.part]} в {_past(c)}",
    ),
    "minutes_to_part": (
        lambda c: f"{_to(c)} {_part(c)}",
        lambda c: f"без {60 - c.minute} {_next_hour(c)} {_part(c)}",
        lambda c: f"{DAY_PARTS[c.part]} {_to(c)}",
        lambda c: f"без четверти {_next_hour(c)} {_part(c)}" if c.minute == 45 else f"где-то {_to(c)} {_part(c)}",
    ),
    "noon": (*russian.CLOCKS["noon"], lambda c: "к полудню", lambda c: "полдень", lambda c: "в 12 дня"),
    "midnight": (lambda c: "в полночь", lambda c: "ровно в полночь", lambda c: "к полуночи"),
    "twelve_at_night": (
        lambda c: "в 12 ночи",
        lambda c: "в двенадцать ночи",
        lambda c: "в 0 часов",
    ),
    "day_part": (
        lambda c: DAY_PARTS[c.part],
        lambda c: f"{DAY_PARTS[c.part]} в любое время",
        lambda c: f"лучше {DAY_PARTS[c.part]}",
    ),
    "lunch": (lambda c: "в обед", lambda c: "в обеденное время", lambda c: "к обеду"),
    "about_hour": (
        _about,
        lambda c: f"часиков в {_word(c)}" if c.hour > 1 else "примерно в час",
        lambda c: f"около {w.HOUR_GEN[c.hour - 1]}",
        lambda c: f"примерно в {c.hour}",
        lambda c: f"где-то в {_word(c)}",
        lambda c: f"ближе к {w.HOUR_DAT[c.hour - 1]}",
        lambda c: f"в районе {w.HOUR_GEN[c.hour - 1]}",
        lambda c: f"часам к {w.HOUR_DAT[c.hour - 1]}" if c.hour > 1 else "к часу примерно",
    ),
    "by_hour": (
        lambda c: f"к {c.hour}",
        lambda c: f"к {w.HOUR_DAT[c.hour - 1]}",
        lambda c: f"к {c.hour} часам" if c.hour > 1 else "к часу",
        lambda c: f"часам к {c.hour}" if c.hour > 1 else "к часу",
    ),
    "after_hour": (
        lambda c: f"после {c.hour}",
        lambda c: f"после {w.HOUR_GEN[c.hour - 1]}" if c.hour <= 12 else f"после {c.hour} часов",
        lambda c: f"начиная с {c.hour}",
        lambda c: f"не раньше {c.hour}" if c.hour > 1 else "не раньше часа",
    ),
    "range_start": (
        lambda c: f"с {c.hour} до {c.part}",
        lambda c: f"с {_start(c)} до {_end(c)}" if c.part <= 12 else f"с {c.hour} часов до {c.part} часов",
        lambda c: f"между {c.hour} и {c.part}",
        lambda c: f"с {c.hour}:00 до {c.part}:00" if c.hour >= 8 else f"где-то с {c.hour} до {c.part}",
        lambda c: f"от {c.hour} до {c.part}",
    ),
}
