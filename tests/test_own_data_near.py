"""Near-duplicates: found by what texts share, not missed, not invented."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.conversations.near import features, folded, near_groups


def found_in(texts: Sequence[str]) -> Any:
    return features(*folded(texts))


def test_folded_keeps_letters_and_digits_in_lower_case() -> None:
    letters, ends = folded(["Ё, д2!", "", " _ ", "𝔸\U0001f600Straße"])
    text = letters.tobytes().decode("utf-32-le")
    assert [text[start:end] for start, end in zip([0, *ends], ends, strict=False)][:3] == ["ёд2", "", ""]
    assert text.endswith("strase")


def test_near_duplicates_by_the_share_of_what_they_share() -> None:
    generator = random.Random(0)
    words = ["".join(generator.choices("абвгдежзик", k=generator.randint(2, 9))) for _ in range(2000)]
    texts = [" ".join(generator.choices(words, k=60)) for _ in range(300)]

    def edited(share: float) -> list[str]:
        return [
            " ".join(w if generator.random() > share else generator.choice(words) for w in t.split()) for t in texts
        ]

    def found(share: float) -> float:
        return float((found_in(texts) == found_in(edited(share))).any(1).mean())

    assert found(0) == 1
    assert found(0.01) > 0.95
    assert found(0.5) < 0.08
    unlike = near_groups(found_in(texts), np.arange(300))
    assert unlike == []
    pairs = near_groups(found_in([*texts, *edited(0.01)]), np.arange(600))
    assert [group.tolist() for group in pairs if len(group) == 2 and group[1] != group[0] + 300] == []
    assert found_in(["", "a", "ab" * 10_000]).shape == (3, 3)
    assert found_in([]).shape == (0, 3)
