"""What can't be said together, since people would read it in another way than it is meant."""

from __future__ import annotations

import re

from tasks.datetime_extraction.clock_kinds import WITH_PART, in_afternoon, read
from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.day_steps import resolve_dates
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.en_words import MONTHS_SHORT, NUMBER, apart
from tasks.datetime_extraction.languages import LANGUAGES
from tasks.datetime_extraction.meaning import Lang, Policy, Setting

# Days that belong to a month which they may leave unsaid.
OF_A_MONTH = frozenset(
    {"day_of_month", "weekday_day_of_month", "day_this_month", "nth_weekday_this_month", "weekday_after_date"}
    | {"last_day_of_month", "last_business_day"}
)
WEEKDAYS = ("weekday", "same_weekday", "weekend_day")  # without their week
# Days that end in a number of units. A clock in units beside them would be more of the same: «через день 10 часов».
SPANS = frozenset(
    {"in_days", "in_weeks", "in_months", "in_years", "span", "couple", "week_and_days", "every_other_day"}
    | {"business_days", "days_after_date", "days_from_weekday", "two_days_after_tomorrow"}
    | {"weekday_in_weeks", "weekday_in_months", "days_before_date"}
)
_COUNTED = re.compile(
    r"(?!.*\b(?:в|во|на|к|ко|с|около|до|без|at|by|for|around|from|between|after|past|to|of)\b)"
    r"(?:.*\b(?:час\w*|ч|мин\w*|дня|hours?|minutes?)\b.*|\d+ ?[hч]\w*)"
)

# "After 1 Feb 24": a date, whatever was meant.
_UNITS = "|".join(sorted({apart(number).split()[-1] for number in NUMBER}))
_ENDS_IN_A_NUMBER = re.compile(rf".*(?:\d|\b(?:{_UNITS}))")
_MONTH = re.compile(rf"(?:{'|'.join(MONTHS_SHORT)})", re.IGNORECASE)

_NEAREST = re.compile("ближайш|coming")
REFUSALS = ("не ", "not ")  # «через среду» may be said with one
EVENING = 17  # from this hour on

_DOTTED = re.compile(r"(?:.* )?(\d{1,2})\.\d{1,2}\.?")
_SAME_TIME = re.compile("столько же|это же время|same time")


def go_on(kind: str, clock_text: str) -> bool:
    """Whether the clock would go on with the day's number of units: «через день 10 часов», "3 years later 16h"."""
    return kind in SPANS and _COUNTED.fullmatch(clock_text) is not None


def can_turn(day_text: str, clock: Clock, clock_text: str) -> bool:
    """Whether the clock may come first. «Ночью на среду» is the night before it, «3 дня за неделю до» a number."""
    if (clock.kind == "day_part" and day_text.startswith("на ")) or "," in clock_text:
        return False
    if _MONTH.match(day_text) and _ENDS_IN_A_NUMBER.fullmatch(clock_text):
        return False
    counts = clock_text.endswith("дня") and day_text.startswith(("за ", "через ", "спустя ", "после "))
    return not counts and not (clock_text[-1:].isdigit() and day_text[:1].isdigit())


def same_time(one: Clock, other: Clock, lang: Lang, policy: Policy) -> bool:
    """Whether two clocks may mean one time, which is neither a choice nor a correction: "at 5 or at 17:00"."""
    if "no_time" in (one.kind, other.kind):
        return False
    ours, theirs = read(one, lang, policy), read(other, lang, policy)
    if (ours.hour % 12, ours.minute) != (theirs.hour % 12, theirs.minute):
        return False
    return ours.hour == theirs.hour or not (ours.fixed and theirs.fixed)


def keeps_evening(first: Clock, second: Clock, text: str, lang: Lang, policy: Policy) -> bool:
    """Whether a time that corrects one of the evening may stay in it: "at 21:15, I mean half past nine".

    text is the second's. Its part of the day or a zero before its hour settles it.
    """
    before, after = read(first, lang, policy), read(second, lang, policy)
    hour = before.hour + 12 * in_afternoon(before, policy)
    settled = second.kind in WITH_PART or second.kind == "noon" or re.search(r"\b0\d", text)
    return hour >= EVENING and 8 <= after.hour <= 12 and not settled


def is_like_a_clock(day_text: str) -> bool:
    """Whether the day ends in a Russian date that could be a time: «21.05», «в среду, 9.10.», but not «31.05»."""
    found = _DOTTED.fullmatch(day_text)
    return found is not None and int(found[1]) < 24


def frames_of_day(frames: tuple[str, ...], first: str, clock: Clock, clock_text: str, day_text: str) -> tuple[str, ...]:
    """The frames for a day that corrects the first, said with a clock: «в 18:50, то есть 21.05» corrects the time."""
    fitting = frames if not is_like_a_clock(day_text) else tuple(each for each in frames if _SAME_TIME.search(each))
    if can_turn(first, clock, clock_text):
        return fitting
    return tuple(frame for frame in fitting if not frame.startswith("{clock}"))


def leans(day: Day, text: str, on: Day, lang: Lang, setting: Setting) -> bool:
    """Whether the day, said so, would be counted from `on`, said before it, instead of from today.

    "On Sunday, sorry, the next day" is Monday; "October 6th, no, the 22nd" is in October, whatever today is; "the 10th,
    no, the 25th", on a 16th, is in the next month; and "Friday next week, no, Sunday" is next week's.
    """
    if re.fullmatch("|".join(LANGUAGES[lang].talk.LEANING), text):
        return True
    if day.kind in WEEKDAYS and on.kind in ("day_month", "weekday_next_week"):
        return True
    of_a_month = day.kind in OF_A_MONTH and not day.month and on.kind in ("day_month", "day_of_month")
    if not of_a_month and day.kind not in WEEKDAYS:
        return False
    ours, theirs = resolve_dates(day, setting), resolve_dates(on, setting)
    if isinstance(ours, str) or isinstance(theirs, str):
        return False
    if not of_a_month:
        return (theirs[0].date - setting.today).days > 7 and not _NEAREST.search(text)
    one, other = ((date.year, date.month) for date in (ours[0].date, theirs[0].date))
    return one < other or (one != other and on.kind == "day_month")


def frames_with(day_text: str, nominal: bool, lang: Lang) -> tuple[str, ...]:
    """The frames of a plain answer that fit the day: one is put down «на завтра», but comes «завтра»."""
    talk = LANGUAGES[lang].talk
    frames: tuple[str, ...] = talk.FRAMES
    if nominal:
        frames = talk.NOMINAL_FRAMES
    elif day_text.startswith(("на ", "for ")):
        frames = talk.BOOKING_FRAMES
    return frames


def says_twice(text: str) -> bool:
    """Whether a preference stands in it twice: «лучше лучше днём», where the frame and the clock have one each."""
    return text.count("лучше") > 1 or text.count("prefer") > 1


def refusable(day_text: str, lang: Lang) -> bool:
    """Whether the day may be refused in these words.

    Not where they refuse a day already, nor where a part may stand alone ("not in 2 months, on Friday"), nor where they
    insist on the day or guess at it («уже завтра»).
    """
    affirms = re.fullmatch("|".join(LANGUAGES[lang].talk.AFFIRMING), day_text)
    return not affirms and "," not in day_text and not day_text.startswith(REFUSALS)


def frames_for(frames: tuple[str, ...], refused: str) -> tuple[str, ...]:
    """The frames that fit a day that is refused: «только не на среду», but nobody «на среду не может»."""
    fitting = tuple(frame for frame in frames if "не {a}" in frame or "записали {a}" in frame)
    return fitting if fitting and refused.startswith("на ") else frames
