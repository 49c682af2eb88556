"""The documentation as a site: it builds strictly, loads nothing from elsewhere, and what is generated isn't stale."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.reference.__main__ import generated, main
from scripts.reference.bars import BARS, Bars, figures
from scripts.reference.parameters import PARTS, keys, parameters_page, texts
from tests.browser import browser, chromium
from toolkit.cli import command, verbs_of
from toolkit.config import Recipe
from toolkit.config.sections import CLIP

ROOT = Path(__file__).resolve().parents[1]
needs_mkdocs = pytest.mark.skipif(find_spec("material") is None, reason="needs mkdocs-material")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    command_line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command_line, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


class Loaded(HTMLParser):
    """What a browser fetches for a page by itself: scripts, styles, images, frames; not what a reader may click."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses of a tag."""
        for name, value in attrs:
            clicked = tag == "a" or (tag == "link" and dict(attrs).get("rel") in ("next", "prev", "canonical"))
            if value and name in ("src", "srcset", "href", "data", "poster", "action") and not clicked:
                self.found.append(value)
            if value and name == "style":
                self.found += re.findall(r"url\((.+?)\)", value)


@needs_mkdocs
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert len(loaded.found) > 3, page
        assert [each for each in loaded.found if re.match(r"(?:\w+:)?//", each)] == [], page
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert [each for each in re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", text) if "//" in each[:8]] == [], (
            style
        )


@needs_mkdocs
@pytest.mark.skipif(chromium() is None, reason="needs a Chromium")
def test_a_browser_asks_nobody(site: Path, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as page:
        for name in ("index.html", "grpo.html", "reference/parameters.html"):
            page.open(site / name)
            page.wait("document.readyState === 'complete'")
            page.js("new Promise(done => setTimeout(done, 300))")
            assert page.requests == [], name
        page.open(site / "grpo.html")
        assert page.js("[...document.images].every(each => each.complete && each.naturalWidth > 0)")
        assert page.js("document.images.length") == 3


@needs_mkdocs
def test_every_page_is_in_the_navigation(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    for path in (ROOT / "docs").rglob("*.md"):
        name = path.relative_to(ROOT / "docs").with_suffix(".html")
        assert f'href="{name}"' in index or name.name == "index.html", name


def test_what_is_generated_is_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_a_stale_file_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    changed = {path: text + "\n" for path, text in generated().items()}
    monkeypatch.setattr("scripts.reference.__main__.generated", lambda: changed)
    assert main(["--check"]) == 1
    said = capsys.readouterr().out
    assert said.count("stale: ") == len(changed) == 13
    assert said.endswith("run: make docs\n")


def test_every_key_is_explained_and_nothing_else() -> None:
    names = [key.name for key in keys()]
    assert sorted(names) == sorted(set(names))
    assert set(texts()) == set(names)
    for name, said in texts().items():
        assert tuple(said) == tuple(PARTS), name
        for part, text in said.items():
            assert isinstance(text, str), (name, part)
            assert len(text) >= (1 if part == "range" else 15), (name, part)
    for key in keys():
        assert key.schema.get("description"), f"{key.name} has no description in sections.py"


def test_the_keys_are_those_of_a_recipe() -> None:
    """The walk over the sections itself: every leaf of a full recipe, and the sections of both kinds of data."""
    shown = {key.shown for key in keys()}
    recipe: Any = yaml.safe_load((ROOT / "configs" / "datetime" / "smollm2.yaml").read_text(encoding="utf-8"))
    used = {f"{section}.{name}" for section, some in recipe.items() if isinstance(some, dict) for name in some}
    assert used <= shown
    assert {"task", "output", "seed", "data.path", "data.columns.user", "launch.hosts"} <= shown
    assert not any(name in Recipe.model_fields and name in ("model", "lora", "sft", "grpo") for name in shown)


def test_the_page_says_bounds_and_defaults() -> None:
    page = parameters_page()
    assert "completions of each prompt: the group that advantages compare (integer ≥ 2; default `8`)" in page
    assert "(`lora`, `qlora`, `full`; default `lora`)" in page
    assert "the run directory (text; required)" in page


def test_the_command_page_has_every_verb_and_option() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^## (toolkit .+)\n((?:(?!^## ).*\n)*)", page, re.M))
    found = dict(verbs_of(command()))
    assert list(parts) == list(found)
    for name, verb in found.items():
        options = [option for each in verb.params for option in each.opts if option.startswith("--")]
        assert [option for option in options if option not in parts[name]] == [], name


def test_the_plots_are_of_the_settings_that_train() -> None:
    source = (ROOT / "toolkit" / "training" / "grpo.py").read_text(encoding="utf-8")
    assert "epsilon=CLIP[0]" in source
    text = (ROOT / "docs" / "grpo.md").read_text(encoding="utf-8")
    assert f"r may fall to {1 - CLIP[0]:g} and rise to {1 + CLIP[1]:g}" in text


PAGE_OF_FIGURES = """\
### Speed
| what | GB | tokens/s |
|---|---|---|
| ours: packed | 4 | **392,318** |
| theirs | 2 | about 4,289 ¹ |
### Memory
| what | tokens/s |
|---|---|
| theirs, tuned | 7 |
"""


def test_the_bars_are_the_tables_figures() -> None:
    bars = Bars("Speed", "Speed", 0, "tokens/s", (("ours", "ours"), ("theirs", "theirs")))
    assert figures(PAGE_OF_FIGURES, bars) == [392318, 4289]
    for wrong in ({"rows": (("TRL", "TRL"),)}, {"column": "steps/s"}, {"section": "Cost"}):
        with pytest.raises(ValueError, match=r"not enough values|is not in list"):
            figures(PAGE_OF_FIGURES, replace(bars, **wrong))
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert [name for name in BARS if f"(img/{name}.svg)" not in page] == []
