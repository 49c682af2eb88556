"""Rewards on the form of a response, whatever the task."""

from __future__ import annotations

from rewards.core import Example
from rewards.response import parse


def tag_format(completion: str, example: Example) -> float:
    """1.0 if the response is one whole reasoning block and one whole, non-empty answer block; else 0.0."""
    return float(parse(completion).problem is None)
