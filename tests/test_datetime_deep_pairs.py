"""Minimal pairs: two prompts that differ in one line of policy only, and whose answers must therefore differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import takewhile
from random import Random
from typing import NamedTuple

from rewards.core import Example
from tasks.base import Split
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


def test_pairs_differ_in_one_line_of_policy_and_share_no_answer() -> None:
    fields = Counter[str]()
    for pair in policy_pairs("test", 400, 0):
        prompts = ["\n".join(turn["content"] for turn in example.messages) for example in (pair.one, pair.other)]
        start, end = _common(*prompts), _common(*(prompt[::-1] for prompt in prompts))
        assert all(len(prompt) - start - end < 120 for prompt in prompts)
        assert not set(pair.one.answers) & set(pair.other.answers)
        assert pair.one.context == pair.other.context
        fields[pair.field] += 1
    assert set(fields.values()) == {100}


def _common(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
