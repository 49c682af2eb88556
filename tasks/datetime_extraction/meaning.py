"""What an answer means and what it is said against: data without language. Everything that is computed starts here."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Literal, NamedTuple

from tasks.datetime_extraction.clocks import DAY_PARTS, DEFAULT_HOUR, Clock
from tasks.datetime_extraction.days import Day

Lang = Literal["ru", "en"]
LANGS: tuple[Lang, ...] = ("ru", "en")


class Policy(NamedTuple):
    """How the prompt settles what people disagree on. The defaults are what holds where the prompt says nothing.

    afternoon: a bare hour from 1 to this one is in the afternoon; 0, hours are meant as they stand; None, the prompt
    doesn't say: 7, or today the next occurrence. following: «следующая среда» is in the next ISO week, or the nearest
    Wednesday; None, both are accepted. day_first: 3/4 is 3 April; None, the language's own order.
    """

    default_hour: int = DEFAULT_HOUR
    parts: tuple[int, int, int, int] = DAY_PARTS
    afternoon: int | None = None
    following: Literal["week", "nearest"] | None = None
    day_first: bool | None = None


class Setting(NamedTuple):
    """What the prompt states. now: minutes since midnight, None when unsaid. offset: minutes east of UTC.

    stated: the fields of the policy that the prompt spells out; every field that isn't at its default is among them.
    """

    today: date
    now: int | None = None
    offset: int = 180
    policy: Policy = Policy()
    stated: tuple[str, ...] = ()


class Meaning(NamedTuple):
    """What was said. talk: how it was put (plain, correction, …). zone: an index into ZONES, None for the prompt's.

    reason: why there is no moment, for the kinds of talk that name none.
    """

    lang: Lang
    talk: str
    day: Day
    clock: Clock
    zone: int | None = None
    reason: str = ""


class Gold(NamedTuple):
    """Accepted answers, the canonical one first, and the rationale that leads to it."""

    answers: tuple[str, ...]
    reasoning: str


@cache
def offset_text(offset: int) -> str:
    """`+03:00`, `-05:30`; `Z` for none."""
    if not offset:
        return "Z"
    hours, minutes = divmod(abs(offset), 60)
    return f"{'+' if offset > 0 else '-'}{hours:02}:{minutes:02}"
