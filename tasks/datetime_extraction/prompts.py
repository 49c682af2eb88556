"""How the question is put to the model: the seed's wording, and a short one for small budgets.

Both state today (weekday and date), the form of the answer with its offset, and that `none` is an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from rewards.core import Message
from rewards.response import ANSWER_CLOSE, ANSWER_OPEN, REASONING_CLOSE, REASONING_OPEN

OFFSET = "+03:00"
FORM = f"YYYY-MM-DDTHH:NN:SS{OFFSET}"
RESPONSE_FORM = f"{REASONING_OPEN}…{REASONING_CLOSE}{ANSWER_OPEN}…{ANSWER_CLOSE}"

# strftime would follow the process's locale; the seed's prompts name days and months in English in both languages.
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

Prompt = Callable[[str, str, date], tuple[Message, ...]]
"""(lang, text, today) -> the conversation that asks for the moment that `text` names."""


def long_date(today: date) -> str:
    """`Friday, 17 January 2025`, as the seed writes today."""
    return f"{_WEEKDAYS[today.weekday()]}, {today.day} {_MONTHS[today.month - 1]} {today.year}"


_SEED_SYSTEM = {
    "ru": (
        "Ты ассистент, который хорошо умеет определять дату.\n"
        f'Выдавай ответ в формате "{FORM}" (NN — минуты); если даты нет — none. '
        f"Сначала рассуждение, потом ответ: {RESPONSE_FORM}. Сегодня {{today}}.\n"
    ),
    "en": (
        "You are an assistant that is good at finding dates.\n"
        f'Answer in the format "{FORM}" (NN are minutes), or none if there is no date. '
        f"First the reasoning, then the answer: {RESPONSE_FORM}. Today is {{today}}.\n"
    ),
}
_SEED_USER = {
    "ru": (
        "Вопрос: Назовите голосом или напишите удобную для вас дату и время записи.\n"
        "Ответ пользователя: {text}\nОтвет ассистента:"
    ),
    "en": (
        "Question: Say or write a date and time for your appointment that suits you.\n"
        "User's answer: {text}\nAssistant's answer:"
    ),
}


def seed_prompt(lang: str, text: str, today: date) -> tuple[Message, ...]:
    """The wording of the note that started the project, with the response's form stated."""
    return (
        {"role": "system", "content": _SEED_SYSTEM[lang].format(today=long_date(today))},
        {"role": "user", "content": _SEED_USER[lang].format(text=text)},
    )


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
