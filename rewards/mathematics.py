"""Mathematical equality (1/2, 0.5, \\frac{1}{2}), through math-verify: pip install 'reasoning-toolkit[math]'."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rewards.core import Example, UserError
from rewards.text import answer_of

LONGEST = 512  # characters: the parser and sympy are slow on long ones, and no gold is


def math_equal(completion: str, example: Example) -> float:
    """1.0 if the answer is mathematically equal to a gold; else 0.0. Raises UserError without math-verify."""
    answer = answer_of(completion)
    if answer is None or len(answer) > LONGEST:
        return 0.0
    ours = _parsed(answer)
    return float(bool(ours) and any(_equal(_parsed(gold), ours) for gold in example.answers))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[Any, ...]:
    # No timeouts of its own: they are Unix signals, which only the main thread may set.
    try:
        return tuple(_library().parse(text if "$" in text else f"${text}$", parsing_timeout=None))
    except UserError:
        raise
    except Exception:  # a stranger's text in a stranger's parser: whatever it raises, this is no formula
        return ()


def _equal(gold: tuple[Any, ...], ours: tuple[Any, ...]) -> bool:
    try:
        return bool(_library().verify(list(gold), list(ours), timeout_seconds=None))
    except Exception:  # as above
        return False


def _library() -> Any:
    try:
        import math_verify
    except ImportError as error:
        raise UserError("rewards.mathematics needs math-verify: pip install 'reasoning-toolkit[math]'") from error
    return math_verify
