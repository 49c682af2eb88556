"""English numerals, ordinals and short names."""

from __future__ import annotations

_UNITS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}

MONTHS_SHORT = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec")
WEEKDAYS_SHORT = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
NTH = ("first", "second", "third", "fourth", "last")


def number(n: int) -> str:
    """`twenty-five`, for 1-99."""
    if 10 <= n < 20:
        return _TEENS[n - 10]
    tens, unit = _TENS[n // 10], _UNITS[n % 10]
    return f"{tens}-{unit}" if tens and unit else tens or unit


def _ordinal(n: int) -> str:
    if n > 20 and n % 10:
        return f"{_TENS[n // 10]}-{_ordinal(n % 10)}"
    word = number(n)
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    return f"{word[:-1]}ieth" if word.endswith("y") else f"{word.replace('twelve', 'twelf')}th"


NUMBER = ("zero", *(number(n) for n in range(1, 100)))
ORDINAL = ("", *(_ordinal(n) for n in range(1, 32)))


def count(n: int, noun: str) -> str:
    """`a week`, `2 weeks`."""
    article = "an" if noun == "hour" else "a"
    return f"{article} {noun}" if n == 1 else f"{n} {noun}s"


def count_words(n: int, noun: str) -> str:
    """`one week`, `two weeks`."""
    return f"{NUMBER[n]} {noun}{'' if n == 1 else 's'}"


def apart(word: str) -> str:
    """`twenty five`: as speech recognition writes a number, without its hyphen."""
    return word.replace("-", " ")
