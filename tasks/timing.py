"""How long does a reward take, and does its time grow faster than the text? Regular expressions are the usual trap."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from rewards.core import Example, Reward
from rewards.limits import OutOfTime, time_limit
from rewards.response import ANSWER_CLOSE, ANSWER_OPEN, REASONING_OPEN, render
from tasks.contract import Problems, contract_score

SLOW_CALL = 0.01  # seconds for an ordinary completion, the median: 256 rollouts a step would wait 2.5 s for it
LONGEST_CALL = 1.0  # seconds for a long completion, after which it is given up
# Characters. A rambling model's 512 tokens are 2,000, a stuck one's 16,384 are 64,000. 64: what doubles its time with
# each character shows there, before a reward's own limit on the length hides it.
SIZES = (64, 1_000, 4_000, 16_000, 64_000)
GROWTH = 9.0  # four times the text may take so many times as long: linear is 4, n log n is 5, quadratic is 16
NOTICEABLE = 0.004  # seconds; below, a ratio is noise


def seconds_of(call: Callable[[], Any], limit: float | None = None) -> float | None:
    """How long the call takes, the best of three where it's short; None when the first takes longer than the limit.

    limit: seconds, LONGEST_CALL unless given. Whatever the call raises is not this function's matter.
    """
    limit = LONGEST_CALL if limit is None else limit
    best: float | None = None
    for _ in range(3):
        started = time.perf_counter()
        try:
            with time_limit(limit):
                call()
        except OutOfTime:
            return best
        except (Exception, SystemExit):
            return 0.0
        took = time.perf_counter() - started
        best = took if best is None else min(best, took)
        if took > limit / 10:
            break
    return best


def limited_score(name: str, scorer: Reward, completion: str, example: Example, problems: Problems) -> float | None:
    """contract_score, of a scorer that may hang: then it is given up, which becomes a problem, and not called again."""
    if name in problems.hung:
        return None
    try:
        with time_limit(2 * LONGEST_CALL):  # it calls twice
            return contract_score(name, scorer, completion, example, problems)
    except OutOfTime:  # once is enough to know, and the next may hang as well
        problems.hung.add(name)
        kind = f"{name} takes over {LONGEST_CALL:g} s on one completion"
        problems.add(kind, example.id, f": {completion[:200]!r}")
        return None


def long_texts(example: Example) -> Iterator[tuple[str, Callable[[int], str]]]:
    """(what it is, its text of about so many characters): what makes a pattern or a parser slow."""
    gold = example.answers[0] if example.answers else ""
    units = {
        "one letter": "a",
        "digits": "1",
        "white space": " ",
        "words": "so a ",
        "new lines": "a\n",
        "open brackets": "([{",
        "opening tags": REASONING_OPEN,
        "answer tags": ANSWER_OPEN,
        "whole answer blocks": f"{ANSWER_OPEN}{gold}{ANSWER_CLOSE}",
        "golds": f"{gold} ",
    }
    for name, unit in units.items():
        yield f"{name}, no form", lambda n, unit=unit: unit * (n // len(unit))  # type: ignore[misc]
        if "<" not in unit:
            yield f"{name} as the answer", lambda n, unit=unit: render("", unit * (n // len(unit)) + "!")  # type: ignore[misc]
            yield f"{name} as the reasoning", lambda n, unit=unit: render(unit * (n // len(unit)), gold)  # type: ignore[misc]


def check_growth(name: str, scorer: Reward, example: Example, problems: Problems) -> None:
    """Note a reward whose time on a long text grows like its square, or that doesn't come back from it."""
    for what, text in long_texts(example):
        before: float | None = None
        for size in SIZES:
            took = _seconds(scorer, text(size), example)
            if took is None:
                kind = f"{name} takes over {LONGEST_CALL:g} s on one completion"
                problems.add(kind, example.id, f": {len(text(size))} characters, {what}")
                return
            if before is not None and _too_fast_a_growth(before, took):
                # once more: another process may have had the processor
                before, took = (_seconds(scorer, text(each), example) or LONGEST_CALL for each in (size // 4, size))
                if _too_fast_a_growth(before, took):
                    times = f"{size // 4} characters {1000 * before:.2f} ms, {size} {1000 * took:.2f} ms"
                    kind = f"{name} takes time that grows faster than the completion"
                    problems.add(kind, example.id, f": {what}, {times}")
                    return
            before = took if size > SIZES[0] else None  # from there on, each size is four times the one before


def _seconds(scorer: Reward, completion: str, example: Example) -> float | None:
    return seconds_of(lambda: scorer(completion, example))


def _too_fast_a_growth(before: float, took: float) -> bool:
    return took > max(NOTICEABLE, GROWTH * before)
