"""How the setting of an example is drawn: the day, the current time, the offset, and the stated policy."""

from __future__ import annotations

from random import Random
from typing import Any

from tasks.base import Split
from tasks.datetime_extraction.meaning import Lang, Policy, Setting
from tasks.datetime_extraction.splits import todays

OFFSETS = (0, 0, 60, 120, 240, 300, 330, 420, 480, 540, 600, -180, -240, -300, -360, -420, -480)
FIELDS = ("default_hour", "parts", "afternoon", "following", "day_first")
WITH_NOW, WITH_POLICY, AT_MOSCOW = 0.55, 0.5, 0.5
# Of current times, the share from all 24 hours: a model that hardly meets the night takes an hour ahead for past.
ANY_TIME: dict[Split, float] = {"train": 0.35, "validation": 0.1, "test": 0.1}


def draw_setting(rng: Random, lang: Lang, split: Split) -> Setting:
    """One setting. Half of the prompts state some policy, and half of what they state isn't the default."""
    days = todays(split)
    today = days[int(rng.random() * len(days))]
    now = draw_now(rng, split) if rng.random() < WITH_NOW else None
    offset = 180 if rng.random() < AT_MOSCOW else OFFSETS[int(rng.random() * len(OFFSETS))]
    if rng.random() >= WITH_POLICY:
        return Setting(today, now, offset)
    policy, stated = _policy(rng, lang)
    return Setting(today, now, offset, policy, stated)


def draw_now(rng: Random, split: Split) -> int:
    """A time of day, mostly when people are awake."""
    if rng.random() < ANY_TIME[split]:
        return int(rng.random() * 1440)
    return 420 + int(rng.random() * 930)


def _policy(rng: Random, lang: Lang) -> tuple[Policy, tuple[str, ...]]:
    values: dict[str, Any] = {}
    for _ in range(1 + int(rng.random() * 3)):
        field = FIELDS[int(rng.random() * len(FIELDS))]
        values[field] = draw_value(rng, field, lang)
    return Policy(**values), tuple(field for field in FIELDS if field in values)


def draw_value(rng: Random, field: str, lang: Lang) -> Any:
    """A value for one point of policy; the default is among them."""
    if field == "default_hour":
        return 8 + int(rng.random() * 11)
    if field == "parts":
        return tuple(low + int(rng.random() * span) for low, span in ((7, 4), (12, 4), (17, 4), (21, 3)))
    if field == "afternoon":
        return (0, 0, 5, 6, 7, 8, 9)[int(rng.random() * 7)]
    if field == "following":
        return "week" if rng.random() < 0.5 else "nearest"
    return True if lang == "ru" else rng.random() < 0.5
