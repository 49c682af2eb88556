"""The local page as a person meets it, in headless Chromium, from the list to two answers side by side."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
import yaml

from tests.browser import CONTRAST, PAPER, Page, browser, chromium
from tests.pages import write_run
from tests.test_ui import write_rollouts
from tests.test_ui_asking import ANSWERS, Engines
from toolkit.page.render import write_report
from toolkit.ui import asking
from toolkit.ui.app import application
from toolkit.ui.asking import Asker
from toolkit.ui.runs import Shelf

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")

TITLE = "document.querySelector('h1').textContent"
SIDES = "[...document.querySelectorAll('.asked:first-child .side')].map(each => each.innerText)"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the datetime task with figures made up; their base is a directory that nobody loads."""
    root = tmp_path_factory.mktemp("ui")
    model = root / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "model.safetensors").write_bytes(b"weights")
    demo = write_run(root / "runs" / "demo")
    recipe = yaml.safe_load((demo / "recipe.yaml").read_text(encoding="utf-8"))
    recipe = {**recipe, "task": "datetime_extraction", "model": {"reference": str(model), "backend": "transformers"}}
    (demo / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    (demo / "stages" / "merge.json").write_text("{}", encoding="utf-8")
    write_rollouts(demo, 9)
    write_report([demo])
    shutil.copytree(demo, root / "runs" / "second")
    return root / "runs"


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    made = Engines()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "load_engine", made)
        yield made


