"""The trainers on a tiny random model: seconds a run, real TRL, in this process. Real weights are in test_road.py."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.jsonl import read_jsonl
from benchmarks.tiny import SPREAD_TASK
from eval.prompts import load_tokenizer, render_prompt, stop_token_ids
from rewards.core import UserError
from rewards.response import render
from tests.trainings import begun, grpo, sft, write_tiny
from toolkit.data import read_examples
from toolkit.models import resolve_model
from toolkit.rundir import Run
from toolkit.stages import task_of

pytestmark = pytest.mark.slow

for name in ("torch", "transformers", "peft", "datasets", "trl"):
    pytest.importorskip(name)

ROOT = Path(__file__).resolve().parents[1]
# A step that moves the weights far enough to see, and a penalty for it.
KL: dict[str, Any] = {
    "steps": 3,
    "prompts": 2,
    "generations": 2,
    "batch_size": 4,
    "max_completion_length": 8,
    "learning_rate": 1e-3,
    "save_steps": 1,
    "evaluate_steps": None,
    "beta": 0.1,
}


@pytest.fixture(scope="module", autouse=True)
def undisturbed() -> Iterator[None]:
    """What training leaves in the process: the place of TensorBoard's files, and our kernel in TRL's module."""
    from trl.trainer import utils

    kernel = utils._ChunkedLogProbFunction
    yield
    utils._ChunkedLogProbFunction = kernel
    os.environ.pop("TENSORBOARD_LOGGING_DIR", None)


@pytest.fixture(scope="module")
def tiny(smollm2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two narrow layers under SmolLM2's tokenizer."""
    return write_tiny(smollm2_dir, tmp_path_factory.mktemp("tiny"), SPREAD_TASK)


