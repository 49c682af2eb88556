from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from eval.files import read_json, write_json
from tests.pages import right, write_evaluation, write_run, wrong
from tests.test_compare import lopsided
from tests.test_compare import run as evaluated
from toolkit.page import figures, verdict
from toolkit.page.examples import browser
from toolkit.page.render import report_page
from toolkit.page.sources import read_sources


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("page") / "demo")


def test_a_run_gets_three_verdicts_the_stored_one_first(run: Path) -> None:
    pairs = verdict.pairs_of(read_sources([run]))
    assert [pair.title for pair in pairs] == [
        "SFT+GRPO is better than base",
        "SFT is better than base",
        "SFT+GRPO is better than SFT",
    ]
    assert pairs[0].comparison == read_json(run / "comparison.json", "")
    said = verdict.grounds(pairs[0])
    assert said[0].startswith("90.0% exact against 0.0%: +90.0 points (95% interval +")
    assert said[1].startswith("54 gained, 0 lost of 60 examples. Exact McNemar p = ")
    assert "No slice of 7 got worse." in said


def test_slices_that_got_worse_are_named(tmp_path: Path) -> None:
    base = write_evaluation(tmp_path / "base", lambda i: right(i) if i % 2 else wrong(i))
    candidate = write_evaluation(tmp_path / "candidate", lambda i: wrong(i) if i % 2 else right(i))
    (pair,) = verdict.pairs_of(read_sources([base, candidate]))
    assert pair.verdict == "can't tell"
    said = " ".join(verdict.grounds(pair))
    assert "30 gained, 30 lost of 60 examples" in said
    assert "Worse in 1 of 7 slices: lang=ru (−100.0, 30 examples)." in said
    assert re.search(r"About \d+ examples would tell", said)


def test_a_slice_is_worse_here_where_it_is_in_the_terminal(tmp_path: Path) -> None:
    """One is beyond doubt by sign flips alone, and its interval holds 0."""
    (pair,) = verdict.pairs_of(read_sources([*lopsided(tmp_path)]))
    assert not pair.comparison["worse_slices"]
    assert "In 1 of 2 slices the mean is lower, in none beyond doubt." in verdict.grounds(pair)


def test_a_row_is_coloured_as_the_verdict_goes(tmp_path: Path) -> None:
    """5 gained, 0 lost of 200: the interval excludes 0, the test isn't sure, and nothing of it is above 0."""
    fewer, more = (evaluated(tmp_path / f"{n}", [i < n for i in range(200)]) for n in (100, 105))
    (pair,) = verdict.pairs_of(read_sources([fewer, more]))
    some = pair.comparison["overall"]
    assert (pair.verdict, some["low"] > 0, some["p"]) == ("can't tell", True, 0.0625)
    _, rows = figures.forest(pair)
    assert [row.value for row in rows[""] if "middle up" in row.cell] == []
    older = json.loads(json.dumps(pair.comparison))
    for each in older["by_tag"]["parity"].values():  # of a version without Holm
        each |= {"low": 0.001, "p": 0.0625, "p_holm": None}
        assert verdict.side(older, each) == 0
        assert verdict.side(older, {**each, "p": 0.03}) == verdict.side(older, {**each, "p": None}) == 1


def test_evaluations_of_other_examples_arent_compared(run: Path, tmp_path: Path) -> None:
    other = write_evaluation(tmp_path / "fewer", right, n=30)
    sources = read_sources([run, other])
    pair = verdict.pairs_of(sources)[-1]
    assert pair.title == "SFT+GRPO can't be compared with fewer"
    assert any("examples" in reason for reason in verdict.grounds(pair))
    assert "fewer answered other examples" in browser(sources, 0, 2).notices[0]
    assert report_page(sources, [run, other]).count("<details") == 3 + 7


def test_a_peer_is_a_row_a_line_and_a_pair(run: Path, tmp_path: Path) -> None:
    peer = write_evaluation(tmp_path / "rules", lambda i: right(i) if i < 30 else wrong(i))
    manifest = read_json(peer / "manifest.json", "")
    manifest["identity"] |= {"engine": "peer:duckling", "prompts": "none"}
    write_json(peer / "manifest.json", manifest)
    sources = read_sources([run, peer])
    assert sources.evaluations[-1].label == "duckling"
    assert verdict.pairs_of(sources)[-1].title == "SFT+GRPO is better than duckling"
    curve = figures.learning_curve(sources)
    assert curve
    assert ("duckling 50.0%", 2) in curve.legend
    assert "dashed" in curve.svg


def test_fields_that_a_comparison_may_have_are_shown_where_it_has_them(run: Path, tmp_path: Path) -> None:
    pair = verdict.pairs_of(read_sources([run]))[0]
    richer = json.loads(json.dumps(pair.comparison))
    richer["overall"] |= {"detectable": 0.071, "p": 0.0021, "clusters": 20}
    richer["by_tag"]["lang"]["ru"]["p_holm"] = 0.0042
    richer["by_tag"]["lang"]["en"]["p_holm"] = 0.3
    more = replace(pair, comparison=richer)
    said = verdict.grounds(more)
    assert "These examples would show a difference of 7.1 points (power 0.8)." in said
    assert "Sign flips over 20 groups: p = 0.0021." in said
    _, rows = figures.forest(more)
    assert {row.value: row.p for row in rows["lang"]} == {"ru": "0.0042", "en": "0.3"}
    assert {row.value: "middle up" in row.cell for row in rows["lang"]} == {"ru": True, "en": False}


def test_cut_completions_are_a_caution(run: Path) -> None:
    said = verdict.cautions(read_sources([run]))[-1]
    assert said.startswith("base: 50.0% of the completions were cut at 40 tokens and count as wrong.")
    assert said.endswith("it would have 50.0%.")
