"""What a rounded figure may not hide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.compare import compare
from eval.gating.reports import report_grid
from eval.gating.verdicts import check
from eval.shown import confidence, limit, limit_points, p_is, p_value, percent
from eval.summary import read_summary
from eval.tables import comparison_grid, summary_grid, to_text
from tests.docs_blocks import ROOT
from tests.test_compare import run
from toolkit.page.render import report_page
from toolkit.page.sources import read_sources
from toolkit.page.svg import tick_percent
from toolkit.scan import advise


@pytest.mark.parametrize(
    ("share", "digits", "shown"),
    [
        (2999 / 3000, 1, ">99.9%"),
        (1 / 3000, 1, "<0.1%"),
        (0.996, 0, ">99%"),
        (0.004, 0, "<1%"),
        (0.9994, 1, "99.9%"),
        (0.0006, 1, "0.1%"),
        (1.0, 1, "100.0%"),
        (sum([0.1] * 10), 1, "100.0%"),  # 0.9999999999999999
        (1e-17, 1, "0.0%"),
        (0.0, 0, "0%"),
        (0.525, 1, "52.5%"),
    ],
)
def test_nothing_is_whole_but_the_whole(share: float, digits: int, shown: str) -> None:
    assert percent(share, digits) == shown


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_of_so_many_examples_one_is_seen(n: int, right: int) -> None:
    share = min(right, n) / n
    assert (percent(share) == "100.0%") == (share == 1)
    assert (percent(share) == "0.0%") == (share == 0)


def test_limits_and_confidence_keep_their_digits() -> None:
    assert [limit(value) for value in (0.95, 0.9999, 0.9995, 0.01, 1e-7)] == [
        "95.0%",
        "99.99%",
        "99.95%",
        "1.0%",
        "1e-05%",
    ]
    assert [limit_points(value) for value in (-0.02, 0.0025, -0.0)] == ["-2.0 pt", "+0.25 pt", "+0.0 pt"]
    assert [confidence(alpha) for alpha in (0.05, 0.025, 0.001, 0.5)] == ["95%", "97.5%", "99.9%", "50%"]


def test_no_p_is_0() -> None:
    assert (p_is(0.0), p_is(0.0625, 3), p_value(0.0), p_value(0.00421)) == (
        "p < 1e-300",
        "p = 0.0625",
        "<1e-300",
        "0.0042",
    )


def test_ticks_of_a_page_too() -> None:
    assert [tick_percent(value) for value in (0.5, 1.0, 0.0, 29_999 / 30_000, 0.9997)] == [
        "50%",
        "100%",
        "0%",
        ">99.9%",
        "99.97%",
    ]


def test_one_failure_of_three_thousand_is_seen_wherever_a_rate_is(tmp_path: Path) -> None:
    almost, whole = run(tmp_path / "almost", [i > 0 for i in range(3000)]), run(tmp_path / "whole", [True] * 3000)
    assert to_text(summary_grid(read_summary(almost))).splitlines()[2].startswith("all\t3000\t>99.9%\t99.8%..>99.9%\t")
    result = compare(almost, whole, alpha=0.001)
    header, row = comparison_grid(result).header, comparison_grid(result).rows[0]
    assert header[5] == "99.9% CI"
    assert row[2:4] == (">99.9%", "100.0%")
    gates = tmp_path / "gates.toml"
    gates.write_text('[[gate]]\nkind = "at_least"\nbound = 0.9999\n', encoding="utf-8")
    assert report_grid(check(gates, almost)).rows[0][3:7] == (">99.9%", ">99.9%", "99.8%..>99.9%", "99.99%")
    page = report_page(read_sources([almost, whole]), [almost, whole])
    assert "100.0% exact against >99.9%" in page.replace("&gt;", ">")
    assert '<td class="strong">&gt;99.9%</td>' in page


def test_a_p_that_no_float_holds(tmp_path: Path) -> None:
    worst, best = run(tmp_path / "worst", [False] * 1200), run(tmp_path / "best", [True] * 1200)
    text = to_text(comparison_grid(compare(worst, best)))
    assert "exact McNemar p < 1e-300" in text
    assert "p = 0\n" not in text
    assert "p &lt; 1e-300." in report_page(read_sources([worst, best]), [worst, best])


def test_a_scan_says_all_groups_only_of_all() -> None:
    said = " ".join(advise(0.004, {4: 0.9971, 8: 0.996}, 8, [0.0] * 255 + [0.5]))
    assert ">99% of the groups are dead" in said
    assert "too hard: <1% of the answers are right" in said


def test_rates_are_rounded_in_one_place() -> None:
    """Elsewhere a format of its own would show 2,999 of 3,000 as all."""
    own = re.compile(r":\.[012]%\}|%\.[012]f%%")
    paths = [
        path for name in ("eval", "toolkit") for path in (ROOT / name).rglob("*") if path.suffix in (".py", ".jinja")
    ]
    found = {str(path.relative_to(ROOT)) for path in paths if own.search(path.read_text(encoding="utf-8"))}
    assert found == {"eval/parity.py", "toolkit/training/planner.py"}, "a ratio, and a limit in whole percent"
