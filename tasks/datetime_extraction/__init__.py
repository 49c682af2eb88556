"""Turn a free answer about time («Послезавтра в 12») into one moment (2025-01-19T12:00:00+03:00), or none.

TASK asks in the wording of the note that started the project. PLAIN is the same grammar under a short prompt: what two
processor cores can learn in minutes.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial

from rewards.core import Message
from rewards.datetimes import exact_datetime
from rewards.formats import tag_format
from tasks.base import Task
from tasks.datetime_extraction.grammar import generate
from tasks.datetime_extraction.prompts import Prompt, seed_prompt, short_prompt

_VERSION = "1"


def _ask(prompt: Prompt, text: str, now: datetime) -> tuple[Message, ...]:
    lang = "ru" if re.search("[а-яё]", text, re.IGNORECASE) else "en"
    return prompt(lang, text, now.date())


def _task(name: str, prompt: Prompt) -> Task:
    return Task(
        name=name,
        version=_VERSION,
        examples=partial(generate, prompt),
        rewards={"tag_format": (tag_format, 0.1), "exact_datetime": (exact_datetime, 1.0)},
        metric=exact_datetime,
        ask=partial(_ask, prompt),
    )


TASK = _task("datetime_extraction", seed_prompt)
PLAIN = _task("datetime_extraction_plain", short_prompt)
