"""Numbers in math_equal: however they are written they are the same number, and no other one is right."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import mathematics
from rewards.core import Example
from rewards.mathematics import math_equal
from rewards.response import render
from rewards.written_numbers import number_in

pytest.importorskip("math_verify")


def score(answer: str, *golds: str) -> float:
    return math_equal(render("because", answer), Example("1", ({"role": "user", "content": "?"},), golds))


EQUAL = [
    *[(f"5{space}000", "5000") for space in (" ", "\u00a0", "\u202f", "\u2009", r"\,", r"\!", r",\!", "{,}", ",", "~")],
    ("1 234 567,5", "1234567.5"),
    ("$5 000$", "5000"),
    ("5000 m", r"5\,000 m"),
    ("5000", r"5 000 \text{ руб.}"),
    ("(5 000, 1)", "(5000, 1)"),
    ("2 1/2", "5/2"),
    ("2.5", "2 1/2"),
    (r"2\frac12", "2.5"),
    (r"-2 \frac{1}{2}", "-5/2"),
    (r"2\ 1/2", "2.5"),
    (r"5/2 \text{ cm}", r"2 1/2 \text{ cm}"),
    ("1,5", "1.5"),
    ("1{,}5", "1.5"),
    ("0,125", "0.125"),
    ("1,234", "1234"),
    ("(5)", "5"),
    ("{5}", "5"),
    (r"\text{5}", "5"),
    (r"\mathrm{ -5 }", "-5"),
    (r"\mathbf{5}", "5"),
    (r"\boxed 5", "5"),
    (r"\boxed5", "5"),
    ("5.", "5"),
    ("5;", "5"),
    ("–5", "-5"),
    ("5", "(5)"),
    ("1e3", "1000"),
    (r"1.38 \times 10^{−23}", r"13.8\cdot 10^{-24}"),
    ("0.333333", "1/3"),
    ("0.166667", "1/6"),
    ("3.141593", r"\pi"),
    ("5%", "0.05"),
    (r"5\%", "5"),
    ("(0,1,2,3)", "(0, 1,2,3)"),
    ("x" * 200, "x" * 200),  # the gold itself
    ("17 $18$", "17 $18$"),
    # Too large to be computed, but as it is written.
    ("1000(1+0.05)^{360}", "1000 (1+0.05)^{360}"),
    (r"1-\left(1-\frac{1}{365}\right)^{500}", r"1-(1-\frac{1}{365})^{500}"),
    ("1-(1-p)^{365}", "1-(1-p)^{ 365}"),
    ("(x + 1)^{300}", "(x+1)^{300}"),
    ("".join(f"(x - {i})" for i in range(1, 10)), "".join(f"(x-{i})" for i in range(1, 10))),
    ("+".join(f"a_{i}" for i in range(99)), " + ".join(f"a_{i}" for i in range(99))),
]
OTHER = [
    ("0", "5 000"),
    ("0", r"5\,000"),
    ("0", r"5 000 \text{ m}"),
    ("235", "1 234"),
    ("45 000 000", "0"),
    ("3/2", "2 1/2"),
    ("1.5", "2 1/2"),
    (r"3/2 \text{ cm}", r"2 1/2 \text{ cm}"),
    (r"1.38\times 10^{-23}", r"6.63\times 10^{-34}"),
    (r"-1.6 \times 10^{-19}", r"1.6 \times 10^{-19}"),
    ("0", r"1.6 \times 10^{-19}"),
    ("0", r"1.38\times 10^{-23} \text{ J/K}"),
    ("0.00000001", "10^{-9}"),
    ("0.0000004", "0.0000001"),
    ("-0.0000001", "0.0000001"),
    ("0.00001", "0.0000104"),
    ("(0.0000001, 1)", "(0.0000002, 1)"),
    ("0.3333", "1/3"),
    ("1000000.5", "1000000"),
    ("1000000/1000001", "1000001/1000002"),
    ("1,5", "15"),
    ("12,34", "1234"),
    ("1,234", "1.234"),
    ("0,125", "125"),
    ("1,234,5", "1234.5"),
    ("1,234 567", "1234567"),
    # What is no single number: alternatives, pairs, questions.
    ("(1,2)", "1.2"),
    ("(1,2)", "12"),
    ("{1,2}", "1.2"),
    (r"\text{1,2}", "1.2"),
    ("(1,234)", "1234"),
    ("[5]", "5"),
    ("(2)(3)", "6"),
    ("(5)+(0)", "5"),
    ("{5}{0}", "50"),
    (r"\text{5 or 6}", "5"),
    (r"\text{5}\text{6}", "56"),
    (r"\boxed 56", "56"),
    (r"\boxed 5 6", "5"),
    ("5;6", "5"),
    ("5. 6.", "5"),
    ("5 6", "56"),
    ("5  6x", "56x"),
    (r"x\left 5\right 6", "x56"),
    ("5 or 6", "5"),
    ("4 5 000", "5000"),
    ("--5", "5"),
    ("-", "0"),
    (".", "0"),
    ("()", "0"),
    (r"\text{}", "0"),
    ("3 -1/2", "5/2"),
    ("2 3/2", "7/2"),
    ("13 2/2", "14"),
    ("2 2/4", "2.5"),
    ("6/12", r"50\%"),
    ("1/0", "0"),
]


@pytest.mark.parametrize(("answer", "gold"), EQUAL)
def test_one_number_in_two_ways(answer: str, gold: str) -> None:
    assert score(answer, gold) == score(answer, "7", gold) == 1.0


@pytest.mark.parametrize(("answer", "gold"), OTHER)
def test_what_isnt_the_number(answer: str, gold: str) -> None:
    assert score(answer, gold) == 0.0


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_fractions_are_compared_exactly(one: Fraction, other: Fraction) -> None:
    assert score(f"{one.numerator}/{one.denominator}", f"{other.numerator}/{other.denominator}") == float(one == other)


@given(st.text(alphabet="0123456789,.;/ \\{}()-–%^eE\u00a0textfracimbod!", max_size=30))
def test_no_text_raises(text: str) -> None:
    number_in(text)
    assert score(text, "5") in (0.0, 1.0)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("(x+1)^{9999}", "(x+2)^{9999}"),
        ("(x+y+z+w+a+b)^{40}(x-y)^{2}", "(x+1)^2"),
        ("(a+b)^{30}(c+d)^{30}(e+f)^{3}", "(a+b)^{30}(c+d)^{30}(e+g)^{3}"),
        ("(a+b)(c+d)(e+f)(g+h)(i+j)(k+l)(m+n)(o+p)(q+r)(s+t)", "(a+b)(c+d)"),
        ("((a+b)^{9}+c)^{99}", "x"),
        (r"\frac{1}{x}\pi!(a+b)^{5}(x+1)2\cdot 3\sin x", r"\sin x+\ln x"),
        ("a," * 70 + "b", "a,b"),
        (r"1-(1-\frac{1}{99999999999999999999})^{9999}", "x"),
        (r"((1-\frac{1}{99999999999999999999})^{99})^{99}", "x"),
        (r"(1+\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7})^{30}", "x"),
        (r"(1+\pi)^{300}", "x"),
        (r"(1-\frac{1}{99999999999999999999^{90}})^{90}", "x"),
    ],
)
def test_the_form_alone_refuses_what_takes_long(answer: str, gold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread nothing else could."""

    def never(text: str) -> None:
        raise AssertionError(text)

    score("x", "y")
    monkeypatch.setattr(mathematics, "_parsed", never)
    assert score(answer, gold) == 0.0


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("(x+1)^{100}", "(1+x)^{100}"),
        ("(-2)^{2024}x", "2^{2024}x"),
        ("(x-1)(x-2)(x-3)(x-4)", "(x-4)(x-3)(x-2)(x-1)"),
        ("(z^2+x^2+y^2)^{3/2}", "(x^2+y^2+z^2)^{3/2}"),
        ("24,12,8,6,4,3,2,1", "1,2,3,4,6,8,12,24"),
        (r"\frac{(a+b)^2}{c}", r"\frac{a^2+2ab+b^2}{c}"),
        ("1000(1+0.05)^{360}", "(0.05+1)^{360} 1000"),
        (r"1-\left(1-\frac{1}{365}\right)^{500}", r"1-(\frac{364}{365})^{500}"),
    ],
)
def test_answers_of_usual_size_are_compared(answer: str, gold: str) -> None:
    assert score(answer, gold) == 1.0
