from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from eval.compare import compare
from eval.files import read_json, write_json
from rewards.core import UserError
from tests.pages import HOSTILE, right, write_evaluation, write_run, wrong
from toolkit.cli import main
from toolkit.page import figures, provenance, verdict
from toolkit.page.examples import LONGEST, browser, cut
from toolkit.page.render import render, report_page, write_report
from toolkit.page.sources import FINAL, read_sources
from toolkit.rundir import read_log


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("page") / "demo")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return report_page(read_sources([run]), [run])


def data_of(page: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


class Elements(HTMLParser):
    """Counts elements, and collects the addresses that any of them names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "poster")]


# sources


def test_a_run_is_read_from_base_to_tuned(run: Path) -> None:
    sources = read_sources([run])
    assert [(each.label, each.stage) for each in sources.evaluations] == [
        ("base", "base"),
        ("SFT", "sft"),
        ("SFT+GRPO", "grpo"),
    ]
    assert len(sources.runs[0].logs["sft"]) == 21


def test_checkpoints_stand_in_the_curve_by_their_steps(run: Path, tmp_path: Path) -> None:
    paths = []
    for step in (100, 20):
        path = write_evaluation(tmp_path / f"after-{step}", right)
        manifest = read_json(path / "manifest.json", "")
        manifest["model"]["path"] = f"runs/demo/grpo/checkpoints/checkpoint-{step}"
        write_json(path / "manifest.json", manifest)
        paths.append(path)
    sources = read_sources([run, *paths])
    assert [(each.stage, each.step) for each in sources.evaluations[3:]] == [("grpo", 100), ("grpo", 20)]
    curve = figures.learning_curve(sources)
    assert curve
    texts = re.findall(r">([A-Za-z]+(?: \d+)?)</text>", curve.svg)
    assert texts == ["base", "SFT", "GRPO 20", "GRPO 100", "GRPO"]
    assert [name for name, _ in curve.legend] == ["other evaluations", "demo"]


def test_a_model_that_answered_other_examples_isnt_in_the_curve(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", n=30)
    curve = figures.learning_curve(read_sources([run, other]))
    assert curve
    assert curve.legend == ()
    assert "other: SFT answered other examples and is left out." in curve.note


def test_what_is_neither_run_nor_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run directory nor a finished evaluation"):
        read_sources([tmp_path])


def test_an_unfinished_evaluation_of_a_run_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n=20)
    (run / "eval" / "sft" / "summary.json").unlink()
    sources = read_sources([run])
    assert [each.label for each in sources.evaluations] == ["base", "SFT+GRPO"]
    assert verdict.cautions(sources)[-1] == "run: the evaluation 'sft' isn't finished and is left out."


def test_a_torn_log_line_is_dropped_and_a_broken_one_named(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert read_log(log) == []
    log.write_text('{"step": 1}\n{"step": 2', encoding="utf-8")
    assert read_log(log) == [{"step": 1}]
    log.write_text('{"step": 1\n{"step": 2}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"log.jsonl:1: not JSON"):
        read_log(log)


# the page


def test_a_run_is_introduced_in_a_line(page: str) -> None:
    assert '<p class="note">demo: package:some_model, stages done: 1 (0 min)</p>' in page


def test_completions_and_names_stay_text(page: str) -> None:
    elements = Elements(page)
    assert elements.names.count("script") == 3, "the data and our two; none from a completion"
    assert "img" not in elements.names
    assert "b" not in elements.names, "a tag's value isn't markup"
    assert data_of(page)["items"][1]["by"][0]["said"][0][2] == wrong(1)


def test_the_watchdogs_warnings_are_shown(page: str) -> None:
    assert "<li>GRPO: warning, step 3: every group is dead &lt;b&gt;</li>" in page


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    assert all(address.startswith(("#", "data:")) for address in Elements(page).addresses)
    assert "default-src &#39;none&#39;" in page
    assert "://" not in page
    assert "@import" not in page


def test_the_browser_gets_prompts_and_every_models_answers(page: str) -> None:
    data = data_of(page)
    assert [model["label"] for model in data["models"]] == ["base", "SFT", "SFT+GRPO"]
    assert (data["left"], data["right"]) == (0, 2)
    assert len(data["items"]) == 60
    item = data["items"][2]
    assert item["prompt"][1] == ["user", f"what is 2? {HOSTILE}"]
    assert [side["score"] for side in item["by"]] == [0, 1, 1]
    assert item["by"][0]["said"][0][:2] == ["truncated", 40]
    assert data["tags"]["lang"] == [["en", 30], ["ru", 30]]


def test_samples_are_all_there(tmp_path: Path) -> None:
    path = write_evaluation(tmp_path / "sampled", right, n=4, samples=3)
    item = browser(read_sources([path]), 0, 0).data["items"][0]
    assert [len(side["said"]) for side in item["by"]] == [3]


def test_prompts_of_an_unknown_task_are_missed_in_words(tmp_path: Path) -> None:
    shown = browser(read_sources([write_evaluation(tmp_path / "e", right, n=2)]), 0, 0)
    assert shown.data["items"][0]["prompt"] is None
    assert shown.notices == ("The prompts aren't shown: records don't hold them, and 'echo' is no installed task.",)


def test_prompts_of_a_built_in_task_are_made_anew(tmp_path: Path) -> None:
    out = tmp_path / "none"
    command = "eval --model none --task datetime_extraction_plain --n 5 --engine scripted --out"
    with pytest.raises(SystemExit):
        main([*command.split(), str(out)])
    shown = browser(read_sources([out]), 0, 0)
    assert [turn[0] for turn in shown.data["items"][0]["prompt"]] == ["system", "user"]
    assert shown.notices == ()


def test_a_page_too_large_keeps_what_differs_and_says_so(run: Path) -> None:
    sources = read_sources([run])
    whole = browser(sources, 0, 2)
    size = len(json.dumps(whole.data["items"], ensure_ascii=False))
    shown = browser(sources, 0, 2, budget=size - 500)
    kept = [item["id"] for item in shown.data["items"]]
    assert 50 < len(kept) < 60
    differing = [item["id"] for item in whole.data["items"] if len({side["score"] for side in item["by"]}) > 1]
    assert set(differing) <= set(kept)
    assert shown.notices[0].startswith(f"{len(kept)} of 60 examples are on this page")
    assert browser(sources, 0, 2, budget=0).data["items"] == []


def test_a_very_long_completion_is_cut_in_words() -> None:
    assert cut("a" * LONGEST) == "a" * LONGEST
    assert cut("a" * (LONGEST + 5)).endswith("a… (5 more characters are left out of this page)")


def test_half_a_surrogate_pair_can_be_written(tmp_path: Path) -> None:
    html = render("inspect.html.jinja", title="\ud83d", found=_Found(), summary="", lengths="")
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    assert "<h1>?</h1>" in html


class _Found:
    problems = notes = samples = ()
    template = ""


def test_manifests_are_compared_leaf_by_leaf() -> None:
    header, rows = provenance.differences([("a", {"x": {"y": 1, "z": 2}, "v": {}}), ("b", {"x": {"y": 1, "z": 3}})])
    assert header == ("key", "a", "b")
    assert rows == [("x.z", "2", "3"), ("v", "{}", "–")]


def test_two_runs_on_one_page(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", learning_rate=0.002)
    sources = read_sources([run, other])
    assert [each.label for each in sources.evaluations][2:4] == ["demo: SFT+GRPO", "other: base"]
    pairs = verdict.pairs_of(sources)
    assert pairs[-1].title == "other: SFT+GRPO is as good as demo: SFT+GRPO"
    tables = dict(provenance.differing(sources))
    assert ("recipe.sft.learning_rate", "0.001", "0.002") in tables["Runs"][1]
    page = report_page(sources, [run, other])
    assert page.count("SFT: loss</figcaption>") == 2


def test_the_commands_make_it_again(
    tmp_path: Path, task_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "none"

    def run_line(line: str) -> None:
        monkeypatch.setattr("sys.argv", ["/usr/bin/toolkit", *shlex.split(line)[1:]])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code

    asked = "--n 5 --seed 3 --engine scripted --max-tokens 9 --any-template"
    run_line(f"toolkit eval --model none --task {task_file} {asked} --out {out}")
    (_, again), (_, this) = provenance.commands(read_sources([out]), [out])
    assert again == f"toolkit eval --model none --task {task_file} {asked} --out {out}-again"
    for line in (again, this):
        run_line(line)
    capsys.readouterr()
    first, second = (read_json(path / "manifest.json", "")["identity"] for path in (out, tmp_path / "none-again"))
    assert first == second
    assert (out / "report.html").is_file()
    assert compare(out, tmp_path / "none-again").verdict == "equal"


def test_a_run_without_a_task_shows_its_training(tmp_path: Path) -> None:
    run = tmp_path / "talk"
    (run / "sft").mkdir(parents=True)
    (run / "recipe.yaml").write_text("output: talk\nsft: {}\n", encoding="utf-8")
    (run / "sft" / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n', encoding="utf-8")
    page = write_report([run]).read_text(encoding="utf-8")
    assert "Nothing was evaluated" in page
    assert "SFT: loss" in page
    assert data_of(page) == {}


def test_toolkit_run_leaves_a_report(
    tmp_path: Path, config: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", str(config)])
    assert not end.value.code
    report = tmp_path / "run" / "report.html"
    assert capsys.readouterr().err.splitlines()[-1] == f"the report: {report}"
    assert "SFT+GRPO is better than base" in report.read_text(encoding="utf-8")


def test_a_place_that_cant_be_written_is_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"can't be written: .*--out"):
        write_report([run], tmp_path / "file" / "report.html")


def test_the_last_model_of_a_run_has_no_step(run: Path) -> None:
    assert {each.step for each in read_sources([run]).evaluations} == {FINAL}


def test_a_page_executes_no_file_that_a_manifest_names(tmp_path: Path) -> None:
    path = write_evaluation(tmp_path / "e", right, n=2)
    (path / "task.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')", encoding="utf-8")
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest["identity"]["task"] = str(path / "task.py")
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    shown = browser(read_sources([path]), 0, 0)
    assert "is no installed task" in shown.notices[0]
    assert not (tmp_path / "executed").exists()


def test_a_damaged_recipe_or_manifest_is_refused_in_words(run: Path) -> None:
    recipe, manifest = run / "recipe.yaml", next((run / "eval").glob("*/manifest.json"))
    text = recipe.read_text(encoding="utf-8")
    for model in ("null", "x"):
        recipe.write_text(f"output: x\nmodel: {model}\n", encoding="utf-8")
        with pytest.raises(UserError, match=r"recipe\.yaml: want a recipe"):
            read_sources([run])
    recipe.write_text(text, encoding="utf-8")
    manifest.write_text('{"identity": {"n": 1}, "model": {}}', encoding="utf-8")
    with pytest.raises(UserError, match="its identity lacks task, task_version"):
        read_sources([run])
