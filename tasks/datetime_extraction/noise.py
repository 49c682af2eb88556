"""What typing and speech recognition do to an answer. The meaning survives: numerals and short words are left alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from tasks.datetime_extraction.meaning import Lang

# Spellings that people do write. A word takes one of its own; none of them is another word of the grammar.
MISSPELLED: dict[str, tuple[str, ...]] = {
    "сегодня": ("севодня", "сегодны", "сиводня"),
    "завтра": ("завтро", "зафтра", "завтр"),
    "послезавтра": ("после завтра", "послезавтро", "послезафтра", "посезавтра"),
    "понедельник": ("понидельник", "панедельник", "понедельнек", "понедльник", "понеделник"),
    "вторник": ("фторник", "вторнек", "втоник", "вторинк"),
    "среду": ("сриду", "срреду", "сераду"),
    "четверг": ("читверг", "четверк", "четвер", "чеверг"),
    "пятницу": ("пятницк", "питницу", "пятнцу", "пятницуу"),
    "субботу": ("суботу", "суботу", "суббоу", "сабботу"),
    "воскресенье": ("воскресение", "васкресенье", "воскресеье", "воскрсенье"),
    "следующей": ("следущей", "следуюшей", "след"),
    "следующую": ("следущую", "следуюшую", "след"),
    "следующий": ("следущий", "следуюший", "след"),
    "следующего": ("следущего", "следуюшего"),
    "неделе": ("недели", "ниделе", "недле"),
    "неделю": ("ниделю", "нделю"),
    "часов": ("чисов", "часв", "чсов"),
    "вечера": ("вечира", "вечерв", "вичера"),
    "вечером": ("вечиром", "вечром", "вечерм"),
    "утром": ("утрам", "утом", "утрм"),
    "через": ("черес", "чрез", "чериз"),
    "половине": ("палавине", "половене"),
    "четверти": ("читверти", "четвирти"),
    "января": ("янворя", "инваря"),
    "февраля": ("феврля", "фивраля"),
    "апреля": ("опреля", "апрля"),
    "августа": ("авгутса", "овгуста"),
    "сентября": ("сентебря", "синтября"),
    "октября": ("актября", "октебря"),
    "ноября": ("наября", "нояюря"),
    "декабря": ("дикабря", "декобря"),
    "пожалуйста": ("пожалуста", "пожалста", "плиз"),
    "today": ("todya", "2day", "tody"),
    "tomorrow": ("tomorow", "tommorow", "tommorrow", "tmrw", "2moro", "tomoro"),
    "monday": ("mondy", "munday", "monady"),
    "tuesday": ("tuseday", "teusday", "tusday", "tuesdy"),
    "wednesday": ("wensday", "wendsday", "wednsday", "wedensday"),
    "thursday": ("thrusday", "thurday", "thursdy", "thirsday"),
    "friday": ("firday", "fryday", "frday", "fridya"),
    "saturday": ("saterday", "satruday", "saturdy"),
    "sunday": ("sundy", "suday", "sunady"),
    "next": ("nxt", "nex"),
    "week": ("wek", "weeek"),
    "morning": ("mornin", "moring"),
    "afternoon": ("afernoon", "aftrnoon"),
    "evening": ("evning", "evenin"),
    "january": ("janury", "jannuary"),
    "february": ("febuary", "feburary"),
    "april": ("aprli", "apirl"),
    "august": ("agust", "augst"),
    "september": ("septmber", "setpember"),
    "october": ("octobr", "ocotber"),
    "november": ("novmber", "novembr"),
    "december": ("decmber", "decembr"),
    "please": ("pls", "plz", "pleas"),
    "quarter": ("quater", "qarter"),
}
_WORD = re.compile("|".join(rf"\b{word}\b" for word in sorted(MISSPELLED, key=len, reverse=True)), re.IGNORECASE)
# Marks inside a number are part of it: 18:30, 05.03, 3/4, 18-30; so is a dash between digits.
_PUNCTUATION = re.compile(r"(?<!\d)[.,!?…—;]+|[,!?…—;](?!\d)|\.(?=\s|$)|(?<=\D)-(?=\s)")
_SPACES = re.compile(r"\s+")


def _typos(text: str, rng: Random, lang: Lang) -> str:
    def replace(match: re.Match[str]) -> str:
        forms = MISSPELLED[match.group().lower()]
        return forms[int(rng.random() * len(forms))]

    return _WORD.sub(replace, text)


def _slips(text: str, rng: Random, lang: Lang) -> str:
    """Two neighbouring letters swapped in one long word that isn't a numeral."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 6 and word.isalpha() and not _NUMERAL.search(word.lower())]
    if not long:
        return _typos(text, rng, lang)
    i = long[int(rng.random() * len(long))]
    word, at = words[i], 2 + int(rng.random() * (len(words[i]) - 4))
    words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


_NUMERAL = re.compile(
    "надцат|дцат|десят|сорок|перв|втор|трет|четв|пят|шест|седьм|восьм|девят|полов|пол|вчера|завтра|teen|ty|th|sec|first|day"
)


def _lower(text: str, rng: Random, lang: Lang) -> str:
    return text.lower()


def _bare(text: str, rng: Random, lang: Lang) -> str:
    """As speech recognition writes: lower case, no punctuation."""
    return _SPACES.sub(" ", _PUNCTUATION.sub(" ", text.lower())).strip()


def _bare_typos(text: str, rng: Random, lang: Lang) -> str:
    return _typos(_bare(text, rng, lang), rng, lang)


Noise = Callable[[str, Random, Lang], str]
KINDS: dict[str, Noise] = {
    "lower_case": _lower,
    "no_punctuation": _bare,
    "misspelled": _typos,
    "swapped_letters": _slips,
    "speech": _bare_typos,
}
_NAMES = tuple(KINDS)
WITHOUT_YO = 0.6  # most people write е for ё
NOISY = 0.4  # the share of answers that are not spelled as the forms are


def spoil(text: str, rng: Random, lang: Lang) -> tuple[str, str]:
    """The text with one kind of noise or none, and the kind's name. A kind that changes nothing is named `clean`."""
    if lang == "ru" and rng.random() < WITHOUT_YO:
        text = text.replace("ё", "е")
    if rng.random() >= NOISY:
        return text, "clean"
    name = _NAMES[int(rng.random() * len(_NAMES))]
    noisy = KINDS[name](text, rng, lang)
    return (noisy, name) if noisy != text else (text, "clean")
