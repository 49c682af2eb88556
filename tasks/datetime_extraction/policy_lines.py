"""The policy in words: one line for each field that a prompt settles, in several wordings."""

from __future__ import annotations

from tasks.datetime_extraction.meaning import Lang, Policy

_DEFAULT_HOUR: dict[Lang, tuple[str, ...]] = {
    "ru": (
        "Если время не названо, ставь {:02}:00.",
        "Время по умолчанию — {:02}:00.",
        "Без времени считай {:02}:00.",
        "Назван только день — время {:02}:00.",
    ),
    "en": (
        "If no time is given, use {:02}:00.",
        "Default time: {:02}:00.",
        "A date without a time means {:02}:00.",
        "When only the day is named, the time is {:02}:00.",
    ),
}
_PARTS: dict[Lang, tuple[str, ...]] = {
    "ru": (
        "Утро — {:02}:00, день и обед — {:02}:00, вечер — {:02}:00, ночь — {:02}:00.",
        "Утром значит в {:02}:00, днём (в обед) в {:02}:00, вечером в {:02}:00, ночью в {:02}:00.",
    ),
    "en": (
        "Morning is {:02}:00, afternoon and lunch {:02}:00, evening {:02}:00, night {:02}:00.",
        "Parts of the day: morning = {:02}:00, day (lunch) = {:02}:00, evening = {:02}:00, night = {:02}:00.",
    ),
}
_AS_STATED: dict[Lang, tuple[str, ...]] = {
    "ru": (
        "Час без уточнения понимай как есть, по 24-часовому счёту: «в 7» — 07:00.",
        "Часы по 24-часовой шкале: «в 5» — это 05:00, а не 17:00.",
    ),
    "en": (
        "Take a bare hour as it stands, on the 24-hour clock: at 7 is 07:00.",
        'Hours are on a 24-hour scale: "at 5" is 05:00, not 17:00.',
    ),
}
_AFTERNOON: dict[Lang, tuple[str, ...]] = {
    "ru": (
        "Час от 1 до {k} без уточнения — после полудня («в {k}» — {pm}:00), остальные как есть.",
        "Если не сказано, утро или вечер: часы 1–{k} значат {one}–{pm}, с {next} до 12 — без изменений.",
    ),
    "en": (
        "A bare hour from 1 to {k} is in the afternoon (at {k} is {pm}:00), others as they stand.",
        "Without am or pm, hours 1-{k} mean {one}-{pm}; {next}-12 stay as they are.",
    ),
}
_FOLLOWING: dict[Lang, dict[str, tuple[str, ...]]] = {
    "ru": {
        "week": (
            "«Следующая среда» — среда следующей недели.",
            "Следующий день недели — тот, что на следующей неделе (с понедельника).",
        ),
        "nearest": (
            "«Следующая среда» — ближайшая среда после сегодня.",
            "Следующий день недели — ближайший после сегодняшнего дня.",
        ),
    },
    "en": {
        "week": (
            '"Next Wednesday" is the Wednesday of next week.',
            "A next weekday is the one in the next Monday-to-Sunday week.",
        ),
        "nearest": (
            '"Next Wednesday" is the nearest Wednesday after today.',
            "A next weekday is the nearest one after today.",
        ),
    },
}
_ORDER: dict[Lang, dict[bool, tuple[str, ...]]] = {
    "ru": {
        True: ("В числовых датах сначала день, потом месяц: 3/4 — 3 апреля.",),
        False: ("В числовых датах сначала месяц, потом день: 3/4 — 4 марта.",),
    },
    "en": {
        True: ("Numeric dates are day first: 3/4 is 3 April.", "Dates in figures: day/month."),
        False: ("Numeric dates are month first: 3/4 is March 4.", "Dates in figures: month/day."),
    },
}


def policy_lines(policy: Policy, stated: tuple[str, ...], lang: Lang, pick: float) -> list[str]:
    """One line for each stated field. pick, in [0, 1), chooses the wording."""
    return [_line(policy, field, lang, pick) for field in stated]


def _line(policy: Policy, field: str, lang: Lang, pick: float) -> str:
    if field == "default_hour":
        return _of(_DEFAULT_HOUR[lang], pick).format(policy.default_hour)
    if field == "parts":
        return _of(_PARTS[lang], pick).format(*policy.parts)
    if field == "following":
        return _of(_FOLLOWING[lang][policy.following or "week"], pick)
    if field == "day_first":
        return _of(_ORDER[lang][bool(policy.day_first)], pick)
    k = policy.afternoon or 0
    if not k:
        return _of(_AS_STATED[lang], pick)
    return _of(_AFTERNOON[lang], pick).format(k=k, pm=k + 12, one=13, next=k + 1)


def _of(options: tuple[str, ...], pick: float) -> str:
    return options[int(pick * len(options))]
