"""The pages as a person meets them, in headless Chromium."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CONTRAST, PAPER, Page, browser, chromium
from tests.pages import right, write_evaluation, write_run, wrong
from toolkit.conversations.inspecting import Inspection, Token
from toolkit.conversations.report import Tally
from toolkit.conversations.showing import html_page
from toolkit.page.render import write_report

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")

TEXTS = "[...document.querySelectorAll('#list .example')].map(each => each.innerText)"
COUNT = "document.getElementById('count').textContent"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([write_run(tmp_path_factory.mktemp("report") / "demo")])


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


def choose(tab: Page, name: str, value: str, count: str) -> None:
    """Set a filter as a person would, and wait for the count that it should lead to."""
    tab.js(
        f"(() => {{ const field = document.forms.filters.elements[{json.dumps(name)}];"
        f"field.value = {json.dumps(value)}; field.dispatchEvent(new Event('input', {{bubbles: true}})) }})()"
    )
    tab.wait(f"{COUNT} === {json.dumps(count)}")


def assert_well(tab: Page) -> None:
    assert tab.errors == []
    assert tab.requests == []
    assert tab.js("window.owned") is None, "a completion ran as a script"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_report_renders_in_both_schemes(tab: Page, report: Path, dark: bool) -> None:
    tab.open(report, dark=dark)
    assert_well(tab)
    assert tab.js(PAPER) == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
    headings = tab.js("[...document.querySelectorAll('h2')].map(each => each.textContent)")
    assert headings == ["Verdict", "Results", "Slices", "Completion lengths", "Training", "Examples", "The same again"]
    boxes = tab.js("[...document.querySelectorAll('figure svg')].map(each => each.getBoundingClientRect().height)")
    assert len(boxes) == 1 + 3 + 4
    assert min(boxes) > 100
    least, where = tab.js(CONTRAST)
    assert least >= 4.5, where


def test_the_button_changes_the_scheme(tab: Page, report: Path) -> None:
    tab.open(report)
    assert tab.js("document.getElementById('theme').textContent") == "Dark"
    tab.js("document.getElementById('theme').click()")
    assert tab.js(PAPER) == "rgb(20, 23, 28)"
    tab.js("document.getElementById('theme').click()")
    assert tab.js(PAPER) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_the_report_fits_its_window(tab: Page, report: Path, width: int) -> None:
    tab.open(report, width=width)
    assert tab.js("document.documentElement.scrollWidth") == width
    assert_well(tab)


def test_flips_come_first_with_both_completions(tab: Page, report: Path) -> None:
    tab.open(report)
    assert tab.js(COUNT) == "54 of 60 examples"
    texts = tab.js(TEXTS)
    assert len(texts) == 20
    for said in ("▲ gained", "test-1", "lang=ru", wrong(1), right(1), "what is 1?", "base", "SFT+GRPO", "wrong format"):
        assert said.replace("\u2028", "") in texts[0].replace("\u2028", "")


def test_filters_work_by_themselves_and_together(tab: Page, report: Path) -> None:
    tab.open(report)
    choose(tab, "change", "", "60 of 60 examples")
    choose(tab, "tag1", "ru", "30 of 60 examples")
    choose(tab, "tag0", "<b>3</b>", "6 of 60 examples")
    choose(tab, "text", "WHAT IS 33?", "1 of 60 examples")
    assert "test-33" in tab.js(TEXTS)[0]
    tab.js("document.querySelector('#filters button').click()")
    tab.wait(f"{COUNT} === '54 of 60 examples'")
    choose(tab, "change", "lost", "0 of 60 examples")
    choose(tab, "change", "wrong", "6 of 60 examples")
    choose(tab, "status", "wrong_format", "6 of 60 examples")
    choose(tab, "status", "right", "0 of 60 examples")
    assert_well(tab)


def test_any_two_models_are_put_side_by_side(tab: Page, report: Path) -> None:
    tab.open(report)
    choose(tab, "left", "2", "0 of 60 examples")  # the same model on both sides
    choose(tab, "right", "1", "22 of 60 examples")  # wrong by one of them alone: 4 and 18
    assert "SFT+GRPO" in tab.js(TEXTS)[0]


def test_pages_turn(tab: Page, report: Path) -> None:
    tab.open(report)
    first = tab.js(TEXTS)
    tab.js("document.querySelectorAll('.forth')[0].click()")
    assert tab.js("document.querySelector('.pager .page').textContent") == "page 2 of 3"
    assert not set(first) & set(tab.js(TEXTS))
    tab.js("document.querySelectorAll('.forth')[1].click()")
    assert len(tab.js(TEXTS)) == 14
    assert tab.js("document.querySelectorAll('.forth')[0].disabled")


def test_a_slice_leads_to_its_examples(tab: Page, report: Path) -> None:
    tab.open(report)
    tab.js("document.querySelector('a[data-tag=kind][data-value=\"<b>2</b>\"]').click()")
    assert tab.js(COUNT) == "12 of 60 examples"
    assert all("kind=<b>2</b>" in text for text in tab.js(TEXTS))


def test_keys_reach_every_control(tab: Page, report: Path) -> None:
    tab.open(report)
    reached = set()
    for _ in range(60):
        for kind in ("keyDown", "keyUp"):
            tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.add(tab.js("(e => e.id || e.name || e.className || e.tagName)(document.activeElement)"))
    assert {"theme", "SUMMARY", "wide", "left", "right", "change", "status", "tag0", "text", "forth"} <= reached


@pytest.mark.slow
def test_a_page_of_three_thousand_examples_opens_fast(tab: Page, tmp_path: Path) -> None:
    paths = [
        write_evaluation(tmp_path / "base", lambda i: wrong(i) + " слово" * 30, n=3000),
        write_evaluation(tmp_path / "candidate", lambda i: right(i) if i % 2 else wrong(i), n=3000),
    ]
    report = write_report(paths, tmp_path / "report.html")
    assert report.stat().st_size < 4_000_000
    started = time.monotonic()
    tab.open(report)
    assert tab.js(COUNT) == "1500 of 3000 examples"
    assert time.monotonic() - started < 10, "half a second on an idle machine"
    assert tab.js("document.querySelectorAll('*').length") < 3000, "only one page of the list is in the document"
    assert_well(tab)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_inspection_renders_in_both_schemes(tab: Page, tmp_path: Path, dark: bool) -> None:
    report = Tally("<b>.csv", 0.0).to_json() | {"encodings": [], "lengths": {"12": 1, "40": 1}}
    tokens = (Token(1, "<script>window.owned = 1</script>", False), Token(2, "ответ", True))
    found = Inspection(report, "chatml", ("a problem",), ("a note",), (("row 1", tokens),))
    path = tmp_path / "inspection.html"
    path.write_text(html_page(found), encoding="utf-8")
    tab.open(path, dark=dark)
    assert_well(tab)
    assert tab.js(PAPER) == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
    assert tab.js("[...document.querySelectorAll('.supervised')].map(each => each.textContent)") == ["marked", "ответ"]
    assert tab.js("document.querySelectorAll('.token')[2].textContent") == "<script>window.owned = 1</script>"
    least, where = tab.js(CONTRAST)
    assert least >= 4.5, where
