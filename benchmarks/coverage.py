"""Which phenomena does each public row consist of, and which rows does the grammar lack?

    python -m benchmarks.coverage --data ../shared/data --missing

The grammar's own forms, written out many times with figures masked, make a phrasebook. A row is covered when phrases of
the book and words that say nothing about time make it up. Rows count that some parser gets right; holidays with moving
dates, which the policy leaves out, don't.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from random import Random

from benchmarks.public_rows import Row, installed, peer_answers, read_rows
from rewards.core import UserError
from tasks.datetime_extraction import clock_kinds, day_kinds, english, past, ru_words, russian
from tasks.datetime_extraction.languages import LANGUAGES
from tasks.datetime_extraction.meaning import Lang
from tasks.datetime_extraction.noise import MISSPELLED
from tasks.datetime_extraction.public import normalized
from tasks.datetime_extraction.talk import WITHOUT_PAIR
from toolkit.ending import exit_code

DRAWS = 1500
LONGEST = 12  # words of a phrase
MOVING = re.compile(
    r"thanksgiving|easter|boss|mlk|martin luther|vegan|maundy|covenant|whit |holy spirit|palm|branch|mardi|orthodox|"
    r"lazarus|"
    r"chinese|yom|atzeret|torah|tisha|omer|mawlid|eid|sacrifice|measures|qadr|ashura|bishvat|jum|jamat|ascension|dhan|kali|"
    r"diwali|deepavali|dooj|shashthi|dussehra|vijaya|karva|ratha|mahavir|pongal|sankran|maghi|onam|thiruv|holi|kamudu|"
    r"phagwah|navroz|parsi|vesak|vaisakha|buddha|guru|koningsdag|king's|rabindra|valmiki|diwas|ganesh|navami|ugadi|samvat|"
    r"chaitra|ides|black friday",
    re.IGNORECASE,
)
_RU_FUNCTION = (
    *("в", "во", "на", "к", "ко", "с", "до", "и", "а", "не", "же", "то", "по", "г", "года", "у", "за", "от", "о"),
)
_EN_FUNCTION = (
    *("the", "a", "an", "on", "at", "in", "of", "for", "to", "by", "and", "is", "i", "it", "or", "from", "s", "this"),
)
# Words of the grammar's frames that don't speak of time.
_IDLE = (
    *(
        "be",
        "will",
        "we",
        "me",
        "my",
        "let",
        "ll",
        "go",
        "back",
        "do",
        "you",
        "what",
        "are",
        "so",
        "call",
        "make",
        "but",
    ),
)
_FUNCTION = frozenset((*_RU_FUNCTION, *_EN_FUNCTION, *_IDLE))
_MASK = re.compile(r"\d+")


def masked(text: str) -> tuple[str, ...]:
    """Words with figures as #: «в 18:30» and «в 7.05» are the same phrase."""
    return tuple(_MASK.sub("#", normalized(text)).split())


@cache
def phrasebook(lang: Lang) -> dict[tuple[str, ...], str]:
    """Every phrase of the grammar, masked, with the kind of day or clock that it says."""
    book: dict[tuple[str, ...], str] = {}
    for kind, phrase in _phrases(lang):
        words = masked(phrase)
        for start in range(min(3, len(words))):
            if all(word in _FUNCTION for word in words[:start]) and any(
                word not in _FUNCTION for word in words[start:]
            ):
                book.setdefault(words[start:], kind)
    return book


def _phrases(lang: Lang) -> Iterator[tuple[str, str]]:
    rng, language = Random(0), LANGUAGES[lang]
    for kind, said in language.days.items():
        for _ in range(DRAWS):
            day = day_kinds.SAMPLERS[kind](rng, date.fromordinal(date(2024, 1, 1).toordinal() + rng.randrange(700)))
            if day is not None and (kind != "holiday" or day.n in language.holidays):
                yield from ((kind, form.write(day)) for form in said)
    for clock_kind, forms in language.clocks.items():
        for _ in range(DRAWS):
            clock = clock_kinds.SAMPLERS[clock_kind](rng, lang)
            yield from ((clock_kind, form(clock)) for form in forms)
    for kind, name in (("past", "PAST"), ("window", "WINDOWS"), ("no_answer", "NO_ANSWER")):
        for phrase in getattr(language.talk, name):
            for _ in range(30 if "{" in phrase else 1):
                yield kind, past.fill(phrase, rng, lang, date(2025, 1, 17)) if "{" in phrase else phrase


@cache
def vocabulary(lang: Lang) -> frozenset[str]:
    """The words that say something about time: left over, they make a row uncovered."""
    names = (
        (russian.MONTHS, ru_words.WEEKDAY, ru_words.MONTHS_SHORT)
        if lang == "ru"
        else (english.MONTHS, english.WEEKDAYS)
    )
    known = {
        word for phrase, kind in phrasebook(lang).items() if kind not in WITHOUT_PAIR for word in phrase
    } - _FUNCTION
    return frozenset(known | {name.lower() for table in names for name in table} | {"#"})


def spelled(text: str) -> str:
    """The text with the misspellings that the task makes put right."""
    for right, wrong in MISSPELLED.items():
        for variant in wrong:
            text = re.sub(rf"\b{re.escape(variant)}\b", right, text, flags=re.IGNORECASE)
    return text


def phenomena(row: Row) -> list[str] | None:
    """The kinds that make up the row, or None when the grammar lacks something in it."""
    lang: Lang = "ru" if row.lang == "ru" else "en"
    for text in (row.text, spelled(row.text)):
        found = _segment(masked(text), lang)
        if found:
            return found
    return None


def _segment(words: tuple[str, ...], lang: Lang) -> list[str] | None:
    """Dynamic programming from the left: the fewest phrases that leave no word about time over."""
    book, about_time = phrasebook(lang), vocabulary(lang)
    best: list[list[str] | None] = [[], *([None] * len(words))]
    for end in range(1, len(words) + 1):
        options = []
        before = best[end - 1]
        if before is not None and words[end - 1] not in about_time and "#" not in words[end - 1]:
            options.append(before)
        for start in range(max(0, end - LONGEST), end):
            kinds, kind = best[start], book.get(words[start:end])
            if kinds is not None and kind is not None:
                options.append([*kinds, kind])
        best[end] = min(options, key=len, default=None)
    return best[-1] or None


def main() -> None:
    """Print the coverage of each language, and with --missing the rows that the grammar lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--missing", action="store_true", help="list the rows that the grammar lacks")
    parser.add_argument("--rows", action="store_true", help="list every row with its phenomena")
    chosen = parser.parse_args()
    parsers = installed()
    if not parsers:
        raise UserError("coverage is of the rows that a parser gets right, and none is here: pip install -e '.[peers]'")
    rows = read_rows(chosen.data)
    right = [any(hits) for hits in zip(*(peer_answers(name, rows) for name in parsers), strict=True)]
    for lang in ("ru", "en"):
        ours = [
            row
            for row, hit in zip(rows, right, strict=True)
            if hit and row.lang == lang and not MOVING.search(row.text)
        ]
        found = {row.id: phenomena(row) for row in ours}
        covered = sum(kinds is not None for kinds in found.values())
        share = 100 * covered / max(1, len(ours))
        print(f"{lang}: {covered} of {len(ours)} rows that a parser gets right are covered, {share:.1f}%")
        for row in ours:
            kinds = found[row.id]
            if (chosen.missing and kinds is None) or chosen.rows:
                print(f"  {row.text!r}: {' + '.join(kinds) if kinds else 'lacking'}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
