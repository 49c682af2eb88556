"""The slots of phrases that name no moment: windows («в начале марта») and days gone by («3 дня назад»)."""

from __future__ import annotations

from datetime import date
from random import Random

from tasks.datetime_extraction import english, ru_talk, ru_words, russian
from tasks.datetime_extraction.meaning import Lang


def fill(text: str, rng: Random, lang: Lang, today: date) -> str:
    """The phrase with its slots filled, if any. A year is of the twenty before today's, mostly of the last three."""
    if "{" not in text:
        return text
    n, month, weekday = 2 + int(rng.random() * 8), int(rng.random() * 12), int(rng.random() * 7)
    slots: dict[str, str | int] = {
        "n": n,
        "month": month + 1,
        "day": 4 + int(rng.random() * 17),
        "year": today.year - 1 - int(20 * rng.random() ** 3),
    }
    if lang == "ru":
        slots |= {"days": ru_words.plural(n, "день", "дня", "дней"), "last": ru_talk.LAST[weekday]}
        slots |= {"month_gen": russian.MONTHS[month], "month_in": ru_words.MONTHS_IN[month]}
        slots["weekday"] = russian.ON_WEEKDAY[weekday]
    else:
        slots["weekday"], slots["month_name"] = english.WEEKDAYS[weekday], english.MONTHS[month]
        if "{month}/" not in text:
            slots["month"] = english.MONTHS[month]
    return text.format(**slots)
