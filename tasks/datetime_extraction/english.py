"""How English says a day and a clock time: for each kind of meaning, its surface forms."""

from __future__ import annotations

from collections.abc import Callable

from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.days import Day

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HOUR_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
PART_OF_HOUR = ("in the morning", "in the afternoon", "in the evening")
DAY_PARTS = ("in the morning", "in the day", "in the evening", "at night")


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def _count(n: int, noun: str) -> str:
    return f"a {noun}" if n == 1 else f"{n} {noun}s"


DAYS: dict[str, tuple[Callable[[Day], str], ...]] = {
    "today": (lambda d: "today", lambda d: "later today"),
    "tomorrow": (lambda d: "tomorrow", lambda d: "tmrw"),
    "day_after_tomorrow": (lambda d: "the day after tomorrow", lambda d: "day after tomorrow"),
    "in_days": (lambda d: f"in {d.n} days", lambda d: f"{d.n} days from now"),
    "in_weeks": (lambda d: f"in {_count(d.n, 'week')}", lambda d: f"{_count(d.n, 'week')} from now"),
    "in_months": (lambda d: f"in {_count(d.n, 'month')}", lambda d: f"{_count(d.n, 'month')} from now"),
    "weekday": (lambda d: f"on {WEEKDAYS[d.n]}", lambda d: f"this coming {WEEKDAYS[d.n]}"),
    "weekday_next_week": (
        lambda d: f"{WEEKDAYS[d.n]} next week",
        lambda d: f"next week on {WEEKDAYS[d.n]}",
        lambda d: f"on {WEEKDAYS[d.n]} of next week",
    ),
    "day_of_month": (lambda d: f"on the {ordinal(d.day)}", lambda d: f"the {ordinal(d.day)}"),
    "day_month": (
        lambda d: f"on {MONTHS[d.month - 1]} {d.day}",
        lambda d: f"{d.day} {MONTHS[d.month - 1]}",
        lambda d: f"on {MONTHS[d.month - 1]} {ordinal(d.day)}",
    ),
    "numeric_date": (lambda d: f"{d.month}/{d.day}", lambda d: f"on {d.month}/{d.day}"),
    "full_date": (
        lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}",
        lambda d: f"{d.month}/{d.day}/{d.year}",
    ),
}


def _am_pm(c: Clock) -> str:
    return f"{c.hour} {'pm' if c.part else 'am'}"


CLOCKS: dict[str, tuple[Callable[[Clock], str], ...]] = {
    "hh_mm": (lambda c: f"at {c.hour}:{c.minute:02}", lambda c: f"{c.hour}:{c.minute:02}"),
    "bare_hour": (lambda c: f"at {c.hour}", lambda c: f"at {HOUR_WORDS[c.hour - 1]}", lambda c: f"at {c.hour} o'clock"),
    "hour_part": (
        lambda c: f"at {_am_pm(c)}",
        lambda c: f"at {c.hour} {PART_OF_HOUR[c.part]}",
        lambda c: f"at {HOUR_WORDS[c.hour - 1]} {PART_OF_HOUR[c.part]}",
    ),
    "half_past": (lambda c: f"at half past {HOUR_WORDS[c.hour - 1]}", lambda c: f"half past {c.hour}"),
    "noon": (lambda c: "at noon", lambda c: "at midday"),
    "day_part": (lambda c: DAY_PARTS[c.part],),
    "no_time": (lambda c: "",),
}

NO_DATE = (
    "I don't know",
    "I don't mind",
    "call me back",
    "not sure yet",
    "how much is it",
    "let me think",
    "never",
    "I can't say",
    "I don't know yet",
    "no preference",
    "I'll decide later",
    "no, thank you",
    "who is this",
    "what do you mean",
    "cancel my booking",
    "I'll tell you later",
)
FRAMES = ("{}", "{}", "let's do {}", "{}, please", "can we do {}", "book me {}")
