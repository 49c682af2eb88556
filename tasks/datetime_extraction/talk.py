"""From forms to an answer: what is said of the day and the time, and how it is put. Each kind of talk is a phenomenon.

A builder draws a meaning and its words together; None means that this draw makes no sense, so draw again.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tasks.datetime_extraction import clock_kinds, day_kinds, together
from tasks.datetime_extraction.chance import pick
from tasks.datetime_extraction.clock_kinds import ZONED
from tasks.datetime_extraction.clocks import Clock
from tasks.datetime_extraction.day_steps import resolve_dates
from tasks.datetime_extraction.days import Day
from tasks.datetime_extraction.languages import LANGUAGES, NUMERIC
from tasks.datetime_extraction.meaning import Lang, Meaning, Setting
from tasks.datetime_extraction.past import fill
from tasks.datetime_extraction.splits import Menu, Pair, phrases
from tasks.datetime_extraction.zones import ZONES

CLOCK_FIRST = 0.2
# Days that can be taken back, refused or offered beside another.
OTHER_DAYS = (
    "tomorrow",
    "day_after_tomorrow",
    "weekday",
    "weekday",
    "in_days",
    "day_of_month",
    "day_month",
    "weekday_next_week",
)
OTHER_CLOCKS = ("bare_hour", "hh_mm", "hour_part", "hour_24", "half_past")


class Built(NamedTuple):
    """A meaning with its words. group: what a split keeps together."""

    meaning: Meaning
    text: str
    group: str


class Draw(NamedTuple):
    """What a builder draws from."""

    rng: Random
    lang: Lang
    setting: Setting
    menu: Menu
    split: str


class _Phrase(NamedTuple):
    day: Day
    clock: Clock
    day_text: str
    clock_text: str
    nominal: bool
    group: str

    def said(self, rng: Random) -> str:
        if not self.clock_text or not self.day_text:
            return self.day_text or self.clock_text
        turns = not self.nominal and together.can_turn(self.day_text, self.clock, self.clock_text)
        if turns and rng.random() < CLOCK_FIRST:
            return f"{self.clock_text} {self.day_text}"
        return f"{self.day_text} {self.clock_text}"


def _day(d: Draw, kind: str) -> Day | None:
    day = day_kinds.SAMPLERS[kind](d.rng, d.setting.today)
    if day is not None and kind == "holiday" and day.n not in LANGUAGES[d.lang].holidays:
        return None
    return day


def _day_text(d: Draw, day: Day, pair: Pair) -> str:
    # Under a prompt that puts the day first, an English speaker is taken to write so.
    if d.lang == "en" and day.kind in NUMERIC and d.setting.policy.day_first:
        day = day._replace(day=day.month, month=day.day)
    return pair.day.write(day)


def _phrase(d: Draw) -> _Phrase | None:
    menu = d.menu
    kind = menu.days[int(d.rng.random() * len(menu.days))]
    choices = menu.choices[kind]
    choice = choices[int(d.rng.random() * len(choices))]
    pair = choice.pairs[int(d.rng.random() * len(choice.pairs))]
    day = _day(d, kind)
    if day is None:
        return None
    clock = clock_kinds.SAMPLERS[choice.clock](d.rng, d.lang)
    day_text, clock_text = _day_text(d, day, pair), pair.clock(clock)
    if together.go_on(kind, clock_text):
        return None
    if kind == "weekday_date_conflict" and not clock_text and together.is_like_a_clock(day_text):
        return None  # «во вторник, 14.10», when the 14th is no Tuesday
    return _Phrase(day, clock, day_text, clock_text, pair.day.nominal, pair.group)


def _other_day(d: Draw, than: Day) -> tuple[Day, str] | None:
    """Another day with its words, or None when it falls on the same date."""
    kind = pick(OTHER_DAYS, d.rng)
    day = _day(d, kind)
    if day is None:
        return None
    if than.kind not in day_kinds.RELATIVE and than.kind != day_kinds.NO_DAY:
        ours, theirs = resolve_dates(day, d.setting), resolve_dates(than, d.setting)
        if not isinstance(ours, str) and not isinstance(theirs, str) and ours[0].date in {then.date for then in theirs}:
            return None
    forms = [said for said in LANGUAGES[d.lang].days[kind] if not said.nominal]
    return day, forms[int(d.rng.random() * len(forms))].write(day)


def _other_clock(d: Draw, than: Clock) -> tuple[Clock, str] | None:
    """Another clock with its words, or None when it may be the same time."""
    kind = pick(OTHER_CLOCKS, d.rng)
    clock = clock_kinds.SAMPLERS[kind](d.rng, d.lang)
    keeps_part = kind == "hour_part" and than.kind not in clock_kinds.FIXED  # «в 8 вечера, точнее в 9»
    if keeps_part or together.same_time(clock, than, d.lang, d.setting.policy):
        return None
    forms = LANGUAGES[d.lang].clocks[kind]
    return clock, forms[int(d.rng.random() * len(forms))](clock)


def _built(d: Draw, talk: str, phrase: _Phrase, text: str, reason: str = "") -> Built:
    return Built(Meaning(d.lang, talk, phrase.day, phrase.clock, None, reason), text, phrase.group)


def _plain(d: Draw) -> Built | None:
    phrase = _phrase(d)
    if phrase is None:
        return None
    text = pick(together.frames_with(phrase.day_text, phrase.nominal, d.lang), d.rng).replace("{}", phrase.said(d.rng))
    return None if together.says_twice(text) else _built(d, "plain", phrase, text)


def _zoned(d: Draw) -> Built | None:
    phrase = _phrase(d)
    if (
        phrase is None
        or phrase.clock.kind not in ZONED
        or phrase.day.kind in ("today", day_kinds.NO_DAY, "same_weekday")
    ):
        return None
    n = int(d.rng.random() * len(ZONES))
    names = ZONES[n].ru if d.lang == "ru" else ZONES[n].en
    said = phrase._replace(clock_text=f"{phrase.clock_text} {pick(names, d.rng)}").said(d.rng)
    frame = pick(together.frames_with(phrase.day_text, phrase.nominal, d.lang), d.rng)
    built = _built(d, "other_time_zone", phrase, frame.replace("{}", said))
    return built._replace(meaning=built.meaning._replace(zone=n))


def _pair_of(d: Draw, talk: str, frames: tuple[str, ...], with_clock: float, reason: str = "") -> Built | None:
    """A frame with {a}, another day, and {b}, the phrase of the menu."""
    phrase = _phrase(d)
    if phrase is None or phrase.nominal or not phrase.day_text:
        return None
    other = _other_day(d, phrase.day)
    if other is None or together.leans(phrase.day, phrase.day_text, other[0], d.lang, d.setting):
        return None
    said = other[1]
    if talk == "correction" and not phrase.clock_text and together.is_like_a_clock(phrase.day_text):
        return None  # «в пятницу, точнее 21.05»
    if talk == "negation" and (phrase.day_text.startswith(together.REFUSALS) or not together.refusable(said, d.lang)):
        return None
    whole = phrase.clock_text or phrase.day.kind in day_kinds.RELATIVE  # else the time that is taken back would stay
    if whole and d.rng.random() < with_clock:
        clock = _other_clock(d, phrase.clock)
        if clock is None or together.go_on(other[0].kind, clock[1]):
            return None
        said = f"{said} {clock[1]}"
    text = pick(together.frames_for(frames, said), d.rng).replace("{a}", said).replace("{b}", phrase.said(d.rng))
    return None if together.says_twice(text) else _built(d, talk, phrase, text, reason)


def _correction(d: Draw) -> Built | None:
    return _pair_of(d, "correction", LANGUAGES[d.lang].talk.CORRECTIONS, 0.5)


def _negation(d: Draw) -> Built | None:
    return _pair_of(d, "negation", LANGUAGES[d.lang].talk.NEGATIONS, 0.0)


def _alternatives(d: Draw) -> Built | None:
    if d.rng.random() < 0.35:
        return _of_times(
            d,
            "alternatives",
            ("{day} {a} или {b}", "{day} {a} либо {b}") if d.lang == "ru" else ("{day} {a} or {b}",),
            "two times, no choice",
        )
    return _pair_of(d, "alternatives", LANGUAGES[d.lang].talk.ALTERNATIVES, 0.3, "two days, no choice")


def _of_times(d: Draw, talk: str, frames: tuple[str, ...], reason: str = "") -> Built | None:
    """A frame with {day} and two clock times, {a} and then {b}, that of the menu."""
    phrase = _phrase(d)
    if phrase is None or not phrase.day_text or not phrase.clock_text or phrase.clock.kind in ("day_part", "lunch"):
        return None
    other = _other_clock(d, phrase.clock)
    if other is None or together.go_on(phrase.day.kind, other[1]):
        return None
    first, said = other
    if talk == "correction_time" and together.keeps_evening(
        first, phrase.clock, phrase.clock_text, d.lang, d.setting.policy
    ):
        return None
    text = pick(frames, d.rng).replace("{day}", phrase.day_text).replace("{a}", said).replace("{b}", phrase.clock_text)
    return _built(d, talk, phrase, text, reason)


def _correction_of_time(d: Draw) -> Built | None:
    return _of_times(d, "correction_time", LANGUAGES[d.lang].talk.CORRECTIONS_OF_TIME)


def _correction_of_day(d: Draw) -> Built | None:
    phrase = _phrase(d)
    if phrase is None or phrase.nominal or not phrase.day_text or not phrase.clock_text:
        return None
    other = _other_day(d, phrase.day)
    if other is None or together.leans(phrase.day, phrase.day_text, other[0], d.lang, d.setting):
        return None
    if together.go_on(other[0].kind, phrase.clock_text):
        return None
    every = LANGUAGES[d.lang].talk.CORRECTIONS_OF_DAY
    frames = together.frames_of_day(every, other[1], phrase.clock, phrase.clock_text, phrase.day_text)
    if not frames:
        return None
    frame = pick(frames, d.rng).replace("{a}", other[1])
    text = frame.replace("{b}", phrase.day_text).replace("{clock}", phrase.clock_text)
    return _built(d, "correction_day", phrase, text)


def _exclusion(d: Draw) -> Built | None:
    phrase = _phrase(d)
    if phrase is None or phrase.nominal or not phrase.day_text or phrase.day.kind == "invalid_date":
        return None
    said = phrase.day_text
    if not together.refusable(said, d.lang):
        return None
    text = pick(together.frames_for(LANGUAGES[d.lang].talk.EXCLUSIONS, said), d.rng).replace("{a}", said)
    return _built(d, "exclusion", phrase._replace(clock=Clock("no_time")), text, "only what doesn't suit")


def _unsaid(d: Draw, talk: str, name: str, reason: str) -> Built:
    phrase = pick(phrases(d.lang, name, d.split), d.rng)
    return Built(Meaning(d.lang, talk, Day(talk), Clock("no_time"), None, reason), phrase, f"{d.lang}/{name}/{phrase}")


def _no_answer(d: Draw) -> Built:
    return _unsaid(d, "no_answer", "NO_ANSWER", "no date given")


def _window(d: Draw) -> Built:
    built = _unsaid(d, "window", "WINDOWS", "a window, no single moment")
    return built._replace(
        text=pick(LANGUAGES[d.lang].talk.WITH_A, d.rng) + fill(built.text, d.rng, d.lang, d.setting.today)
    )


def _past(d: Draw) -> Built:
    built = _unsaid(d, "past", "PAST", "that day is past")
    text = fill(built.text, d.rng, d.lang, d.setting.today)
    if d.rng.random() < 0.5 and (clock := _other_clock(d, built.meaning.clock)) is not None:
        text = f"{text} {clock[1]}"
    return built._replace(text=text)


# kind of talk -> (weight, builder). `plain` has the days and clocks for phenomena.
KINDS: dict[str, tuple[int, Callable[[Draw], Built | None]]] = {
    "plain": (60, _plain),
    "other_time_zone": (4, _zoned),
    "correction": (7, _correction),
    "correction_time": (4, _correction_of_time),
    "correction_day": (3, _correction_of_day),
    "negation": (5, _negation),
    "exclusion": (3, _exclusion),
    "alternatives": (4, _alternatives),
    "no_answer": (4, _no_answer),
    "window": (4, _window),
    "past": (3, _past),
}
WITHOUT_PAIR = frozenset({"no_answer", "window", "past"})
_WEIGHTED = tuple(kind for kind, (weight, _) in KINDS.items() for _ in range(weight))


def draw_kind(rng: Random) -> str:
    """A kind of talk by its weight."""
    return _WEIGHTED[int(rng.random() * len(_WEIGHTED))]
