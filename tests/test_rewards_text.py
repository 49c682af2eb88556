"""Rewards on text, numbers, JSON, patterns and formulas: the gold scores 1, what only looks like it scores 0."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import mathematics
from rewards.core import Example, Reward, UserError
from rewards.mathematics import math_equal
from rewards.numbers import number, number_of
from rewards.response import render
from rewards.structured import json_exact, json_fields, object_of, same
from rewards.text import choice, exact_text, normalized_text, regex_fullmatch


def score(reward: Reward, answer: str, *golds: str) -> float:
    return reward(render("because", answer), Example("1", ({"role": "user", "content": "?"},), golds))


near = partial(number, tolerance=0.01)
share = partial(number, relative=0.1)
comma = partial(number, decimal=",")
words = partial(choice, options=("да", "нет"))
phrases = partial(choice, options=("да", "нет", "не знаю", "U.S."))
russian = partial(choice, options=("А", "Б", "В", "B"))  # the last one Latin: two options look alike
digits = partial(regex_fullmatch, pattern=r"\d{3}")
city = partial(json_exact, fields=["city"])

RIGHT: list[tuple[Reward, str, str]] = [
    (exact_text, "Анна", "Анна"),
    (exact_text, " Анна ", "Анна"),
    (normalized_text, "«ЁЛКА  зелёная».", "елка зеленая"),
    (normalized_text, "ﬁne", "Fine"),
    (normalized_text, "Да!", "да"),
    (normalized_text, "«Да!».", "да"),
    (normalized_text, "x²", "X²"),
    *[(normalized_text, text, text) for text in ("5!", "n!", "(n+1)!", "10⁵", "101₂")],
    (normalized_text, "«5»!", "5"),
    (normalized_text, "हाँ!", "हाँ"),
    (normalized_text, "किताब!", "किताब"),
    (normalized_text, "ใช่!", "ใช่"),
    (normalized_text, "是！", "是"),
    (normalized_text, "C++!", "C++"),
    (normalized_text, "100%!", "100%"),
    (normalized_text, "!yes", "yes"),
    (normalized_text, "Room 5!", "room 5"),
    (normalized_text, "H₂O", "H2O"),
    (normalized_text, "CO₂", "CO2"),
    (normalized_text, "C₆H₁₂O₆", "C6H12O6"),
    (normalized_text, "5 m²", "5 m2"),
    (normalized_text, "5ᵗʰ", "5th"),
    (normalized_text, "①", "1"),
    (choice, "b", "B"),
    (choice, "В", "B"),  # Cyrillic
    (choice, "(С)", "C"),
    (choice, "(B)", "B"),
    (choice, "B.", "B"),
    (words, "Да", "да"),
    (phrases, "Не знаю", "не знаю"),
    (phrases, "U.S.", "U.S."),
    (phrases, "(да)", "да"),
    (number, "42", "42"),
    (number, "1,234.50", "1234.5"),
    (number, "1 234", "1234"),
    (number, "1\u00a0234", "1234"),
    (number, "\u22125", "-5"),
    (number, "\u20135", "-5"),
    (number, "5.", "5"),
    (number, "-.5", "-0.5"),
    (number, "4.2e1", "42"),
    (near, "3.14", "3.1415"),
    (share, "109", "100"),
    (comma, "1.234,5", "1234,5"),
    (comma, ",5", "0,5"),
    (comma, "5.", "5"),
    (json_exact, '{"b": [1, {"c": null}], "a": "x"}', '{"a": "x", "b": [1.0, {"c": null}]}'),
    (city, '{"city": "Томск", "n": 2}', '{"city": "Томск", "n": 1}'),
    (digits, "123", "anything"),
    (regex_fullmatch, "aab", "a+b"),
]
WRONG: list[tuple[Reward, str, str]] = [
    (exact_text, "анна", "Анна"),
    (exact_text, "Анна или Борис", "Анна"),
    (exact_text, "Анна Анна", "Анна"),
    (exact_text, "Аннa", "Анна"),  # a Latin a
    (exact_text, "«Анна»", "Анна"),
    (normalized_text, "не Анна", "Анна"),
    (normalized_text, "...", "!"),
    (normalized_text, "Анна, Борис", "Анна"),
    (normalized_text, "Ан на", "Анна"),
    (normalized_text, "Aнна", "Анна"),
    (normalized_text, "105", "10⁵"),
    (normalized_text, "1012", "101₂"),
    (normalized_text, "22", "2²"),
    (normalized_text, "11/2", "1½"),
    (normalized_text, "5", "5!"),
    (normalized_text, "n", "n!"),
    (normalized_text, "n+1", "(n+1)!"),
    (normalized_text, "10⁵", "10⁵!"),
    (normalized_text, "!", "..."),
    (choice, "А или В", "B"),  # Cyrillic
    (choice, "Б", "B"),
    (russian, "В", "B"),
    (choice, "A or B", "B"),
    (choice, "A, B, C, D", "B"),
    (choice, "ABCD", "B"),
    (choice, "The answer is B", "B"),
    (choice, "E", "E"),
    (words, "да/нет", "да"),
    (phrases, "не знаю да", "да"),
    (phrases, "знаю", "не знаю"),
    (number, "42 apples", "42"),
    (number, "41 42", "42"),
    (number, "41 or 42", "42"),
    (number, ".", "0"),
    (number, "-", "0"),
    (number, "5..", "5"),
    (number, "5. 6.", "5"),
    (number, "–", "0"),
    (number, "e5", "0"),
    (number, "inf", "42"),
    (number, "NaN", "NaN"),
    (number, "٤٢", "42"),
    (number, "4,2", "42"),
    (number, "1,23", "123"),
    (number, "0x2a", "42"),
    (number, "1e999999999", "42"),
    (number, "4_2", "42"),
    (near, "3.12", "3.1415"),
    (share, "111", "100"),
    (comma, "1.5", "1,5"),
    (json_exact, '{"a": 1, "a": 2}', '{"a": 2}'),
    (json_exact, '{"a": true}', '{"a": 1}'),
    (json_exact, '{"a": 1, "b": 2}', '{"a": 1}'),
    (json_exact, '[{"a": 1}]', '{"a": 1}'),
    (json_exact, '{"a": 1} {"a": 2}', '{"a": 1}'),
    (json_exact, '{"a": NaN}', '{"a": NaN}'),
    (json_exact, "{}", '{"a": 1}'),
    (json_exact, '```json\n{"a": 1}\n```', '{"a": 1}'),
    (digits, "1234", "123"),
    (digits, "123\n4", "123"),
    (regex_fullmatch, "a" * 5000, "a+"),
]


@pytest.mark.parametrize(("reward", "answer", "gold"), RIGHT)
def test_gold_scores_one(reward: Reward, answer: str, gold: str) -> None:
    assert score(reward, answer, gold) == 1.0
    assert score(reward, answer, "something else entirely", gold) == 1.0


@pytest.mark.parametrize(("reward", "answer", "gold"), WRONG)
def test_what_only_looks_like_it_scores_zero(reward: Reward, answer: str, gold: str) -> None:
    assert score(reward, answer, gold) == 0.0


ALL: list[Callable[..., float]] = [
    exact_text,
    normalized_text,
    choice,
    words,
    phrases,
    number,
    near,
    comma,
    json_fields,
    json_exact,
    city,
    digits,
]


@pytest.mark.parametrize("reward", ALL)
@pytest.mark.parametrize(
    "completion", ["", "42", render("42", ""), render("", "42") * 2, "<answer>42</answer>", "[" * 100_000]
)
def test_a_broken_form_scores_zero(reward: Reward, completion: str) -> None:
    assert reward(completion, Example("1", (), ("42", '{"a": 42}', "A", "да"))) == 0.0


@given(st.text(), st.text(min_size=1))
def test_no_string_raises(answer: str, gold: str) -> None:
    for reward in ALL:
        assert 0.0 <= score(reward, answer, gold) <= 1.0


def test_fields_score_their_share() -> None:
    gold = '{"a": 1, "b": "x", "c": null, "d": [1]}'
    assert score(json_fields, '{"a": 1, "b": "y", "c": null}', gold) == 0.5
    assert score(json_fields, '{"a": 1, "z": 1}', gold) == 0.0
    assert score(json_fields, "[" * 50_000, gold) == 0.0
    assert score(json_exact, "{}", "{}") == 1.0
    assert score(json_exact, '{"a": 1}', "{}") == 0.0
    optional = partial(json_fields, fields=["a", "b"])
    assert score(optional, '{"a": 1}', '{"a": 1}') == 1.0
    assert score(optional, '{"a": 1, "b": 2}', '{"a": 1}') == 0.0
    assert score(optional, "{}", '{"a": 1}') == 0.0
    assert score(optional, '{"a": 1}', '{"a": 1, "b": 2}') == 0.5
    assert score(partial(json_fields, fields=["z"]), '{"a": 1}', '{"a": 1}') == 0.0
    assert score(json_exact, '{"a": 1e400}', '{"a": 1e500}') == 0.0
    assert object_of('{"a": ' + "9" * 5000 + "}") is None
    assert same(True, True)
    assert not same("1", 1)


def test_number_of() -> None:
    assert number_of("-1 234 567.5") == Decimal("-1234567.5")
    assert number_of("1 23") is None
    assert number_of("1" * 65) is None


def test_a_broken_pattern_is_the_authors_error() -> None:
    with pytest.raises(UserError, match=r"'\(' isn't a regular expression"):
        score(regex_fullmatch, "a", "(")


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("1/2", "0.5", 1.0),
        (r"\frac{1}{2}", "1/2", 1.0),
        ("2x+1", "1+2x", 1.0),
        ("x^2", "x^3", 0.0),
        ("", "1", 0.0),
        ("1 or 2", "2", 0.0),
        ("9" * 600, "9", 0.0),
        ("\\frac{", "1", 0.0),
        ("__import__('os')", "1", 0.0),
        ("$12$", "12", 1.0),
        ("$$12$$", "$12$", 1.0),
        (r"\[\frac{1}{2}\]", "1/2", 1.0),
        (r"\$5", "5", 1.0),
        ("$5", "5", 1.0),
        ("x = 12", "x=12", 1.0),
        ("2^{2024}", "2^{2024}", 1.0),
        ("10!", "10!", 1.0),
        (r"\frac{n!}{2}", r"\frac{1}{2}n!", 1.0),
        (r"\binom{10}{3}(1/2)^{10}", r"\binom{10}{7}(1/2)^{10}", 1.0),
        (r"e^{x^2}", "e^{x^{2}}", 1.0),
        (r"x^{10}+x^{20}+x^{30}+x^{40}", "x^{40}+x^{30}+x^{20}+x^{10}", 1.0),
        (r"\int_0^1 x dx", r"\int_0^1 x dx", 1.0),
        ("1\n2\n3\n12", "12", 0.0),
        ("12\n156\n342\n42\n0\n12", "12", 0.0),
        ("5 = 12", "12", 0.0),
        (r"5 \equiv 12", "12", 0.0),
        ("$17$ $18$", "18", 0.0),
        ("17 $18$", "18", 0.0),
        (r"\(17\) \(18\)", "18", 0.0),
        (r"\boxed{17} \boxed{18}", "18", 0.0),
        (r"17 \to 18", "18", 0.0),
        (r"17 \Rightarrow 18", "18", 0.0),
        ("17 & 18", "18", 0.0),
        (r"17 \\ 18", "18", 0.0),
        (r"\int_0^1 2x dx", "1", 0.0),
        (r"\boxed{5}", "5", 1.0),
        (r"\boxed{5} 6", "5", 0.0),
        (r"\boxed{5} \text{ or } 6", "5", 0.0),
        (r"5 \approx 6", "5", 0.0),
        ("7 apples", "7", 0.0),
        # The question isn't its answer.
        ("1234*5678", "7006652", 0.0),
        (r"1234 \cdot 5678", "7006652", 0.0),
        ("3+2", "5", 0.0),
        ("84/6", "14", 0.0),
        (r"\sqrt{25}", "5", 0.0),
        ("2^{10}", "1024", 0.0),
        ("10!", "3628800", 0.0),
        (r"\binom{10}{3}", "120", 0.0),
        (r"\gcd(12,18)", "6", 0.0),
        (r"2^{10} \mod 7", "2", 0.0),
        (r"\sin(\pi/6)", "1/2", 0.0),
        (r"\cos(\pi/6)", r"\frac{\sqrt{3}}{2}", 0.0),
        (r"\frac{d}{dx} x^3", "3x^2", 0.0),
        (r"\sin x + \cos x", r"\cos x + \sin x", 1.0),
        # Numbers, however they are written.
        ("-7", "-7", 1.0),
        (r"-\frac{1}{2}", "-0.5", 1.0),
        (r"\frac12", "0.5", 1.0),
        ("2/4", "1/2", 1.0),
        ("1,000", "1000", 1.0),
        (r"1.2 \times 10^3", "1200", 1.0),
        (r"5\%", "5", 1.0),
        (r"45^\circ", "45", 1.0),
        (".5", "0.5", 1.0),
        ("1/" + "3" * 90, "9" * 5000, 0.0),
        ("2", "1/" + "3" * 5000, 0.0),
    ],
)
def test_formulas(answer: str, gold: str, expected: float) -> None:
    pytest.importorskip("math_verify")
    assert score(math_equal, answer, gold) == expected


@pytest.mark.parametrize("in_a_thread", [False, True])
def test_no_formula_hangs(in_a_thread: bool) -> None:
    pytest.importorskip("math_verify")
    score(math_equal, "1", "1")  # what loads the parser
    bombs = [
        "11111111!", "2^{1000000000}", "7^{7^{9}}", "(10^{10})!", r"\int_0^1 e^{x^2}\sin(x^3) dx", "9!!!", "((9!)!)!",
        "2**9999999999", "9**9**9**9", "((10^{999})^{999})^{999}", "1E9999999", r"\binom{10^{9}}{10^{8}}", "2^{99!}",
        r"2^{\binom{99}{50}}", "2^{1000000000", "e^{e^{e^{9}}}", "10^{99}^{99}", "(99999999)!",
        r"\sqrt[{1/9999999999}]{9}", r"\sqrt{10^{9999}+7}", "(" * 60 + "1" + ")" * 60,
        "{" * 40, "([{" * 20, "1" * 60 + "!", r"\sqrt{" * 20 + "2" + "}" * 20, "a" * 160, "x^{2}+" * 25 + "1",
    ]  # fmt: skip
    took: dict[str, float] = {}

    def shoot() -> None:
        for bomb in bombs:
            started = time.perf_counter()
            assert score(math_equal, bomb, "x+5") == 0.0, bomb  # a number would be refused as no number
            took[bomb] = time.perf_counter() - started

    with ThreadPoolExecutor(1) as pool:
        pool.submit(shoot).result() if in_a_thread else shoot()
    assert {bomb: seconds for bomb, seconds in took.items() if seconds > 2} == {}


def test_the_library_is_quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("math_verify")
    score(math_equal, "3/7", "3/7")
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")


def test_formulas_without_the_library_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "math_verify", None)
    mathematics._warm_up.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'reasoning-toolkit\[math\]'"):
        score(math_equal, "2", "1")
