"""toolkit plan on a real tiny model: its JSON, its probe, and the stage that takes what the probe chose."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.tiny import SPREAD_TASK
from tests.docs_blocks import ROOT, blocks
from tests.trainings import write_tiny
from toolkit.cli import main
from toolkit.config import load_recipe
from toolkit.planning.machine import Device, device
from toolkit.planning.memory import GB
from toolkit.planning.plan import lines
from toolkit.planning.store import chosen
from toolkit.rundir import open_run
from toolkit.stages import ensure

pytestmark = pytest.mark.slow

for name in ("torch", "transformers", "peft", "datasets", "trl"):
    pytest.importorskip(name)


@pytest.fixture
def config(smollm2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe over a random Llama of two narrow layers, on a machine that remembers no rate."""
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / "cache"))
    tiny = write_tiny(smollm2_dir, tmp_path / "tiny", SPREAD_TASK)
    raw: dict[str, Any] = {
        "task": str(tiny / "task.py"),
        "preflight": {"accept": ["rewards"]},  # spread pays for any text, so that groups differ
        "output": str(tmp_path / "run"),
        "model": {"reference": str(tiny), "backend": "transformers"},
        "lora": {"rank": 4, "alpha": 8},
        "data": {"sft": 16, "grpo": 8, "validation": 2, "test": 2},
        "sft": {"batch_size": 4, "learning_rate": 1e-2},
        "grpo": {"steps": 3, "prompts": 2, "generations": 2, "batch_size": 4, "max_completion_length": 8},
        "eval": {"engine": "transformers"},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], int]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *arguments, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found, int(ended.value.code or 0)


