"""Near-duplicates: found by what texts share, not missed, not invented."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rewards.core import Message
from toolkit.conversations.near import features, folded, near_groups
from toolkit.conversations.twins import fingerprints


def chat(question: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": "Ответ."}]


def found_in(texts: Sequence[str]) -> Any:
    return features(*folded(texts))


def test_folded_keeps_letters_and_digits_in_lower_case() -> None:
    letters, ends = folded(["Ё, д2!", "", " _ ", "𝔸\U0001f600Straße"])
    text = letters.tobytes().decode("utf-32-le")
    assert [text[start:end] for start, end in zip([0, *ends], ends, strict=False)][:3] == ["ёд2", "", ""]
    assert text.endswith("strase")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7+5?", "7-5?"),
        ("7*5?", "7/5?"),
        ("7%5?", "75?"),
        ("1.5", "15"),
        ("1,5", "15"),
        ("x<y?", "x>y?"),
        ("x = y", "x ≠ y"),
        ("5 $", "5 €"),
        ("की", "का"),
        ("за́мок", "замо́к"),
        ("(2+3)*4?", "2+3*4?"),
        ("2 * (3 + 4)?", "2 * 3 + 4?"),
        ("(5 - 3) - 1", "5 - (3 - 1)"),
        ("(-3)^2", "-3^2"),
        ("f(x)", "f[x]"),
        ("a[12]", "a12"),
        ("(a+b)c", "a+bc"),
    ],
)
def test_signs_that_carry_meaning_are_kept(one: str, other: str) -> None:
    (first, _), (second, _) = fingerprints([chat(one), chat(other)])[0]
    assert first != second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[("Да, в 5.", "да в 5"), ("«Да»?", "Да!"), ("1. Да", "1 да"), ("A,5", "a 5"), ("Конец: 7,", "конец 7")],
        *[("Привет))", "привет"), ("1) Да", "1. да"), ("(7)", "7"), ("Да (в 5)", "да в 5"), ("Да [1].", "да, 1")],
    ],
)
def test_case_white_space_and_punctuation_are_left_out(one: str, other: str) -> None:
    (first, _), (second, _) = fingerprints([chat(one), chat(other)])[0]
    assert first == second


def test_a_point_between_two_texts_is_not_between_digits() -> None:
    letters, ends = folded(["1.", "5", "2", ",3", "4.5"])
    assert letters.tobytes().decode("utf-32-le") == "15234.5"
    assert ends.tolist() == [1, 2, 3, 4, 7]


def test_a_bracket_has_its_neighbours_in_its_own_text() -> None:
    letters, ends = folded(["f", "(x)", "+", "", "(x )", "-1", "a(", ")", ")", "2"])
    assert letters.tobytes().decode("utf-32-le") == "fx+x-1a(2"
    assert ends.tolist() == [1, 2, 3, 3, 4, 6, 8, 8, 8, 9]


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
