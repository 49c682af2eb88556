"""The generator of the deep task: a meaning, its words, what stands around them, the gold and the prompt.

Example i of a split depends on (split, seed, i) only. A draw that would be ambiguous beyond the policy, or whose words
are those of a public row, is drawn again from the same stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from rewards.core import Example
from rewards.datetimes import NONE
from tasks.base import SPLITS, Split
from tasks.datetime_extraction import day_kinds, settings
from tasks.datetime_extraction.around import surround
from tasks.datetime_extraction.gold import solve
from tasks.datetime_extraction.languages import LANGUAGES
from tasks.datetime_extraction.meaning import LANGS, Gold, Lang, Meaning, Setting, offset_text
from tasks.datetime_extraction.noise import spoil
from tasks.datetime_extraction.public import is_public
from tasks.datetime_extraction.splits import menus
from tasks.datetime_extraction.talk import KINDS, WITHOUT_PAIR, Built, Draw, draw_kind
from tasks.datetime_extraction.wording import clock_face, worded

HELD_OUT = 0.3  # the share of test answers with a pair of phenomena that training lacks
KEEP_NOW_UNKNOWN = 0.25  # of answers that need the current time, the share that doesn't get it: none


class Drawn(NamedTuple):
    """One answer before it is put into a prompt."""

    setting: Setting
    built: Built
    gold: Gold
    text: str
    around: str
    noise: str
    held_out: str


def generate(split: Split, n: int, seed: int) -> Iterator[Example]:
    """n examples of a split, half of them in each language."""
    return generate_from(split, 0, n, seed)


def generate_from(split: Split, start: int, n: int, seed: int) -> Iterator[Example]:
    """The same from the start-th example on."""
    offset = (seed * len(SPLITS) + SPLITS.index(split)) << 40  # room for 2**40 examples before two streams meet
    rng = Random()
    for i in range(start, start + n):
        rng.seed(offset + i)
        yield example_of(draw(rng, split), rng, f"{split}-{seed}-{i}")


def draw(rng: Random, split: Split) -> Drawn:
    """One answer with its gold. Draws until it makes sense, which takes under two tries on average."""
    lang = LANGS[int(rng.random() * 2)]
    kind = draw_kind(rng)
    held_out = split == "test" and kind not in WITHOUT_PAIR and rng.random() < HELD_OUT
    menu = menus(lang)["held_out" if held_out else split]
    while True:
        setting = settings.draw_setting(rng, lang, split)
        built = KINDS[kind][1](Draw(rng, lang, setting, menu, split))
        if built is None:
            continue
        setting = _with_time(rng, setting, built.meaning, split)
        gold = solve(built.meaning, setting)
        if gold is None:
            continue
        text, around = surround(built.text, rng, LANGUAGES[lang].around)
        if rng.random() < 0.5:
            text = text[0].upper() + text[1:]
        text, noise = spoil(text, rng, lang)
        if not is_public(text):
            name = "pair" if held_out else "phrase" if kind in WITHOUT_PAIR else "forms"
            return Drawn(setting, built, gold, text, around, noise, name if split == "test" else "no")


def _with_time(rng: Random, setting: Setting, meaning: Meaning, split: Split) -> Setting:
    """Some meanings say nothing without the current time."""
    if setting.now is not None or meaning.reason:
        return setting
    kind = meaning.day.kind
    needs = kind in day_kinds.RELATIVE and rng.random() >= KEEP_NOW_UNKNOWN
    if needs or (kind == "same_weekday" and meaning.clock.kind != "no_time"):
        return setting._replace(now=settings.draw_now(rng, split))
    return setting


def phenomenon_of(meaning: Meaning, setting: Setting, gold: Gold) -> str:
    """The name under which tables count an example: how it was put, if that is the point; else the day."""
    if meaning.talk != "plain":
        return meaning.talk
    day = meaning.day.kind
    if gold.answers == (NONE,) and day in day_kinds.RELATIVE:
        return "relative_without_time"
    if gold.answers == (NONE,) and day in ("today", day_kinds.PART_OF_TODAY):
        return "passed_today"
    return "clock_alone" if day == day_kinds.NO_DAY else day


def example_of(drawn: Drawn, rng: Random, example_id: str) -> Example:
    """The drawn answer under a prompt; rng chooses the wording."""
    setting, meaning = drawn.setting, drawn.built.meaning
    lang: Lang = meaning.lang
    family, messages = worded(rng, lang, drawn.text, setting)
    return Example(
        id=example_id,
        messages=messages,
        answers=drawn.gold.answers,
        reasoning=drawn.gold.reasoning,
        tags={
            "lang": lang,
            "phenomenon": phenomenon_of(meaning, setting, drawn.gold),
            "day": meaning.day.kind,
            "clock": meaning.clock.kind,
            "talk": meaning.talk,
            "around": drawn.around,
            "noise": drawn.noise,
            "prompt": family,
            "policy": "+".join(setting.stated) or "unstated",
            "answer": "none" if drawn.gold.answers[0] == NONE else "moment" if len(drawn.gold.answers) == 1 else "set",
            "held_out": drawn.held_out,
        },
        group=drawn.built.group,
        context={
            "text": drawn.text,
            "today": setting.today.isoformat(),
            "now": None if setting.now is None else clock_face(setting.now),
            "offset": offset_text(setting.offset),
        },
    )
