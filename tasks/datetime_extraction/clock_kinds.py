"""Clock phrases of the deep task: how each meaning is drawn, and how it reads as hours and minutes.

hour and minute of a Clock are the time that is meant on a twelve-hour face (4:20 for «двадцать минут пятого», 6:45 for
"quarter to seven"), or on a 24-hour one where the kind says so. part: 0 morning, 1 day, 2 evening, 3 night.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tasks.datetime_extraction.chance import below
from tasks.datetime_extraction.clocks import MINUTES, Clock
from tasks.datetime_extraction.meaning import Lang, Policy

PART_NAMES = ("morning", "day", "evening", "night")
NIGHT = 3  # of them
MIDNIGHT = ("midnight", "twelve_at_night")
AFTERNOON = 7  # a bare hour up to this one is in the afternoon, unless the prompt says otherwise
# The parts that can go with an hour on a twelve-hour face. Twelve at night has its own kind: its date is disputed.
_PARTS: dict[Lang, tuple[tuple[int, ...], ...]] = {
    "ru": ((), *((1, 3),) * 3, (1, 0), (1, 0, 2), *((0, 2),) * 6, (1,)),
    "en": ((), *((1, 0),) * 4, (1, 0, 2), *((0, 2),) * 3, *((0, 2, 3),) * 3, (1,)),
}


class Reading(NamedTuple):
    """fixed: hour is 0-23 and settled; else it is 1-12 and the bare-hour rule settles it. shifts: days to add."""

    hour: int
    minute: int
    fixed: bool
    prefix: str = ""
    shifts: tuple[int, ...] = (0,)


Sampler = Callable[[Random, Lang], Clock]


def _minute(rng: Random) -> int:
    return below(rng, 0, 60) if rng.random() < 0.2 else MINUTES[int(rng.random() * len(MINUTES))]


def _at(kind: str, low: int, high: int) -> Sampler:
    """Whole hours from low to high - 1."""
    return lambda rng, lang: Clock(kind, below(rng, low, high))


def _timed(kind: str, low: int, high: int, at_least: int = 0) -> Sampler:
    return lambda rng, lang: Clock(kind, below(rng, low, high), max(at_least, _minute(rng)))


def _with_part(clock: Clock, rng: Random, lang: Lang) -> Clock:
    parts = _PARTS[lang][clock.hour]
    return clock._replace(part=parts[int(rng.random() * len(parts))])


def _parted(kind: str, minutes: tuple[int, ...] | None = (0,)) -> Sampler:
    def sample(rng: Random, lang: Lang) -> Clock:
        minute = _minute(rng) if minutes is None else minutes[int(rng.random() * len(minutes))]
        return _with_part(Clock(kind, below(rng, 1, 13), minute), rng, lang)

    return sample


def _spoken(kind: str, minutes: tuple[int, ...]) -> Sampler:
    return lambda rng, lang: Clock(kind, below(rng, 1, 13), minutes[int(rng.random() * len(minutes))])


def _range(rng: Random, lang: Lang) -> Clock:
    low, high = ((1, 6), (8, 11), (13, 19))[int(rng.random() * 3)]
    start = below(rng, low, high)
    return Clock("range_start", start, 0, start + below(rng, 1, 3))


PAST_MINUTES, TO_MINUTES = (5, 10, 20, 25), (35, 40, 50, 55, 57)

SAMPLERS: dict[str, Sampler] = {
    "no_time": lambda rng, lang: Clock("no_time"),
    "hh_mm": _timed("hh_mm", 8, 24),
    "hh_mm_padded": _timed("hh_mm_padded", 0, 10),
    "hh_mm_early": _timed("hh_mm_early", 1, 8, 1),
    "hh_mm_spaced": _timed("hh_mm_spaced", 8, 22, 10),
    "hh_mm_compact": _timed("hh_mm_compact", 8, 22, 10),
    "hh_mm_words": _timed("hh_mm_words", 1, 24, 1),
    "hh_mm_part": _parted("hh_mm_part", None),
    "hours_minutes": _timed("hours_minutes", 1, 24, 1),
    "bare_hour": _at("bare_hour", 1, 13),
    "hour_24": _at("hour_24", 13, 24),
    "hour_part": _parted("hour_part"),
    "part_hour": _parted("part_hour"),
    "today_part_hour": _parted("today_part_hour"),
    "half_past": _spoken("half_past", (30,)),
    "half_past_part": _parted("half_past_part", (30,)),
    "quarter_past": _spoken("quarter_past", (15,)),
    "quarter_to": _spoken("quarter_to", (45,)),
    "minutes_past": _spoken("minutes_past", PAST_MINUTES),
    "minutes_to": _spoken("minutes_to", TO_MINUTES),
    "minutes_past_part": _parted("minutes_past_part", (*PAST_MINUTES, 15)),
    "minutes_to_part": _parted("minutes_to_part", (*TO_MINUTES, 45)),
    "noon": lambda rng, lang: Clock("noon"),
    "midnight": lambda rng, lang: Clock("midnight"),
    "twelve_at_night": lambda rng, lang: Clock("twelve_at_night"),
    "day_part": lambda rng, lang: Clock("day_part", part=int(rng.random() * 4)),
    "lunch": lambda rng, lang: Clock("lunch"),
    "about_hour": _at("about_hour", 1, 13),
    "by_hour": _at("by_hour", 1, 13),
    "after_hour": _at("after_hour", 1, 22),
    "range_start": _range,
}
# A moment in another city's time needs a clock that is settled without the bare-hour rule.
ZONED = frozenset({"hh_mm", "hh_mm_padded", "hour_24", "hour_part", "hh_mm_part"})
FIXED = ZONED | {
    "hh_mm_spaced",
    "hh_mm_compact",
    "part_hour",
    "today_part_hour",
    "half_past_part",
    "minutes_past_part",
    "minutes_to_part",
    "noon",
}


def read(clock: Clock, lang: Lang, policy: Policy) -> Reading:
    """Hours and minutes of a clock phrase. Raises KeyError on an unknown kind."""
    kind = clock.kind
    if kind == "no_time":
        return Reading(policy.default_hour, 0, True, "no time, ")
    if kind == "day_part":
        return Reading(policy.parts[clock.part], 0, True, f"{PART_NAMES[clock.part]} ")
    if kind == "lunch":
        return Reading(policy.parts[1], 0, True, "lunch ")
    if kind == "noon":
        return Reading(12, 0, True, "noon ")
    if kind in MIDNIGHT:
        return Reading(0, 0, True, "midnight ", (0, 1))
    if kind in WITH_PART:
        return _with_day_part(clock, lang)
    fixed = kind in FIXED or clock.hour > 12 or clock.hour == 0
    return Reading(clock.hour, clock.minute, fixed, _borrow(clock, lang))


WITH_PART = frozenset(
    {"hour_part", "part_hour", "today_part_hour", "hh_mm_part"}
    | {"half_past_part", "minutes_past_part", "minutes_to_part"}
)


def in_afternoon(reading: Reading, policy: Policy) -> bool:
    """Whether the bare-hour rule puts it in the afternoon."""
    limit = AFTERNOON if policy.afternoon is None else policy.afternoon
    return not reading.fixed and reading.hour <= limit and reading.hour < 12


def _with_day_part(clock: Clock, lang: Lang) -> Reading:
    hour, borrowed = clock.hour, _borrow(clock, lang)
    name = PART_NAMES[clock.part]
    if in_second_half(hour, clock.part) and hour < 12:
        said = f"{hour}:{clock.minute:02}" if clock.minute else f"{hour}"
        return Reading(hour + 12, clock.minute, True, f"{borrowed}{name} {said}+12 = ")
    return Reading(hour, clock.minute, True, f"{borrowed}{name} ")


def in_second_half(hour: int, part: int) -> bool:
    """Whether an hour of 1-12 with a part of the day is after noon: day, evening, and the late hours of the night."""
    return part in (1, 2) or (part == 3 and hour >= 6)


def _borrow(clock: Clock, lang: Lang) -> str:
    """The subtraction hidden in «двадцать минут пятого» (5-1=4) and in "ten to five" (5-1=4, 60-10=50)."""
    kind = clock.kind
    if "past" in kind:
        return f"{clock.hour % 12 + 1}-1={clock.hour % 12}; " if lang == "ru" and clock.hour < 12 else ""
    if "_to" in kind:
        said = clock.hour % 12 + 1
        return f"60-{60 - clock.minute}={clock.minute}, {said}-1={said - 1}; "
    return ""