@pytest.fixture(scope="module")
def address(runs: Path, engines: Engines) -> Iterator[str]:
    """The page, served as the command serves it."""
    server = uvicorn.Server(uvicorn.Config(application(Shelf([runs]), Asker("scripted", {}, 40)), log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


def open_run(tab: Page, address: str, *, width: int = 1200, dark: bool = False) -> None:
    """From the list to the first run, by its link."""
    tab.open(address, width=width, dark=dark)
    tab.js("document.querySelector('.run h2 a').click()")
    tab.wait(f"document.readyState === 'complete' && {TITLE} === 'demo'")
    tab.wait(
        "document.querySelectorAll('figure svg').length === 5 && document.querySelector('#rollouts article') !== null"
    )


def assert_well(tab: Page, address: str) -> None:
    assert tab.errors == []
    assert [each for each in tab.requests if not each.startswith(address)] == []
    assert tab.js("window.owned") is None, "a text ran as a script"


def ask(tab: Page, text: str, **values: str) -> None:
    for name, value in {"text": text, **values}.items():
        tab.js(f"document.forms.question.elements.{name}.value = {json.dumps(value)}")
    tab.js("document.querySelector('#question button').click()")
    tab.wait(f"document.querySelector('.asked:first-child h3')?.textContent === {json.dumps(text)}")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_from_the_list_to_two_answers_side_by_side(tab: Page, address: str, engines: Engines, dark: bool) -> None:
    open_run(tab, address, dark=dark)
    paper = "rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)"
    assert tab.js(PAPER) == paper
    when = {"date": "2025-01-17", "time": "10:30", "offset": "+03:00"}
    ask(tab, "Послезавтра в 12", **when)
    tab.wait(f"{SIDES}.every(each => / s$/.test(each)) && {SIDES}.length === 2")
    base, tuned = tab.js(SIDES)
    assert base.startswith("base")
    assert ANSWERS["base"] in base
    assert "no well-formed answer" in base
    assert tuned.startswith("SFT+GRPO\n\n2025-01-19T12:00:00+03:00\n\nreasoning\n\nпт 17 + 2 = 19")
    assert "17 January 2025" in engines.prompts[-1]
    places = tab.js("[...document.querySelectorAll('.asked .side')].map(each => each.getBoundingClientRect().top)")
    assert places[0] == places[1], "beside each other, not below"
    ask(tab, "the day after tomorrow at noon", **when)
    tab.wait("document.querySelectorAll('.asked').length === 2")
    assert tab.js("document.querySelector('.asked .note').textContent") == "said on 2025-01-17 10:30 +03:00"
    tab.wait(f"{SIDES}.every(each => / s$/.test(each))")
    least, where = tab.js(CONTRAST)
    assert least >= 4.5, where
    assert_well(tab, address)


def test_a_model_that_thinks_is_seen_to(tab: Page, address: str, engines: Engines) -> None:
    open_run(tab, address)
    engines.gate.clear()
    try:
        ask(tab, "завтра")
        tab.wait(f"{SIDES}[1]?.includes('thinking…')")
        assert "waiting its turn…" in tab.js(SIDES)[0]
        assert tab.js("document.querySelectorAll('.asked progress').length") == 2
    finally:
        engines.gate.set()
    tab.wait(f"{SIDES}[1].includes('2025-01-19') && document.querySelectorAll('.asked progress').length === 0")


def test_a_refused_question_says_why(tab: Page, address: str) -> None:
    open_run(tab, address)
    ask(tab, "   ")
    tab.wait("!document.querySelector('.asked .problem').hidden")
    assert tab.js("document.querySelector('.asked .problem').textContent").startswith("the phrase is empty")


def test_the_page_follows_a_run_that_trains(tab: Page, address: str, runs: Path) -> None:
    open_run(tab, address)
    tab.js("document.querySelector('#flips-gained summary').click()")
    ask(tab, "завтра в 9")
    log, before = runs / "demo" / "sft" / "log.jsonl", (runs / "demo" / "sft" / "log.jsonl").read_text(encoding="utf-8")
    try:
        log.write_text(before + json.dumps({"step": 21, "loss": 0.0625}) + "\n", encoding="utf-8")
        tab.wait("document.querySelector('[data-part=curves]').innerText.includes('training, last 0.0625')")
        (runs / "demo" / "comparison.json").touch()
        tab.wait("performance.getEntriesByType('resource').length > 12")  # some looks later
    finally:
        log.write_text(before, encoding="utf-8")
    assert tab.js("document.querySelector('#flips-gained').open"), "what was opened stays open"
    assert tab.js("document.querySelector('.asked h3').textContent") == "завтра в 9"
    assert_well(tab, address)


def test_the_slider_leads_through_the_samples(tab: Page, address: str) -> None:
    open_run(tab, address)
    said = "document.querySelector('#place output').textContent"
    assert tab.js(said) == "after step 8; 2 more prompts of this step"
    tab.js("(e => { e.value = 0; e.dispatchEvent(new Event('input')) })(document.querySelector('#place input'))")
    tab.wait(f"{said}.startsWith('after step 0')")
    assert "reward 1.05" in tab.js("document.querySelector('#rollouts .side').innerText")
    assert_well(tab, address)


def test_two_runs_are_chosen_and_compared(tab: Page, address: str) -> None:
    tab.open(address)
    assert tab.js("document.getElementById('compare').disabled")
    tab.js("document.querySelectorAll('.pick input').forEach(each => each.click())")
    tab.js("document.getElementById('compare').click()")
    tab.wait(f"document.readyState === 'complete' && {TITLE} === 'Compared: demo, second'")
    first = tab.js("document.querySelector('.verdict h3').textContent")
    assert first.endswith("second: SFT+GRPO is as good as demo: SFT+GRPO")
    assert tab.js("document.querySelectorAll('svg .line').length") == 2
    assert_well(tab, address)


@pytest.mark.parametrize("width", [360, 800])
def test_the_pages_fit_their_window(tab: Page, address: str, width: int) -> None:
    tab.open(address, width=width)
    assert tab.js("document.documentElement.scrollWidth") == width
    open_run(tab, address, width=width)
    ask(tab, "Послезавтра в 12 " * 20)
    tab.wait(f"{SIDES}.every(each => / s$/.test(each))")
    assert tab.js("document.documentElement.scrollWidth") == width
    assert_well(tab, address)


def test_keys_reach_every_control(tab: Page, address: str) -> None:
    def reached() -> set[str]:
        found = set()
        for _ in range(40):
            for kind in ("keyDown", "keyUp"):
                tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            found.add(tab.js("(e => e.id || e.name || e.className || e.textContent)(document.activeElement)"))
        return found

    tab.open(address)
    assert {"theme", "run", "demo", "second"} <= reached()
    open_run(tab, address)
    assert {"theme", "All runs", "The report", "text", "date", "time", "offset", "Ask", "at"} <= reached()


def test_the_chosen_scheme_holds_on_the_next_page(tab: Page, address: str) -> None:
    tab.open(address)
    tab.js("document.getElementById('theme').click()")
    try:
        tab.js("document.querySelector('.run h2 a').click()")
        tab.wait(f"document.readyState === 'complete' && {TITLE} === 'demo'")
        assert tab.js(PAPER) == "rgb(20, 23, 28)"
    finally:
        tab.js("sessionStorage.clear()")


def test_the_report_opens_in_an_origin_of_its_own(tab: Page, address: str) -> None:
    open_run(tab, address)
    tab.js("[...document.querySelectorAll('a')].find(each => each.textContent === 'The report').click()")
    tab.wait("document.readyState === 'complete' && document.getElementById('count')?.textContent.includes('of 60')")
    assert tab.js("window.origin") == "null"
    assert_well(tab, address)
