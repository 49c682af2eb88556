"""How English says a clock time: surface forms for each kind of meaning."""

from __future__ import annotations

from tasks.datetime_extraction import en_words as w
from tasks.datetime_extraction import english
from tasks.datetime_extraction.clock_kinds import in_second_half
from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.english import HOUR_WORDS
from tasks.datetime_extraction.forms import ClockForms

PART_OF_HOUR = ("in the morning", "in the afternoon", "in the evening", "at night")
THIS_PART = ("this morning", "this afternoon", "this evening", "tonight")
DAY_PARTS = ("in the morning", "in the afternoon", "in the evening", "at night")


def _word(c: Clock) -> str:
    return HOUR_WORDS[c.hour - 1]


def _next_word(c: Clock) -> str:
    return HOUR_WORDS[c.hour % 12]


def _part(c: Clock) -> str:
    return PART_OF_HOUR[c.part]


def _ampm(c: Clock) -> str:
    return "pm" if in_second_half(c.hour, c.part) else "am"


def _minutes_word(n: int) -> str:
    return w.NUMBER[n] if n >= 10 else f"oh {w.NUMBER[n]}" if n else "o'clock"


def _face(c: Clock) -> str:
    return f"{w.NUMBER[c.hour]} {_minutes_word(c.minute)}"


def _hh_mm(c: Clock) -> str:
    return f"{c.hour}:{c.minute:02}"


def _past(c: Clock) -> str:
    said = "quarter" if c.minute == 15 else w.NUMBER[c.minute]
    return f"{said} past {_word(c)}"


def _to(c: Clock) -> str:
    left = 60 - c.minute
    said = "quarter" if left == 15 else w.NUMBER[left] if left % 5 == 0 else f"{w.NUMBER[left]} minutes"
    return f"{said} to {_next_word(c)}"


