"""Minimal pairs: two prompts that differ in one line of policy only, and whose answers must therefore differ.

A model that has learnt one habit gets at most one of the two right.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from rewards.core import Example
from tasks.base import SPLITS, Split
from tasks.datetime_extraction import settings
from tasks.datetime_extraction.deep import Drawn, draw, example_of
from tasks.datetime_extraction.gold import solve
from tasks.datetime_extraction.languages import NUMERIC
from tasks.datetime_extraction.meaning import Policy, Setting


class PolicyPair(NamedTuple):
    """field: the point of policy that differs. No answer of one is accepted for the other."""

    field: str
    one: Example
    other: Example


def policy_pairs(split: Split, n: int, seed: int) -> Iterator[PolicyPair]:
    """n pairs, the fields in turn. Pair i depends on (split, seed, i) only."""
    for i in range(n):
        rng = Random(f"policy-{split}-{seed}-{i}")
        field = settings.FIELDS[:4][i % 4]
        yield _pair(rng, split, field, f"{split}-{seed}-policy{i}")


def _pair(rng: Random, split: Split, field: str, pair_id: str) -> PolicyPair:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    while True:
        drawn = draw(rng, split)
        if drawn.built.meaning.reason or drawn.built.meaning.day.kind in NUMERIC:
            continue  # no policy helps the first; the words of the second depend on it
        lang = drawn.built.meaning.lang
        both = [_under(drawn, field, settings.draw_value(rng, field, lang)) for _ in range(2)]
        if both[0] is None or both[1] is None or set(both[0].gold.answers) & set(both[1].gold.answers):
            continue
        state = rng.getrandbits(64)
        one, other = (example_of(side, Random(state), f"{pair_id}-{n}") for n, side in enumerate(both) if side)
        return PolicyPair(field, one, other)


def _under(drawn: Drawn, field: str, value: object) -> Drawn | None:
    """The same answer under a prompt that states this one point of policy."""
    policy = Policy(**{field: value})  # type: ignore[arg-type]
    setting: Setting = drawn.setting._replace(policy=policy, stated=(field,))
    gold = solve(drawn.built.meaning, setting)
    return None if gold is None else drawn._replace(setting=setting, gold=gold)