def test_the_json_says_everything_of_every_stage(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, status = plan(capsys, str(config))
    assert (status, found["can_run"], found["problems"]) == (0, True, [])
    assert [stage["name"] for stage in found["stages"]] == ["sft", "grpo", "evaluations"]
    sft, grpo, evaluations = found["stages"]
    assert set(sft["memory"]["parts"]) == {"weights", "gradients", "optimizer", "libraries", "activations", "logits"}
    assert sft["memory"]["needed"] == pytest.approx(sum(sft["memory"]["parts"].values()), abs=0.05)
    assert sft["memory"]["verdict"] == "fits"
    assert (sft["steps"], sft["batch"]["sequences"], sft["batch"]["passes"]) == (4, 4, 1)
    assert sft["total"] == pytest.approx(4 * sft["batch"]["tokens"], rel=0.01)
    assert {name: choice["value"] for name, choice in sft["choices"].items()} == {
        "packing": "yes",
        "attention": "a call for each sequence",
        "loss": "chunked",
        "compile": "no",
    }
    assert sft["choices"]["compile"]["why"] == "compiling pays on a GPU only"
    assert sft["chosen"]["forward_tokens"]["value"] == 4096
    assert (sft["seconds"], sft["rate"]) == (None, None)
    assert (grpo["steps"], grpo["total"], grpo["batch"]["sequences_a_pass"]) == (3, 12, 4)
    assert grpo["choices"]["generation"]["value"] == "transformers"
    assert (evaluations["total"], evaluations["unit"]) == (6, "answers")
    assert not (config.parent / "run").exists()  # a plan leaves nothing behind


SHOWN = [block.lines for block in blocks(ROOT / "docs" / "planning.md") if block.lines[0].startswith("> toolkit plan ")]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown[0])
def test_the_page_shows_the_plans_of_recipes_that_ship(
    shown: tuple[str, ...], smollm2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the page's machine, whatever this one is: its name and memory stand in a plan's first line."""
    from toolkit.training import planner

    config = shown[0].split()[-1]
    named = re.search(r" on (.+) \((\S+) of (\S+) GB free\)", shown[1])
    assert named is not None
    there = Device("cpu", named[1], float(named[3]) * GB, float(named[2]) * GB)
    monkeypatch.setattr(planner, "device", lambda: there)
    monkeypatch.setattr(planner, "stored_rate", lambda *of: None)
    recipe = load_recipe(ROOT / config)
    monkeypatch.chdir(tmp_path)  # where no run has left what it chose
    assert "\n".join(lines(planner.make_plan(recipe, config))) == "\n".join(shown[1:])


def test_a_scan_is_a_stage_of_its_own(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It samples as many completions as a long GRPO does: left out, the plan's times would be of another run."""
    found, _ = plan(capsys, str(config), "--set", "grpo.scan=[0.1, 0.9]")
    assert [stage["name"] for stage in found["stages"]] == ["sft", "scan", "grpo", "evaluations"]
    scan, _, evaluations = found["stages"][1:]
    assert (scan["total"], scan["unit"], scan["seconds"], scan["done"]) == (4 * 8, "completions", None, False)
    assert scan["memory"] == evaluations["memory"]


def test_what_can_not_be_is_a_problem_and_an_exit_code(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, status = plan(capsys, str(config), "--set", "grpo.vllm=true", "--set", "model.dtype=float32")
    if found["device"]["kind"] == "cpu":
        assert status == 14
        assert "no GPU here: grpo.vllm" in found["problems"][0]
    found, status = plan(capsys, str(config), "--set", "model.reference=package:no_such")
    assert status == 14
    assert "no package 'no_such' is installed" in found["problems"][0]


def test_the_probe_chooses_the_stage_takes_it_and_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from toolkit.training.probe import run_probe
    from toolkit.training.sft import run_sft

    run = open_run(load_recipe(config))
    ensure(run, "data", lambda line: None)
    terminal = io.StringIO()
    facts = run_probe(run, terminal)
    assert "probe: 1 sequences, " in terminal.getvalue()
    stored = chosen(run.dir, "sft", device().name)
    assert stored is not None
    assert (stored.source, stored.value) == ("probe", facts["forward_tokens"])
    assert stored.details["tokens_per_second"] > 0
    assert not (run.dir / "sft" / "adapter").exists()

    found, _ = plan(capsys, str(config))
    sft = found["stages"][0]
    assert sft["chosen"]["forward_tokens"]["value"] == stored.value
    assert sft["rate"]["source"] == "measured by the probe"
    assert sft["seconds"] == pytest.approx(sft["total"] / sft["rate"]["value"], abs=0.1)

    terminal = io.StringIO()
    run_sft(run, terminal)
    assert f"sft: forward_tokens {stored.value} from plan.json: " in terminal.getvalue()
    assert f"in {sft['batch']['passes']} forward passes of about {stored.value} tokens" in terminal.getvalue()


def test_a_probe_that_runs_out_of_time_measures_and_chooses_nothing(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toolkit.training import probe

    run = open_run(load_recipe(config))
    ensure(run, "data", lambda line: None)
    monkeypatch.setattr(probe, "time", type("clock", (), {"perf_counter": staticmethod(iter(range(99)).__next__)}))
    monkeypatch.setattr(probe, "SECONDS", 1.5)  # the clock goes on by a second at each look: one size is measured
    assert probe.run_probe(run, io.StringIO())["forward_tokens"] == 4096
    stored = chosen(run.dir, "sft", device().name)
    assert stored is not None
    assert (stored.source, len(stored.details["measured"])) == ("memory", 1)
    assert "time was out" in stored.why


def changed_task(config: Path, old: str, new: str) -> None:
    task = Path(yaml.safe_load(config.read_text(encoding="utf-8"))["task"])
    text = task.read_text(encoding="utf-8")
    assert old in text
    task.write_text(text.replace(old, new), encoding="utf-8")


def test_rows_that_another_task_left_are_not_read(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = plan(capsys, str(config))
    ensure(open_run(load_recipe(config)), "data", lambda line: None)
    stored, _ = plan(capsys, str(config))
    assert "data/sft.jsonl" in stored["rows"]
    assert stored["rows"].split(": ")[1] == first["rows"].split(": ")[1]
    other, status = plan(capsys, str(config), "--set", "task=datetime_extraction")
    assert status == 0
    assert "that the task gives" in other["rows"]
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(config), "--set", "task=nofile.yaml"])
    assert ended.value.code == 2
    assert "nofile.yaml" in capsys.readouterr().err
    changed_task(config, "TASK = ", "# as it was, but for this\nTASK = ")
    again, _ = plan(capsys, str(config))
    assert "that the task gives" in again["rows"]


def test_rows_of_a_data_stage_that_was_refused_are_not_read(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = open_run(load_recipe(config))
    (run.dir / "data").mkdir()
    (run.dir / "data" / "sft.jsonl").write_text("half of a", encoding="utf-8")
    found, status = plan(capsys, str(config))
    assert (status, "that the task gives" in found["rows"]) == (0, True)


def test_another_recipe_s_run_is_a_problem(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = open_run(load_recipe(config))
    run.finish("sft", 1.0)
    found, status = plan(capsys, str(config), "--set", "seed=7")
    assert (status, found["stages"]) == (14, [])
    assert "holds a run of another recipe; it differs in seed: 0 there, 7 here" in found["problems"][0]
    assert load_recipe(run.dir / "recipe.yaml").seed == 0, "a plan writes nothing"
    (config.parent / "notes").mkdir()
    (config.parent / "notes" / "mine.txt").write_text("", encoding="utf-8")
    found, status = plan(capsys, str(config), "--set", f"output={config.parent / 'notes'}")
    assert status == 14
    assert "exists and is no run directory" in found["problems"][0]


def test_data_that_the_task_does_not_have_are_a_problem(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Path(yaml.safe_load(config.read_text(encoding="utf-8"))["task"])
    task.write_text(
        task.read_text(encoding="utf-8") + "\nfrom itertools import islice\nLEFT, ALL = {'train': 16}, TASK.examples\n"
        "TASK = replace(TASK, examples=lambda split, n, seed: islice(ALL(split, n, seed), LEFT.get(split)))\n",
        encoding="utf-8",
    )
    found, status = plan(capsys, str(config))
    assert status == 14
    left = "train has 16 examples; data.sft takes the first 16, so 0 are left for data.grpo (8 wanted)"
    assert [left in problem for problem in found["problems"]] == [True]
    assert [stage["name"] for stage in found["stages"]] == ["sft", "grpo", "evaluations"]
    changed_task(config, "'train': 16", "'train': 0")
    found, status = plan(capsys, str(config))
    assert (status, found["rows"], found["stages"]) == (14, "none", [])
    assert "train has 0 examples, and data.sft wants 16" in found["problems"][0]
