"""When do two answers say the same? For votes, and for telling a wrong answer from the right one in other words."""

from __future__ import annotations

import json
from decimal import Context

from rewards.datetimes import moment
from rewards.numbers import LONGEST, number_of
from rewards.structured import object_of

_EXACT = Context(prec=LONGEST)  # the usual context rounds to 28 digits


def canonical(answer: str) -> str:
    """One text for answers that say the same: a moment's spellings of UTC, a number's of its digits, a JSON object's
    of its order of keys and of the numbers in it; else the text with its white space collapsed.
    """
    if (then := moment(answer)) is not None:
        return then.isoformat()
    if (number := number_of(answer)) is not None:
        return str(number.normalize(_EXACT)) if number else "0"
    if (found := object_of(answer)) is not None:
        return json.dumps(found, sort_keys=True, ensure_ascii=False)
    return " ".join(answer.split())