def adapter_weights(directory: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(directory / "adapter_model.safetensors")
    assert any("lora_B" in name for name in weights)
    return weights


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training end, as by a kill, when it begins step `step` (from 1) the first time."""
    from toolkit.training import callbacks

    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == step - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.LiveProgress, "on_step_begin", on_step_begin)


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose SFT and GRPO are done: 4 steps and 3."""
    run = begun(tmp_path_factory.mktemp("run") / "run", tiny)
    figures, _ = sft(run)
    run.finish("sft", 1.0, **figures)
    figures, _ = grpo(run)
    run.finish("grpo", 1.0, **figures)
    return run


# SFT


def test_sft_leaves_a_trained_adapter_and_its_logs(trained: Run) -> None:
    stage = trained.dir / "sft"
    weights = adapter_weights(stage / "adapter")
    assert all(bool((tensor != 0).any()) for name, tensor in weights.items() if "lora_B" in name)
    record = json.loads((stage / "adapter" / "trained_for.json").read_text())
    assert record["task"] == trained.recipe.task
    assert record["template"] == trained.facts("sft")["template"]
    steps = [row for row in read_jsonl(stage / "log.jsonl") if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4]
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert list((stage / "tensorboard").glob("events.out.tfevents.*"))
    facts = trained.facts("sft")
    assert facts["steps"] == 4
    examples = read_examples(trained.dir / "data" / "sft.jsonl")
    tokenizer = load_tokenizer(stage / "adapter")
    longer = sum(len(render_prompt(tokenizer, example.messages)) for example in examples)
    assert facts["tokens"] > longer
    assert 0 < facts["validation_loss"] < 20


@pytest.mark.parametrize("packing", [True, False])
def test_the_batches_of_sft_hold_the_responses_and_nothing_else(packing: bool, tiny: Path, tmp_path: Path) -> None:
    """What reaches the model, after TRL's preparation and our collation."""
    import io
    import itertools

    from datasets import Dataset

    from toolkit.training import sft as stage
    from toolkit.training.backends import training_backend
    from toolkit.training.rows import IGNORED, sft_rows

    sft = {"batch_size": 4, "learning_rate": 1e-2, "packing": packing}
    run = begun(tmp_path / "run", tiny, sft=sft)
    model, tokenizer = training_backend("transformers").load(
        run.recipe.model, resolve_model(str(tiny)), run.recipe.lora, 0
    )
    examples = read_examples(run.dir / "data" / "sft.jsonl")
    built = sft_rows(examples, tokenizer, tiny, 512, False)
    assert run.recipe.sft is not None
    train, validation = Dataset.from_list(built), Dataset.from_list(built[:2])
    trainer = stage.make_trainer(run, run.recipe.sft, model, tokenizer, train, validation, io.StringIO())
    seen = []
    for batch in trainer.get_train_dataloader():
        if packing:
            borders = list(itertools.pairwise(batch["cu_seq_lens_q"].tolist()))
            parts = [(batch["input_ids"][0, start:end], batch["labels"][0, start:end]) for start, end in borders]
        else:
            assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
            parts = list(zip(batch["input_ids"], batch["labels"], strict=True))
        responses = 0
        for ids, labels in parts:
            kept = labels != IGNORED
            if not kept.any():  # padding
                continue
            responses += 1
            assert bool((ids[kept] == labels[kept]).all())
            target = labels[kept].tolist()
            assert target[-1] == tokenizer.eos_token_id
            seen.append(tokenizer.decode(target[:-1]))
        assert responses == 4
    assert sorted(seen) == sorted(render(example.reasoning, example.answers[0]) for example in examples)


def test_full_tuning_trains_every_weight_and_the_merged_model_is_what_was_trained(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import load_file

    from toolkit import stages

    changes = {"model": {"reference": str(tiny), "backend": "transformers", "tuning": "full"}, "grpo": None}
    run = begun(tmp_path / "run", tiny, **changes)
    figures, _ = sft(run)
    assert figures["tokens_per_second"] > 0
    before, after = load_file(tiny / "model.safetensors"), load_file(run.dir / "sft" / "weights" / "model.safetensors")
    assert not any(torch.equal(before[name], after[name]) for name in after)
    assert json.loads((run.dir / "sft" / "weights" / "config.json").read_text())["use_cache"] is True
    monkeypatch.setattr(stages, "_in_own_process", None)  # a copy needs none
    stages.ensure(run, "merge", print)
    merged = load_file(run.dir / "model" / "model.safetensors")
    assert all(torch.equal(merged[name], after[name]) for name in after)


@pytest.fixture
def base(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model as a base model is: its files end documents, not turns."""
    directory = Path(shutil.copytree(tiny, tmp_path / "base"))
    for name, key, end in (
        ("tokenizer_config.json", "eos_token", "<|endoftext|>"),
        ("generation_config.json", "eos_token_id", 0),
        ("config.json", "eos_token_id", 0),
    ):
        path = directory / name
        path.write_text(json.dumps({**json.loads(path.read_text()), key: end}), encoding="utf-8")
    return directory


@pytest.mark.parametrize(
    ("tuning", "again"), [("lora", False), ("full", False), ("full", True)], ids=["lora", "full", "full, from its end"]
)
def test_what_was_trained_ends_in_its_own_files_where_its_template_does(
    base: Path, tmp_path: Path, tuning: str, again: bool
) -> None:
    """What generates without the toolkit goes by these files; the toolkit finds the template's end by itself."""
    from toolkit.training.merge import run_merge

    model = {"reference": str(base), "backend": "transformers", "tuning": tuning, "chat_template": "chatml"}
    run = begun(tmp_path / "run", base, model=model, grpo=None)
    sft(run)
    if again:  # killed before it was saved: transformers, which mends the model when training begins, isn't asked
        shutil.rmtree(run.dir / "sft" / "weights")
        sft(run)
    if tuning == "lora":
        run_merge(run, io.StringIO())
    folder = run.dir / ("model" if tuning == "lora" else "sft/weights")
    told = {name: json.loads((folder / name).read_text()) for name in ("generation_config.json", "config.json")}
    assert sorted(told["generation_config.json"]["eos_token_id"]) == [0, 2]
    assert told["config.json"]["eos_token_id"] == 2
    assert load_tokenizer(folder).eos_token_id == 2


@pytest.mark.parametrize("packing", [True, False])
def test_grpo_samples_spare_prompts_and_trains_on_groups_that_differ(
    packing: bool, trained: Run, tiny: Path, tmp_path: Path
) -> None:
    changes = {
        "steps": 2,
        "prompts": 2,
        "generations": 2,
        "batch_size": 2,
        "max_completion_length": 8,
        "learning_rate": 1e-4,
        "oversample": 2.0,
        "packing": packing,
    }
    run = begun(tmp_path / "run", tiny, grpo=changes)
    shutil.copytree(trained.dir / "sft" / "adapter", run.dir / "sft" / "adapter")
    figures, _ = grpo(run)
    assert figures["rollouts"] == 2 * 4 * 2  # steps x (prompts and as many spare ones) x generations
    written = read_jsonl(run.dir / "grpo" / "rollouts.jsonl")
    assert all(len({row["example"] for row in written if row["step"] == step}) == 4 for step in (0, 1))
    logged = [row for row in read_jsonl(run.dir / "grpo" / "log.jsonl") if "live_groups" in row]
    assert len(logged) == 2
    dead = [row["frac_reward_zero_std"] for row in logged]
    assert all(row["live_groups"] >= 1 - share for row, share in zip(logged, dead, strict=True))
    before = adapter_weights(trained.dir / "sft" / "adapter")
    after = adapter_weights(run.dir / "grpo" / "adapter")
    assert any((before[name] != after[name]).any() for name in after)


def test_an_engine_without_a_gpu_is_refused(tiny: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    section = {"prompts": 2, "generations": 2, "batch_size": 4, "vllm": True}
    with pytest.raises(UserError, match=r"grpo\.vllm needs a CUDA GPU"):
        grpo(begun(tmp_path / "run", tiny, grpo=section))


def test_qlora_without_a_gpu_is_refused(tiny: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    run = begun(
        tmp_path / "run", tiny, model={"reference": str(tiny), "backend": "transformers", "tuning": "qlora"}, grpo=None
    )
    with pytest.raises(UserError, match=r"no GPU here: model\.tuning qlora"):
        sft(run)


def tokens_logged(run: Run) -> list[float]:
    """Tokens trained on until each entry of the log, of the validation loss too: of the whole training."""
    log = read_jsonl(run.dir / "sft" / "log.jsonl")
    return [row[key] for row in log for key in ("num_tokens", "eval_num_tokens") if key in row]


def test_a_killed_sft_goes_on_and_ends_where_an_unbroken_one_does(
    trained: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    run = begun(tmp_path / "run", tiny)
    with monkeypatch.context() as patch:
        killed_at(4, patch)
        with pytest.raises(KeyboardInterrupt):
            sft(run)
    assert not (run.dir / "sft" / "adapter").exists()
    newest = run.dir / "sft" / "checkpoints" / "checkpoint-3"
    (newest / "trainer_state.json").unlink()  # the kill came while this one was written
    (newest / "left").touch()
    with (run.dir / "sft" / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "lo')
    figures, said = sft(run)
    assert f"sft: going on from {run.dir}/sft/checkpoints/checkpoint-2" in said
    assert figures["steps"] == 4
    assert newest.is_dir()
    assert not (newest / "left").exists(), "it was written anew, and not into what was there"
    assert [row["step"] for row in read_jsonl(run.dir / "sft" / "log.jsonl") if "loss" in row] == [1, 2, 3, 4]
    assert tokens_logged(run) == tokens_logged(trained) != []
    whole, broken = adapter_weights(trained.dir / "sft" / "adapter"), adapter_weights(run.dir / "sft" / "adapter")
    assert whole.keys() == broken.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(broken[name], tensor, rtol=1e-4, atol=1e-6)


def test_the_same_recipe_trains_the_same_adapter(trained: Run, tiny: Path, tmp_path: Path) -> None:
    import torch

    run = begun(tmp_path / "run", tiny)
    sft(run)
    again = adapter_weights(run.dir / "sft" / "adapter")
    for name, tensor in adapter_weights(trained.dir / "sft" / "adapter").items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_training_that_diverges_is_no_success(tiny: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", tiny, sft={"batch_size": 4, "learning_rate": 1e30, "save_steps": 1})
    for _ in range(2):  # going on from its last checkpoint makes it no better
        with pytest.raises(UserError, match=r"the training diverged: loss is nan.*lower sft.learning_rate"):
            sft(run)
        assert not (run.dir / "sft" / "adapter").exists()
    kept = json.loads((run.dir / "sft" / "bad_batches.json").read_text(encoding="utf-8"))["batches"]
    assert len(kept[-1]["input_ids"]) > 0
    losses = [row["loss"] for row in read_jsonl(run.dir / "sft" / "log.jsonl") if "loss" in row]
    assert "nan" in losses, "a NaN is logged as what it is"


def test_what_the_watchdog_ended_stays_ended_when_the_run_is_killed_before_the_stage_is_done(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toolkit.training import watchdog

    monkeypatch.setattr(watchdog, "WINDOW", 1)
    monkeypatch.setattr(watchdog, "PATIENCE", 0)
    monkeypatch.setattr(watchdog, "LOSS", -1.0)  # any loss has risen
    run = begun(tmp_path / "run", tiny)
    figures, said = sft(run)
    assert (figures["steps"], figures["stopped"].split(":")[0]) == (2, "loss-rises")
    assert "stopped at step 2" in said
    ended = adapter_weights(run.dir / "sft" / "adapter")
    shutil.rmtree(run.dir / "sft" / "adapter")
    again, said = sft(run)
    assert (again["steps"], again["stopped"]) == (2, figures["stopped"])
    assert "stopped" not in said, "it is said once"
    assert all((tensor == ended[name]).all() for name, tensor in adapter_weights(run.dir / "sft" / "adapter").items())


def test_steps_can_be_limited(tiny: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", tiny, sft={"batch_size": 4, "max_steps": 1})
    assert sft(run)[0]["steps"] == 1


# GRPO


def test_grpo_goes_on_from_the_sft_adapter(trained: Run) -> None:
    before, after = (adapter_weights(trained.dir / stage / "adapter") for stage in ("sft", "grpo"))
    assert before.keys() == after.keys()
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    assert all(moved.values())
    # Adam moves a weight by about the learning rate a step; a new adapter would begin with B = 0.
    assert max(moved.values()) < 1e-3
    assert all(float(before[name].abs().max()) > 5e-3 for name in before if "lora_B" in name)
    assert trained.facts("grpo")["steps"] == 3


def test_grpo_writes_every_rollout_and_logs_rewards_by_name(trained: Run) -> None:
    ledger = read_jsonl(trained.dir / "grpo" / "rollouts.jsonl")
    assert [row["step"] for row in ledger] == [0] * 4 + [1] * 4 + [2] * 4
    assert trained.facts("grpo")["rollouts"] == 12
    known = {example.id for example in read_examples(trained.dir / "data" / "grpo.jsonl")}
    for step in range(3):
        ids = [row["example"] for row in ledger if row["step"] == step]
        assert set(ids) <= known
        assert sorted(ids.count(each) for each in set(ids)) == [2, 2], "two groups of two"
    assert all(list(row["rewards"]) == ["tag_format", "exact_datetime", "spread"] for row in ledger)
    assert all(row["reward"] == pytest.approx(row["rewards"]["spread"]) for row in ledger)
    assert all(1 <= row["tokens"] <= 8 for row in ledger)
    logged = [row for row in read_jsonl(trained.dir / "grpo" / "log.jsonl") if "reward" in row]
    assert [row["step"] for row in logged] == [1, 2, 3]
    for row in logged:
        spread = [each["rewards"]["spread"] for each in ledger if each["step"] == row["step"] - 1]
        assert row["rewards/spread/mean"] == pytest.approx(sum(spread) / 4, abs=1e-5)
        assert row["rewards/exact_datetime/mean"] == 0


def grpo_trainer(run: Run, tiny: Path) -> tuple[Any, Any]:
    """The stage's trainer, not yet run, and its ledger."""
    from toolkit.training import grpo as stage
    from toolkit.training.backends import training_backend
    from toolkit.training.rollouts import RewardLedger, weighted_rewards

    config = run.recipe.grpo
    assert config is not None
    model, tokenizer = training_backend("transformers").load(
        run.recipe.model, resolve_model(str(tiny)), run.recipe.lora, 0
    )
    examples = {example.id: example for example in read_examples(run.dir / "data" / "grpo.jsonl")}
    rewards = weighted_rewards(task_of(run.recipe), run.recipe.rewards)
    ledger = RewardLedger(examples, rewards, run.dir / "rollouts.jsonl")
    return stage.make_trainer(run, config, model, tokenizer, ledger), ledger


def test_grpo_knows_every_end_token_that_an_evaluation_knows(tiny: Path, tmp_path: Path) -> None:
    """A base model's files end documents; its chat template ends turns with another token."""
    from toolkit.training.grpo import _sampling

    base = Path(shutil.copytree(tiny, tmp_path / "base"))
    for name, key in (("tokenizer_config.json", "eos_token"), ("config.json", "eos_token_id")):
        raw = json.loads((base / name).read_text(encoding="utf-8"))
        (base / name).write_text(json.dumps({**raw, key: 0 if key.endswith("id") else "<|endoftext|>"}))
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 7]}), encoding="utf-8")
    tokenizer = load_tokenizer(base)
    assert tokenizer.eos_token_id == 0
    ends = stop_token_ids(tokenizer, base)
    assert ends == (0, 2, 7)
    run = begun(tmp_path / "run", base, task=str(tiny / "task.py"), sft=None)
    trainer, ledger = grpo_trainer(run, base)
    assert sorted(trainer.eos_token_ids) == sorted(trainer.generation_config.eos_token_id) == [0, 2, 7]
    (spread,) = [function for function in trainer.reward_funcs if function.__name__ == "spread"]
    names = list(ledger.examples)[:4]
    paid = spread(completions=["text"] * 4, example_id=names, completion_ids=[[5, 0], [5, 2], [5, 7], [5, 5]])
    assert [bool(each) for each in paid] == [True, True, True, False]
    config = run.recipe.grpo
    assert config is not None
    told = {
        vllm: _sampling(config.model_copy(update={"vllm": vllm}), "transformers", ends)
        for vllm in (False, True, "server")
    }
    stops = {"stop_token_ids": [0, 2, 7]}
    assert told == {False: None, True: {**stops, "detokenize": False}, "server": stops}
    assert _sampling(config.model_copy(update={"vllm": True}), "unsloth", ends) == stops


@pytest.mark.parametrize(("loss", "batch"), [("dapo", 4), ("grpo", 16), ("dr_grpo", 16), ("bnpo", 16)])
def test_dead_groups_leave_gradient_and_entropy_as_trl_has_them(
    tiny: Path, tmp_path: Path, loss: str, batch: int
) -> None:
    """Packed rows leave dead groups out; the loss's denominator has their tokens all the same, and no log a 0.

    bnpo takes a mean a pass, so what it gives hangs on which completions share one: all of a step here.
    """
    text = SPREAD_TASK.replace("101 / 100", "101 / 100 if crc32(example.id.encode()) % 8 == 0 else 0.5")
    (tmp_path / "task.py").write_text(text, encoding="utf-8")
    logged: list[list[dict[str, Any]]] = []
    for packing in ("auto", False):
        section = {"steps": 4, "prompts": 4, "generations": 4, "batch_size": batch, "max_completion_length": 8}
        changes = {"learning_rate": 1e-5, "evaluate_steps": None, "packing": packing, "loss_type": loss}
        run = begun(
            tmp_path / str(packing), tiny, task=str(tmp_path / "task.py"), sft=None, grpo={**section, **changes},
            data={"sft": 8, "grpo": 32, "validation": 4, "test": 2},
        )  # fmt: skip
        grpo(run)
        logged.append([row for row in read_jsonl(run.dir / "grpo" / "log.jsonl") if "loss" in row])
    packed, padded = logged
    dead = [row["frac_reward_zero_std"] for row in padded]
    assert dead == [row["frac_reward_zero_std"] for row in packed], "the same rollouts"
    assert any(0 < share < 1 for share in dead)
    for ours, trls in zip(packed, padded, strict=True):
        assert ours["grad_norm"] == pytest.approx(trls["grad_norm"], rel=1e-3, abs=1e-6)
        assert ours.get("entropy") in (None, pytest.approx(trls["entropy"], rel=1e-2))
        assert ("entropy" in ours) == (ours["live_groups"] > 0 or loss == "bnpo"), "bnpo leaves none out"


@pytest.mark.parametrize("task", ["datetime_extraction", "datetime_extraction_plain"])
def test_grpo_samples_from_the_prompt_that_we_evaluate_with(tiny: Path, tmp_path: Path, task: str) -> None:
    run = begun(tmp_path / "run", tiny, task=task)
    trainer, _ = grpo_trainer(run, tiny)
    tokenizer = load_tokenizer(tiny)
    examples = read_examples(run.dir / "data" / "grpo.jsonl")
    prompts = [row["prompt"] for row in trainer.train_dataset]
    ids, _, _ = trainer._tokenize_prompts(prompts)
    assert ids == [render_prompt(tokenizer, example.messages) for example in examples]


def test_a_recipe_reaches_trls_arguments(tiny: Path, tmp_path: Path) -> None:
    changes = {
        "grpo": {
            "steps": 5,
            "prompts": 4,
            "generations": 2,
            "batch_size": 2,
            "max_completion_length": 9,
            "learning_rate": 3e-4,
            "temperature": 0.7,
            "beta": 0.1,
            "loss_type": "grpo",
        },
        "rewards": {"tag_format": 0.25},
        "seed": 5,
    }
    trainer, ledger = grpo_trainer(begun(tmp_path / "run", tiny, **changes), tiny)
    args = trainer.args
    assert (args.max_steps, args.num_generations, args.max_completion_length) == (5, 2, 9)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (2, 4)
    assert args.generation_batch_size == 8, "a step's rollouts are sampled at once"
    assert (args.learning_rate, args.temperature, args.beta, args.loss_type) == (3e-4, 0.7, 0.1, "grpo")
    assert (args.top_p, args.epsilon, args.epsilon_high, args.seed) == (1.0, 0.2, 0.28, 5)
    assert args.mask_truncated_completions is False
    assert args.use_vllm is False
    assert args.logging_nan_inf_filter is False
    assert [function.__name__ for function in trainer.reward_funcs] == ["tag_format", "exact_datetime", "spread"]
    assert trainer.reward_weights.tolist() == [0.25, 1.0, 1.0]
    assert ledger.weights == (0.25, 1.0, 1.0)


def test_a_killed_grpo_goes_on_with_a_ledger_of_each_step_once(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(tmp_path / "run", tiny, sft=None)
    with monkeypatch.context() as patch:
        killed_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            grpo(run)
    (run.dir / "grpo" / "checkpoints" / "checkpoint-2" / "rng_state.pth").unlink()
    assert [row["step"] for row in read_jsonl(run.dir / "grpo" / "rollouts.jsonl")] == [0] * 4 + [1] * 4
    figures, said = grpo(run)
    assert "going on from" in said
    assert "checkpoint-1" in said
    assert figures["steps"] == 3
    assert figures["rollouts"] == 12
    assert [row["step"] for row in read_jsonl(run.dir / "grpo" / "rollouts.jsonl")] == [0] * 4 + [1] * 4 + [2] * 4
    assert [row["step"] for row in read_jsonl(run.dir / "grpo" / "log.jsonl") if "reward" in row] == [1, 2, 3]


def test_a_killed_grpo_with_a_kl_penalty_goes_on_with_its_weights(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The penalty brings a second adapter, and transformers then loads those in subfolders alone: not the trained."""
    whole, killed = (begun(tmp_path / name, tiny, sft=None, grpo=KL) for name in ("whole", "killed"))
    grpo(whole)
    with monkeypatch.context() as patch:
        killed_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            grpo(killed)
    grpo(killed)
    first, second = (run.dir / "grpo" / "adapter" / "adapter_model.safetensors" for run in (whole, killed))
    assert first.read_bytes() == second.read_bytes()
    assert not (first.parent / "ref").exists(), "the reference is no part of what was trained"


@pytest.mark.parametrize(
    ("stage", "change"), [("sft", {"grpo": None}), ("grpo", {"sft": None}), ("grpo", {"sft": None, "grpo": KL})]
)
def test_a_stage_killed_after_its_last_step_trains_no_step_more(
    tiny: Path, tmp_path: Path, stage: str, change: dict[str, Any]
) -> None:
    run = begun(tmp_path / "run", tiny, **change)
    train = sft if stage == "sft" else grpo
    before, _ = train(run)
    adapter = run.dir / stage / "adapter"
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(adapter)  # killed before it was saved
    after, said = train(run)
    assert "going on from" in said
    assert {**after, "tokens_per_second": 0} == {**before, "tokens_per_second": 0}
    assert (adapter / "adapter_model.safetensors").read_bytes() == weights
    steps = [row["step"] for row in read_jsonl(run.dir / stage / "log.jsonl") if "loss" in row]
    assert steps == list(range(1, before["steps"] + 1))


# checkpoints, logs


def checkpoint(folder: Path, step: int, lacking: str = "") -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True, exist_ok=True)
    names = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
    for name in names:
        if name != lacking:
            (path / name).write_text('{"global_step": 1}', encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "lacking", ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
)
def test_a_checkpoint_without_all_its_files_doesnt_count(tmp_path: Path, lacking: str) -> None:
    from toolkit.training.common import last_whole_checkpoint

    checkpoint(tmp_path, 10, lacking)
    assert last_whole_checkpoint(tmp_path) is None
    whole = checkpoint(tmp_path, 9)
    assert last_whole_checkpoint(tmp_path) == whole


@pytest.mark.parametrize("left", [b"", b'{"global_step": 1', b'{"a": "\xd0'])
def test_a_checkpoint_whose_state_was_torn_doesnt_count(tmp_path: Path, left: bytes) -> None:
    """transformers writes it in place: a kill in the middle, or a full disk, leaves a part of it."""
    from toolkit.training.common import last_whole_checkpoint

    whole = checkpoint(tmp_path, 5)
    (checkpoint(tmp_path, 6) / "trainer_state.json").write_bytes(left)
    assert last_whole_checkpoint(tmp_path) == whole


def test_the_newest_checkpoint_is_the_one_of_the_most_steps(tmp_path: Path) -> None:
    from toolkit.training.common import last_whole_checkpoint

    for step in (9, 100, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert last_whole_checkpoint(tmp_path / "none") is None


def test_a_checkpoint_of_several_processes_counts(tmp_path: Path) -> None:
    """With more than one GPU each process writes a random state of its own."""
    from toolkit.training.common import last_whole_checkpoint

    path = checkpoint(tmp_path, 1, lacking="rng_state.pth")
    for rank in range(2):
        (path / f"rng_state_{rank}.pth").touch()
    assert last_whole_checkpoint(tmp_path) == path


def test_what_is_newer_than_the_last_whole_checkpoint_is_removed(tmp_path: Path) -> None:
    """A process's own random state was missing there; beside the other files, half written anew, it would do."""
    from toolkit.training.common import last_whole_checkpoint, remove_newer

    for step in (1, 2, 3):
        for rank in range(2 if step == 1 else 1):
            checkpoint(tmp_path, step, lacking="rng_state.pth").joinpath(f"rng_state_{rank}.pth").touch()
    assert last_whole_checkpoint(tmp_path, processes=2) == tmp_path / "checkpoint-1"
    (tmp_path / "checkpoint-3" / "pytorch_model_fsdp_0").mkdir()
    (tmp_path / "checkpoint-of-mine").mkdir()
    remove_newer(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-of-mine"]
    remove_newer(tmp_path / "none yet", 0)


def test_log_entries_are_json_whatever_they_hold(tmp_path: Path) -> None:
    from toolkit.training.callbacks import JsonlLog

    log = JsonlLog(tmp_path / "log.jsonl")
    log.on_log(None, SimpleNamespace(global_step=3), None, {"loss": float("nan"), "reward": 0.5, "lr": float("inf")})
    log.on_log(None, SimpleNamespace(global_step=4), None, None)
    first, second = read_jsonl(tmp_path / "log.jsonl")
    assert (first["step"], first["loss"], first["reward"], first["lr"]) == (3, "nan", 0.5, "inf")
    assert second["step"] == 4


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.training.callbacks import LiveProgress

    terminal = io.StringIO()
    live = LiveProgress("sft", terminal, plain_every=3600.0)
    state = SimpleNamespace(global_step=0, max_steps=4)
    live.on_train_begin(None, state, None)
    for step in range(1, 5):
        state.global_step = step
        live.on_log(None, state, None, {"loss": 1.0 / step, "epoch": 0.1})
        live.on_step_end(None, state, None)
    live.on_train_end(None, state, None)
    first, last = terminal.getvalue().splitlines()
    assert re.fullmatch(r"sft: step 1/4  loss 1  \S+ steps/s, \d+ s left", first)
    assert re.fullmatch(r"sft: step 4/4  loss 0.25  \S+ steps/s", last)
    monkeypatch.setenv("TOOLKIT_QUIET", "1")
    live.on_step_end(None, state, None)
    assert len(terminal.getvalue().splitlines()) == 2


# the log-probabilities

OUTPUTS = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature": {"temperature": 0.7},
    "softcap": {"final_logit_softcapping": 1.5},
    "scale": {"logit_scale": 0.25},
    "all": {"temperature": 1.3, "final_logit_softcapping": 2.0, "logit_scale": 3.0},
}


def inputs(dtype: Any) -> tuple[Any, Any, Any, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((5, 8), (23, 8), (23,))
    )
    return hidden, weight, bias, torch.tensor([0, 22, 7, 7, 13])


def reference(
    hidden: Any,
    weight: Any,
    bias: Any,
    targets: Any,
    temperature: float = 1.0,
    final_logit_softcapping: float | None = None,
    logit_scale: float = 1.0,
) -> tuple[Any, ...]:
    """The five values, each written out from its definition."""
    import torch

    logits = (hidden @ weight.T + (0 if bias is None else bias)) * logit_scale
    if final_logit_softcapping is not None:
        logits = final_logit_softcapping * torch.tanh(logits / final_logit_softcapping)
    logits = logits / temperature
    probs = torch.exp(logits) / torch.exp(logits).sum(-1, keepdim=True)
    return (
        torch.log(probs[torch.arange(len(targets)), targets]),
        -(probs * torch.log(probs)).sum(-1),
        torch.log((probs**2).sum(-1)),
        logits.mean(-1),
        logits.max(-1).indices == targets,
    )


@pytest.mark.parametrize("with_bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("case", CASES)
def test_log_probs_agree_with_their_definition(case: str, with_bias: bool) -> None:
    import torch

    from toolkit.training.cpu import TorchLogProbs

    exact, ours = inputs(torch.float64), inputs(torch.float32)
    options = {"temperature": 1.0, **CASES[case]}
    wanted = reference(*exact[:2], exact[2] if with_bias else None, exact[3], **options)
    arguments = (*ours[:2], ours[2] if with_bias else None, ours[3], options.pop("temperature"), 16)
    found = TorchLogProbs.apply(*arguments, **options, outputs=OUTPUTS)
    for one, other in zip(found, wanted, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other.to(one.dtype), rtol=1e-5, atol=1e-5)
    # Only log-probabilities and entropy carry gradients, in TRL's kernel as in ours.
    assert [bool(value is not None and value.requires_grad) for value in found] == [True, True, False, False, False]
    assert found[0] is not None
    assert found[1] is not None
    (found[0].sum() + 0.5 * found[1].square().sum()).backward()
    (wanted[0].sum() + 0.5 * wanted[1].square().sum()).backward()
    for mine, theirs in list(zip(ours, exact, strict=True))[: 3 if with_bias else 2]:
        torch.testing.assert_close(mine.grad, theirs.grad.float(), rtol=1e-4, atol=1e-5)


def test_only_the_wanted_outputs_are_computed() -> None:
    import torch

    from toolkit.training.cpu import TorchLogProbs

    hidden, weight, bias, targets = inputs(torch.float32)
    for wanted in OUTPUTS:
        found = TorchLogProbs.apply(hidden, weight, bias, targets, 1.0, 16, outputs=(wanted,))
        assert found[0] is not None
        assert [name for name, value in zip(OUTPUTS, found[1:], strict=True) if value is not None] == [wanted]


def test_no_token_at_all_is_no_error() -> None:
    """A batch whose completions are all masked."""
    import torch

    from toolkit.training.cpu import TorchLogProbs

    hidden, weight, bias, targets = inputs(torch.float32)
    found = TorchLogProbs.apply(hidden[:0], weight, bias, targets[:0], 1.0, 16, outputs=OUTPUTS)
    assert [tuple(value.shape) for value in found if value is not None] == [(0,)] * 5


def test_the_signature_is_that_of_trls_kernel() -> None:
    import inspect

    from trl.kernels import ChunkedLogProbFunction

    from toolkit.training.cpu import TorchLogProbs

    ours = list(inspect.signature(TorchLogProbs.apply).parameters)
    theirs = list(inspect.signature(ChunkedLogProbFunction.forward).parameters)
    assert ours == theirs[1:], "theirs begins with ctx"


def test_it_takes_the_kernels_place_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from trl.trainer import utils

    from toolkit.training.cpu import TorchLogProbs, use_torch_log_probs_on_cpu

    marker = object()
    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", marker)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    use_torch_log_probs_on_cpu()
    assert utils._ChunkedLogProbFunction is marker, "a GPU keeps TRL's own"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    use_torch_log_probs_on_cpu()
    assert utils._ChunkedLogProbFunction is TorchLogProbs
    monkeypatch.delattr(utils, "_ChunkedLogProbFunction")
    with pytest.raises(RuntimeError, match="another TRL than this was written for"):
        use_torch_log_probs_on_cpu()


AGAINST_TRL = """
import torch
from trl.kernels import ChunkedLogProbFunction
from toolkit.training.cpu import TorchLogProbs
outputs = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
for bias in (False, True):
    for temperature, softcap, scale in ((1.0, None, 1.0), (0.7, 1.5, 1.0), (1.3, None, 0.5)):
        results = []
        for function in (ChunkedLogProbFunction, TorchLogProbs):
            torch.manual_seed(0)
            hidden, weight, b = (torch.randn(*s, requires_grad=True) for s in ((5, 8), (23, 8), (23,)))
            targets = torch.tensor([0, 22, 7, 7, 13])
            made = function.apply(
                hidden, weight, b if bias else None, targets, temperature, 16, softcap, scale, outputs
            )
            (made[0].sum() + 0.5 * made[1].square().sum()).backward()
            results.append([*made, hidden.grad, weight.grad, *([b.grad] if bias else [])])
        for theirs, ours in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
print("agree")
"""


def test_log_probs_agree_with_trls_own_kernel() -> None:
    """Triton's interpreter runs it without a GPU; it must be chosen before triton is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", AGAINST_TRL]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("agree\n"), done.stderr[-2000:]
