"""The form of the answer that every prompt states, and the plain task's short prompt; the others are in wording.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from rewards.core import Message
from rewards.response import ANSWER_CLOSE, ANSWER_OPEN, REASONING_CLOSE, REASONING_OPEN
from tasks.datetime_extraction.english import MONTHS, WEEKDAYS

OFFSET = "+03:00"
FORM = f"YYYY-MM-DDTHH:NN:SS{OFFSET}"
RESPONSE_FORM = f"{REASONING_OPEN}…{REASONING_CLOSE}{ANSWER_OPEN}…{ANSWER_CLOSE}"

Prompt = Callable[[str, str, date], tuple[Message, ...]]
"""(lang, text, today) -> the conversation that asks for the moment that `text` names."""


def long_date(today: date) -> str:
    """`Friday, 17 January 2025`, as the seed writes today, in both languages."""
    # Not strftime: it follows the locale of the process.
    return f"{WEEKDAYS[today.weekday()]}, {today.day} {MONTHS[today.month - 1]} {today.year}"


_SHORT_SYSTEM = {
    "ru": f"Сегодня {{today}}. {REASONING_OPEN}…{REASONING_CLOSE}{ANSWER_OPEN}{FORM} | none{ANSWER_CLOSE}",
    "en": f"Today is {{today}}. {REASONING_OPEN}…{REASONING_CLOSE}{ANSWER_OPEN}{FORM} | none{ANSWER_CLOSE}",
}


def short_prompt(lang: str, text: str, today: date) -> tuple[Message, ...]:
    """The least that states the problem: about 60 tokens, where the seed's wording takes about 250."""
    return (
        {"role": "system", "content": _SHORT_SYSTEM[lang].format(today=long_date(today))},
        {"role": "user", "content": text},
    )
