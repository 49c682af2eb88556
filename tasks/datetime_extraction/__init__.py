"""Turn a free answer about time («Послезавтра в 12») into one moment (2025-01-19T12:00:00+03:00), or none.

TASK is the whole of it: README.md beside this file has its phenomena and its policy. PLAIN is twelve kinds of day and
seven of clock under a short prompt: what two processor cores can learn in minutes.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial

from rewards.core import Message
from rewards.datetimes import exact_datetime
from rewards.formats import tag_format
from tasks.base import Task
from tasks.datetime_extraction import deep, grammar, leaks, rationale, splits
from tasks.datetime_extraction.meaning import Lang, Setting
from tasks.datetime_extraction.prompts import short_prompt
from tasks.datetime_extraction.wording import seed_wording

_MOSCOW = 180
_CHECKS = (leaks.check, rationale.check)
_REWARDS = {"tag_format": (tag_format, 0.1), "exact_datetime": (exact_datetime, 1.0)}


def _lang_of(text: str) -> Lang:
    return "ru" if re.search("[а-яё]", text, re.IGNORECASE) else "en"


def ask(text: str, now: datetime) -> tuple[Message, ...]:
    """The seed's wording with today, the current time and the offset of `now` (+03:00 when it is naive)."""
    offset = now.utcoffset()
    minutes = _MOSCOW if offset is None else int(offset.total_seconds()) // 60
    return seed_wording(_lang_of(text), text, Setting(now.date(), now.hour * 60 + now.minute, minutes))


def _ask_plain(text: str, now: datetime) -> tuple[Message, ...]:
    return short_prompt(_lang_of(text), text, now.date())


TASK = Task(
    name="datetime_extraction",
    version="9",
    examples=deep.generate,
    rewards=_REWARDS,
    metric=exact_datetime,
    ask=ask,
    checks=(*_CHECKS, splits.check_menus),
    examples_from=deep.generate_from,
)
PLAIN = Task(
    name="datetime_extraction_plain",
    version="1",
    examples=partial(grammar.generate, short_prompt),
    rewards=_REWARDS,
    metric=exact_datetime,
    ask=_ask_plain,
    checks=_CHECKS,
)
