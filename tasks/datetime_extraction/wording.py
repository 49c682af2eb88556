"""How the deep task is put to the model: many wordings in two languages, the seed's first.

Each states today, the form of the answer with its offset, that `none` is an answer, and the form of the response; some
state the current time and points of policy. Without a system message the user turn carries all of it.
"""

from __future__ import annotations

from datetime import date
from random import Random
from typing import NamedTuple

from rewards.core import Message
from rewards.response import ANSWER_CLOSE, ANSWER_OPEN, REASONING_CLOSE, REASONING_OPEN
from tasks.datetime_extraction.chance import pick
from tasks.datetime_extraction.english import MONTHS, WEEKDAYS
from tasks.datetime_extraction.meaning import Lang, Setting, offset_text
from tasks.datetime_extraction.policy_lines import policy_lines
from tasks.datetime_extraction.prompts import RESPONSE_FORM, long_date
from tasks.datetime_extraction.ru_words import WEEKDAY as RU_WEEKDAYS
from tasks.datetime_extraction.russian import MONTHS as RU_MONTHS

SEED, SHORT, VARIED, USER_ONLY = "seed", "short", "varied", "user_only"
_FAMILIES = (SEED, SEED, SHORT, *(VARIED,) * 5, USER_ONLY, USER_ONLY)


class _Words(NamedTuple):
    """The wordings of one language. {form} is the form of the answer, {today} the date, {now} the time."""

    intro: tuple[str, ...]
    form: tuple[str, ...]
    today: tuple[str, ...]
    now: tuple[str, ...]
    question: tuple[str, ...]
    seed_intro: str
    seed_form: str
    seed_question: str


_BLOCKS = f"{REASONING_OPEN}…{REASONING_CLOSE}{ANSWER_OPEN}…{ANSWER_CLOSE}"
_WORDS: dict[Lang, _Words] = {
    "ru": _Words(
        intro=(
            "Ты помогаешь записывать клиентов и находишь в ответе дату и время.",
            "Определи, на какой момент человек хочет записаться.",
            "Ты секретарь. Переведи ответ клиента в точную дату и время.",
            "Твоя задача — понять, когда человеку удобно прийти.",
            "Извлеки из реплики дату и время.",
            "Ты ассистент службы записи.",
        ),
        form=(
            "Формат ответа: {form} (NN — минуты). Нет единственного момента — none. Пиши так: " + _BLOCKS,
            "Ответь в виде " + _BLOCKS + ", где ответ — {form} (NN — минуты) или none, если момента нет.",
            "Сначала коротко рассуди, потом ответь: "
            + _BLOCKS
            + ". Ответ: {form}, NN — минуты; если времени не назвали — none.",
            "Верни " + _BLOCKS + ". Дата: {form} (NN — это минуты). Если понять нельзя, верни none.",
        ),
        today=(
            "Сегодня {today}.",
            "Сейчас {today}.",
            "Текущая дата: {today}.",
            "Дата обращения: {today}.",
            "Сегодня: {today}.",
        ),
        now=("Время {now}.", "Текущее время: {now}.", "На часах {now}.", "Сейчас {now}."),
        question=(
            "Вопрос: Когда вам удобно прийти?\nОтвет: {text}",
            "Клиент: {text}",
            "Ответ пользователя: {text}",
            "{text}",
            "«{text}»",
            "На вопрос «На какое время вас записать?» ответили: {text}",
            "Реплика: {text}\nДата и время:",
        ),
        seed_intro="Ты ассистент, который хорошо умеет определять дату.",
        seed_form='Выдавай ответ в формате "{form}" (NN — минуты); если даты нет — none. '
        f"Сначала рассуждение, потом ответ: {RESPONSE_FORM}.",
        seed_question="Вопрос: Назовите голосом или напишите удобную для вас дату и время записи.\n"
        "Ответ пользователя: {text}\nОтвет ассистента:",
    ),
    "en": _Words(
        intro=(
            "You schedule appointments and find the date and time in an answer.",
            "Work out the moment that the person means.",
            "You are a receptionist. Turn the customer's reply into an exact date and time.",
            "Your job is to understand when the person can come.",
            "Extract the date and time from the reply.",
            "You are a booking assistant.",
        ),
        form=(
            "Answer format: {form} (NN are minutes). No single moment: none. Write " + _BLOCKS,
            "Reply as " + _BLOCKS + " where the answer is {form} (NN are minutes), or none if there is no moment.",
            "Reason briefly, then answer: "
            + _BLOCKS
            + ". The answer is {form}, NN are minutes; none if no time was named.",
            "Return " + _BLOCKS + ". Date: {form} (NN means minutes). If it can't be told, return none.",
        ),
        today=(
            "Today is {today}.",
            "It is {today}.",
            "Current date: {today}.",
            "Date of the request: {today}.",
            "Today: {today}.",
        ),
        now=("The time is {now}.", "Current time: {now}.", "It's {now} now.", "Now {now}."),
        question=(
            "Question: When would you like to come?\nAnswer: {text}",
            "Customer: {text}",
            "User's answer: {text}",
            "{text}",
            '"{text}"',
            "Asked what time suits them, they said: {text}",
            "Reply: {text}\nDate and time:",
        ),
        seed_intro="You are an assistant that is good at finding dates.",
        seed_form='Answer in the format "{form}" (NN are minutes), or none if there is no date. '
        f"First the reasoning, then the answer: {RESPONSE_FORM}.",
        seed_question="Question: Say or write a date and time for your appointment that suits you.\n"
        "User's answer: {text}\nAssistant's answer:",
    ),
}


