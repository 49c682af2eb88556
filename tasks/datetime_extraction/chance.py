"""Draws on the hot path: random's own choice and randrange check their arguments at length."""

from __future__ import annotations

from random import Random


def below(rng: Random, low: int, high: int) -> int:
    """A whole number from low up to high, without it."""
    return low + int(rng.random() * (high - low))


def pick(options: tuple[str, ...], rng: Random) -> str:
    """One of them."""
    return options[int(rng.random() * len(options))]
