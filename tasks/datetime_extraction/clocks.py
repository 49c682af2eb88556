"""What a clock phrase means: kinds of meaning, how each is sampled, and how each is resolved to hours and minutes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

DEFAULT_HOUR = 9
DAY_PARTS = (9, 13, 18, 22)  # morning, day, evening, night: the hour each stands for
MINUTES = (0, 5, 10, 15, 20, 30, 40, 45, 50)


class Clock(NamedTuple):
    """A language-free clock phrase. hour and minute are as spoken: 7 in `7 pm`, 7 in `half past seven`.

    part: for `hour_part` 0 morning, 1 day, 2 evening; for `day_part` an index into DAY_PARTS.
    """

    kind: str
    hour: int = 0
    minute: int = 0
    part: int = 0


class ResolvedClock(NamedTuple):
    """Hour 0-23 and minute 0-59 that a Clock means, and the step that leads there."""

    hour: int
    minute: int
    step: str


def _hour_part(rng: Random) -> Clock:
    part = rng.randrange(3)
    hour = (rng.randrange(6, 12), rng.randrange(1, 6), rng.randrange(6, 12))[part]
    return Clock("hour_part", hour, 0, part)


# kind -> how to draw a meaning. The key is the value of the tag `clock`.
KINDS: dict[str, Callable[[Random], Clock]] = {
    "hh_mm": lambda rng: Clock("hh_mm", rng.randrange(8, 22), MINUTES[rng.randrange(len(MINUTES))]),
    "bare_hour": lambda rng: Clock("bare_hour", rng.randrange(1, 13)),
    "hour_part": _hour_part,
    "half_past": lambda rng: Clock("half_past", rng.randrange(1, 13), 30),
    "noon": lambda rng: Clock("noon"),
    "day_part": lambda rng: Clock("day_part", part=rng.randrange(4)),
    "no_time": lambda rng: Clock("no_time"),
}


def bare_hour(hour: int) -> int:
    """The policy for an hour without a part of the day: 1-7 are afternoon, 8-12 as they stand."""
    return hour + 12 if hour <= 7 else hour


def resolve_clock(meaning: Clock) -> ResolvedClock:
    """Hour and minute of a clock phrase. Raises KeyError on an unknown kind."""
    return _RESOLVERS[meaning.kind](meaning)


def _resolved(said: str, hour: int, minute: int) -> ResolvedClock:
    return ResolvedClock(hour, minute, f"{said}{hour:02}:{minute:02}")


def _hour_with_part(meaning: Clock) -> ResolvedClock:
    hour = meaning.hour + 12 if meaning.part else meaning.hour
    return _resolved(f"{meaning.hour}+12 = " if meaning.part else f"{meaning.hour} am = ", hour, 0)


_RESOLVERS: dict[str, Callable[[Clock], ResolvedClock]] = {
    "hh_mm": lambda m: _resolved("", m.hour, m.minute),
    "bare_hour": lambda m: _resolved(f"{m.hour}+12 = " if m.hour <= 7 else "", bare_hour(m.hour), 0),
    "hour_part": _hour_with_part,
    "half_past": lambda m: _resolved(f"{m.hour}:30{'+12' if m.hour <= 7 else ''} = ", bare_hour(m.hour), 30),
    "noon": lambda m: _resolved("noon ", 12, 0),
    "day_part": lambda m: _resolved(("morning ", "day ", "evening ", "night ")[m.part], DAY_PARTS[m.part], 0),
    "no_time": lambda m: _resolved("no time, ", DEFAULT_HOUR, 0),
}