def form_of(setting: Setting) -> str:
    """`YYYY-MM-DDTHH:NN:SS+03:00`: the form of the answer under the prompt's offset."""
    return f"YYYY-MM-DDTHH:NN:SS{offset_text(setting.offset)}"


def clock_face(minutes: int) -> str:
    """`14:05`."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _dates(today: date, lang: Lang, pick: float) -> str:
    """The date with its weekday, as the seed writes it or in another way."""
    style = int(pick * 6)
    if style < 2:
        return long_date(today)
    weekday, day, month, year = today.weekday(), today.day, today.month, today.year
    if lang == "ru":
        name = RU_WEEKDAYS[weekday]
        return (
            f"{name}, {day} {RU_MONTHS[month - 1]} {year} года",
            f"{day:02}.{month:02}.{year}, {name}",
            f"{today.isoformat()} ({name})",
            f"{day} {RU_MONTHS[month - 1]} {year} ({name})",
        )[style - 2]
    name = WEEKDAYS[weekday]
    return (
        f"{name}, {MONTHS[month - 1]} {day}, {year}",
        f"{today.isoformat()}, {name}",
        f"{today.isoformat()} ({name[:3]})",
        f"{day} {MONTHS[month - 1]} {year} ({name})",
    )[style - 2]


def seed_wording(lang: Lang, text: str, setting: Setting, pick: float = 0.0) -> tuple[Message, ...]:
    """The wording of the note that started the project, with what the setting adds: the time and the policy."""
    words = _WORDS[lang]
    when = f"{words.today[0].format(today=long_date(setting.today))}"
    if setting.now is not None:
        when += f" {words.now[1].format(now=clock_face(setting.now))}"
    parts = [
        words.seed_form.format(form=form_of(setting)),
        when,
        *policy_lines(setting.policy, setting.stated, lang, pick),
    ]
    return (
        {"role": "system", "content": f"{words.seed_intro}\n{' '.join(parts)}\n"},
        {"role": "user", "content": words.seed_question.format(text=text)},
    )


def _short(lang: Lang, text: str, setting: Setting, pick: float) -> tuple[Message, ...]:
    words = _WORDS[lang]
    now = "" if setting.now is None else f" {clock_face(setting.now)}"
    lines = policy_lines(setting.policy, setting.stated, lang, pick)
    today = words.today[0].format(today=long_date(setting.today) + now)
    form = f"{REASONING_OPEN}…{REASONING_CLOSE}{ANSWER_OPEN}{form_of(setting)} | none{ANSWER_CLOSE}"
    return {"role": "system", "content": " ".join([today, *lines, form])}, {"role": "user", "content": text}


def worded(rng: Random, lang: Lang, text: str, setting: Setting) -> tuple[str, tuple[Message, ...]]:
    """The family of the wording, and the prompt. One prompt in seven is in the other language than the answer."""
    if rng.random() < 1 / 7:
        lang = "en" if lang == "ru" else "ru"
    family = _FAMILIES[int(rng.random() * len(_FAMILIES))]
    if family == SEED:
        return family, seed_wording(lang, text, setting, rng.random())
    if family == SHORT:
        return family, _short(lang, text, setting, rng.random())
    instructions = _instructions(rng, lang, setting)
    question = pick(_WORDS[lang].question, rng).format(text=text)
    if family == USER_ONLY:
        return family, ({"role": "user", "content": f"{instructions}\n\n{question}"},)
    return family, ({"role": "system", "content": instructions}, {"role": "user", "content": question})


def _instructions(rng: Random, lang: Lang, setting: Setting) -> str:
    """Intro, date, form and policy in one of three orders, on one line or several."""
    words = _WORDS[lang]
    when = pick(words.today, rng).format(today=_dates(setting.today, lang, rng.random()))
    if setting.now is not None:
        when += " " + pick(words.now, rng).format(now=clock_face(setting.now))
    form = pick(words.form, rng).format(form=form_of(setting))
    policy = policy_lines(setting.policy, setting.stated, lang, rng.random())
    intro = pick(words.intro, rng)
    order = int(rng.random() * 3)
    parts = (
        [intro, when, *policy, form],
        [when, intro, form, *policy],
        [intro, form, *policy, when],
    )[order]
    return (" ", "\n")[int(rng.random() * 2)].join(parts)
