"""Rewards on moments in time."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache

from dateutil import parser as dateutil_parser

from rewards.core import Example
from rewards.response import parse

NONE = "none"  # the answer when the text names no single moment

# dateutil alone is too kind: it takes a bare date for midnight, 24:00 for the next day, and many other spellings.
# The prompt asks for one form, so only that form reaches it. [0-9], since \d also matches other alphabets' digits.
_FORM = re.compile(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9]T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def moment(text: str) -> datetime | None:
    """The aware datetime that `text` states as YYYY-MM-DDTHH:MM:SS with an offset or Z; None for anything else."""
    return _read(text) if _FORM.fullmatch(text) else None


@lru_cache(maxsize=65536)  # behind the form: the cache must not keep the long texts that a rambling model answers with
def _read(text: str) -> datetime | None:
    try:
        return dateutil_parser.isoparse(text)
    except ValueError:  # the form holds but the calendar has no such day, or no such offset
        return None


def same_moment(answer: str, gold: str) -> bool:
    """Whether both are `none`, or both state the same instant with the same offset from UTC."""
    if gold == NONE or answer == NONE:
        return answer == gold
    ours, theirs = moment(answer), moment(gold)
    return ours is not None and theirs is not None and ours == theirs and ours.utcoffset() == theirs.utcoffset()


def exact_datetime(completion: str, example: Example) -> float:
    """1.0 if the response is well formed and its answer equals one of the accepted golds; else 0.0."""
    response = parse(completion)
    return float(response.problem is None and any(same_moment(response.answer, gold) for gold in example.answers))