CLOCKS: ClockForms = {
    "no_time": (lambda c: "",),
    "hh_mm": (
        *english.CLOCKS["hh_mm"],
        lambda c: f"for {_hh_mm(c)}",
        lambda c: f"at {c.hour}.{c.minute:02}",
        lambda c: f"at exactly {_hh_mm(c)}",
        lambda c: f"around {_hh_mm(c)}",
        lambda c: f"@ {_hh_mm(c)}",
    ),
    "hh_mm_padded": (
        lambda c: f"at {c.hour:02}:{c.minute:02}",
        lambda c: f"{c.hour:02}:{c.minute:02}",
        lambda c: f"{c.hour:02}:{c.minute:02} sharp",
    ),
    "hh_mm_early": (lambda c: f"at {_hh_mm(c)}", lambda c: f"around {_hh_mm(c)}", _hh_mm),
    "hh_mm_spaced": (lambda c: f"at {c.hour} {c.minute:02}", lambda c: f"{c.hour} {c.minute:02}"),
    "hh_mm_compact": (
        lambda c: f"at {c.hour:02}{c.minute:02}",
        lambda c: f"{c.hour}h{c.minute:02}",
        lambda c: f"at {c.hour:02}{c.minute:02} hours",
        lambda c: f"at {c.hour}h{c.minute:02}",
    ),
    "hh_mm_words": (
        lambda c: f"at {_face(c)}",
        _face,
        lambda c: f"around {_face(c)}",
        lambda c: f"at {w.apart(_face(c))}",
        lambda c: w.apart(_face(c)),
    ),
    "hh_mm_part": (
        lambda c: f"at {_hh_mm(c)} {_ampm(c)}",
        lambda c: f"{_hh_mm(c)}{_ampm(c)}",
        lambda c: f"at {_hh_mm(c)} {_part(c)}",
        lambda c: f"at {_face(c)} {_ampm(c)}",
        lambda c: f"{c.hour}.{c.minute:02} {_ampm(c)}",
        lambda c: f"at {_hh_mm(c)} {_ampm(c)[0]}.m.",
        lambda c: f"at {_face(c)} {_part(c)}",
        lambda c: f"{_hh_mm(c)} {_ampm(c).upper()}",
        lambda c: f"at {c.hour}{c.minute:02}{_ampm(c)}",
        lambda c: f"{c.hour}-{c.minute:02} {_ampm(c)}",
        lambda c: f"at {_hh_mm(c)}{_ampm(c)[0]}",
        lambda c: f"{w.apart(_face(c))} {_ampm(c)[0]} m",
        lambda c: f"at {w.apart(_face(c))} {_ampm(c)}",
    ),
    "hours_minutes": (
        lambda c: f"at {_hh_mm(c)} exactly",
        lambda c: f"at {_hh_mm(c)} on the dot",
    ),
    "bare_hour": (
        *english.CLOCKS["bare_hour"],
        lambda c: f"for {c.hour} o'clock",
        lambda c: f"{_word(c)} o'clock",
        lambda c: f"at {c.hour} sharp",
        lambda c: f"@ {c.hour}",
        lambda c: f"at {c.hour} oclock",
    ),
    "hour_24": (
        lambda c: f"at {c.hour}:00",
        lambda c: f"{c.hour}:00",
        lambda c: f"at {c.hour} hundred hours",
        lambda c: f"{c.hour}h",
        lambda c: f"at {c.hour}h",
        lambda c: f"at {c.hour}00",
    ),
    "hour_part": (
        lambda c: f"at {c.hour} {_ampm(c)}",
        lambda c: f"at {c.hour} {_part(c)}",
        lambda c: f"at {_word(c)} {_part(c)}",
        lambda c: f"{c.hour}{_ampm(c)}",
        lambda c: f"at {c.hour}{_ampm(c)}",
        lambda c: f"by {c.hour} {_ampm(c)}",
        lambda c: f"around {c.hour} {_ampm(c)}",
        lambda c: f"at {_word(c)} {_ampm(c)}",
        lambda c: f"at {c.hour} {_ampm(c)[0]}.m.",
        lambda c: f"at {c.hour} o'clock {_part(c)}",
        lambda c: f"@ {c.hour}{_ampm(c)}",
        lambda c: f"at {c.hour}{_ampm(c)[0]}",
        lambda c: f"{c.hour}:00 {_ampm(c).upper()}",
        lambda c: f"{c.hour} {_ampm(c).upper()}",
        lambda c: f"at about {c.hour}{_ampm(c)}",
        lambda c: f"{c.hour}ish {_ampm(c)}",
        lambda c: f"{c.hour} oclock {_ampm(c)}",
    ),
    "part_hour": (
        lambda c: f"{DAY_PARTS[c.part]} at {c.hour}",
        lambda c: f"{DAY_PARTS[c.part]} at {_word(c)}",
        lambda c: f"{DAY_PARTS[c.part]}, around {c.hour}",
        lambda c: f"{('morning', 'afternoon', 'evening', 'night')[c.part]} at {c.hour}",
        lambda c: f"{DAY_PARTS[c.part]} at {c.hour} o'clock",
    ),
    "today_part_hour": (
        lambda c: f"{THIS_PART[c.part]} at {c.hour}",
        lambda c: f"{THIS_PART[c.part]} at {_word(c)}",
        lambda c: f"at {c.hour} {THIS_PART[c.part]}",
        lambda c: f"{THIS_PART[c.part]} around {c.hour}",
        lambda c: f"{c.hour} {THIS_PART[c.part]}",
        lambda c: f"{THIS_PART[c.part]} at {c.hour}{_ampm(c)}",
        lambda c: f"{THIS_PART[c.part]} at {c.hour} o'clock",
    ),
    "half_past": (
        *english.CLOCKS["half_past"],
        lambda c: f"at half {_word(c)}",
        lambda c: f"half {_word(c)}",
        lambda c: f"at half past {c.hour}",
        lambda c: f"around half past {_word(c)}",
        lambda c: f"at half {c.hour}",
    ),
    "half_past_part": (
        lambda c: f"at half past {_word(c)} {_part(c)}",
        lambda c: f"half past {c.hour} {_ampm(c)}",
        lambda c: f"{DAY_PARTS[c.part]} at half past {_word(c)}",
        lambda c: f"30 minutes past {c.hour} {_ampm(c)}",
        lambda c: f"at half past {_word(c)} {_ampm(c)}",
    ),
    "quarter_past": (
        lambda c: f"at quarter past {_word(c)}",
        lambda c: f"at a quarter past {c.hour}",
        lambda c: f"quarter past {_word(c)}",
        lambda c: f"at a quarter after {_word(c)}",
    ),
    "quarter_to": (
        lambda c: f"at quarter to {_next_word(c)}",
        lambda c: f"at a quarter to {c.hour % 12 + 1}",
        lambda c: f"a quarter of {_next_word(c)}",
        lambda c: f"quarter to {_next_word(c)}",
    ),
    "minutes_past": (
        lambda c: f"at {_past(c)}",
        lambda c: f"at {c.minute} past {c.hour}",
        lambda c: f"at {w.NUMBER[c.minute]} minutes past {_word(c)}",
        lambda c: f"{w.NUMBER[c.minute]} after {_word(c)}",
        lambda c: f"{c.minute} minutes past {c.hour}",
    ),
    "minutes_to": (
        lambda c: f"at {_to(c)}",
        lambda c: f"at {60 - c.minute} minutes to {c.hour % 12 + 1}",
        lambda c: f"{w.NUMBER[60 - c.minute]} minutes to {_next_word(c)}",
        lambda c: f"{60 - c.minute} minutes before {_next_word(c)}",
    ),
    "minutes_past_part": (
        lambda c: f"at {_past(c)} {_part(c)}",
        lambda c: f"{_past(c)} {_ampm(c)}",
        lambda c: f"{DAY_PARTS[c.part]} at {_past(c)}",
        lambda c: f"at {c.minute} minutes past {c.hour}{_ampm(c)}",
        lambda c: (
            f"a quarter past {c.hour}{_ampm(c)}" if c.minute == 15 else f"{w.NUMBER[c.minute]} after {c.hour}{_ampm(c)}"
        ),
        lambda c: f"a {_past(c)} {_ampm(c)}" if c.minute == 15 else f"{_past(c)} {_part(c)}",
    ),
    "minutes_to_part": (lambda c: f"at {_to(c)} {_part(c)}", lambda c: f"{DAY_PARTS[c.part]} at {_to(c)}"),
    "noon": (*english.CLOCKS["noon"], lambda c: "at 12 noon", lambda c: "noon", lambda c: "12pm", lambda c: "at 12 pm"),
    "midnight": (lambda c: "at midnight", lambda c: "midnight", lambda c: "at 12 midnight"),
    "twelve_at_night": (lambda c: "at 12 at night", lambda c: "at twelve at night"),
    "day_part": (
        lambda c: DAY_PARTS[c.part],
        lambda c: ("morning", "afternoon", "evening", "night")[c.part],
        lambda c: f"preferably {DAY_PARTS[c.part]}",
    ),
    "lunch": (lambda c: "at lunchtime", lambda c: "at lunch"),
    "about_hour": (
        lambda c: f"around {c.hour}",
        lambda c: f"about {_word(c)}",
        lambda c: f"{c.hour}ish",
        lambda c: f"at {_word(c)}-ish",
        lambda c: f"roughly at {c.hour}",
        lambda c: f"at about {c.hour}",
        lambda c: f"around {_word(c)} or so",
    ),
    "by_hour": (lambda c: f"by {c.hour}", lambda c: f"by {_word(c)}", lambda c: f"by {c.hour} o'clock"),
    "after_hour": (
        lambda c: f"after {c.hour}",
        lambda c: f"any time after {c.hour}",
        lambda c: f"from {c.hour} onwards",
        lambda c: f"no earlier than {c.hour}",
    ),
    "range_start": (
        lambda c: f"from {c.hour} to {c.part}",
        lambda c: f"between {c.hour} and {c.part}",
        lambda c: f"from {w.NUMBER[c.hour]} till {w.NUMBER[c.part]}",
        lambda c: f"from {c.hour} until {c.part}",
    ),
}
