"""The GRPO arms: from the same warm start, TRL's and unsloth's own settings at the largest batch they hold, and ours.

A warm start is needed: of a model that answers nothing right, every group is dead. `warm` trains it, for both sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_common import (
    MAX_LENGTH,
    TASK,
    Settings,
    peak_gb,
    rows_of,
    synchronized,
    timed,
    wait_for_turn,
)
from eval.prompts import stop_token_ids

GENERATIONS, PROMPTS, TOKENS = 8, 32, 160  # a step of 256 completions
SECONDS = 15.0
WARM_STEPS = 2


def warm(name: str, settings: Settings) -> dict[str, Any]:
    """A few hundred steps of SFT; leaves the weights in OUT/warm/sft/weights."""
    import sys

    from toolkit.models import resolve_model
    from toolkit.training.backends import training_backend
    from toolkit.training.common import save_trained
    from toolkit.training.sft import make_trainer

    wait_for_turn(settings, name)
    run = _run(settings, "warm", {})
    model, tokenizer = training_backend("transformers").load(
        run.recipe.model, resolve_model(str(settings.model)), run.recipe.lora, 0
    )
    assert run.recipe.sft is not None
    rows = rows_of(settings, "sft")
    trainer = make_trainer(run, run.recipe.sft, model, tokenizer, rows, None, sys.stdout)
    started = time.perf_counter()
    trainer.train()
    (run.dir / "sft").mkdir(exist_ok=True)
    save_trained(model, tokenizer, run.dir / "sft", run.recipe)
    seconds = round(synchronized() - started, 1)
    timed(settings, name)
    return {"seconds": seconds, "steps": trainer.state.global_step, "examples": len(rows)}


def _run(settings: Settings, name: str, grpo: Mapping[str, Any]) -> Any:
    from toolkit.config import check_recipe
    from toolkit.rundir import open_run

    tiny = settings.tiny
    steps = {"prompts": 2, "generations": 4, "batch_size": 8, "max_completion_length": 8} if tiny else {
        "prompts": PROMPTS, "generations": GENERATIONS, "batch_size": 128, "max_completion_length": TOKENS,
    }  # fmt: skip
    raw = {
        "task": TASK,
        "output": str(settings.out / name),
        "model": {
            "reference": str(settings.model), "backend": "transformers", "tuning": "full", "max_length": MAX_LENGTH,
        },
        "data": {"sft": settings.rows, "grpo": 2_000, "test": 8},
        "sft": {
            "batch_size": 4 if tiny else 64, "learning_rate": 1e-3, "epochs": 1 if tiny else 2, "save_steps": 10_000,
        },
        "grpo": {"steps": 3 if tiny else 100_000, "learning_rate": 2e-6, "save_steps": 1_000_000, **steps, **grpo},
    }  # fmt: skip
    return open_run(check_recipe(raw, name))


def _clock(settings: Settings, completions: Callable[[], int]) -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        began, ended, then, now, steps = 0.0, 0.0, 0, 0, 0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            warm_steps = 1 if settings.tiny else WARM_STEPS
            if state.global_step == warm_steps:
                self.began, self.then = synchronized(), completions()
            late = self.began and time.perf_counter() - self.began > SECONDS
            if (late and state.global_step > warm_steps) or state.global_step == state.max_steps:
                self.ended, self.now = synchronized(), completions()
                self.steps = state.global_step - warm_steps
                control.should_training_stop = True

    return Clock()


def _timed(name: str, settings: Settings, make: Callable[[], tuple[Any, Callable[[], int]]]) -> dict[str, Any]:
    wait_for_turn(settings, name)
    started = time.perf_counter()
    trainer, completions = make()
    loaded = time.perf_counter()
    clock = _clock(settings, completions)
    trainer.add_callback(clock)
    parts = _parts(trainer, clock)
    trainer.train()
    timed(settings, name)
    spent = clock.ended - clock.began
    history = [row for row in trainer.state.log_history if "reward" in row]
    kept = ("reward", "frac_reward_zero_std", "live_groups", "step_time", "completions/mean_length")
    return {
        "completions_per_second": round((clock.now - clock.then) / spent, 1),
        "steps": clock.steps,
        "step_s": round(spent / clock.steps, 2),
        "gb": peak_gb()[0],
        "load_s": round(loaded - started, 1),
        "parts_s": {part: round(seconds / clock.steps, 2) for part, seconds in parts.items()},
        "last": {key: round(history[-1][key], 3) for key in kept if history and key in history[-1]},
    }


def _parts(trainer: Any, clock: Any) -> dict[str, float]:
    """Seconds of the timed steps by what they went to; filled while the trainer runs. What is left is training."""
    found: dict[str, float] = {}

    def measure(owner: Any, method: str, part: str) -> None:
        original = getattr(owner, method, None)
        if original is None:
            return

        def measured(*args: Any, **kwargs: Any) -> Any:
            began = synchronized()
            result = original(*args, **kwargs)
            if clock.began and not clock.ended:
                found[part] = found.get(part, 0.0) + synchronized() - began
            return result

        setattr(owner, method, measured)

    measure(trainer, "_generate_and_score_completions", "rollouts")
    measure(trainer, "_calculate_rewards", "of them rewards")
    engine = getattr(trainer, "vllm_generation", None)
    measure(engine, "sync_weights", "of them weights to vLLM")
    measure(engine, "generate", "of them generation")
    return found


def _ledger(settings: Settings, folder: Path) -> Any:
    from tasks.registry import load_task
    from toolkit.data import read_examples
    from toolkit.training.rollouts import RewardLedger, weighted_rewards

    examples = {each.id: each for each in read_examples(settings.out / "data" / "grpo.jsonl")}
    folder.mkdir(parents=True, exist_ok=True)
    rewards = weighted_rewards(load_task(TASK), {})
    return RewardLedger(examples, rewards, folder / "rollouts.jsonl")


def _prompt_rows(ledger: Any) -> list[dict[str, Any]]:
    return [{"prompt": list(each.messages), "example_id": each.id} for each in ledger.examples.values()]


def _ours(name: str, settings: Settings, **grpo: Any) -> dict[str, Any]:
    from toolkit.models import ResolvedModel
    from toolkit.training.backends import training_backend
    from toolkit.training.grpo import make_trainer

    run = _run(settings, name, {"vllm": True, **({} if settings.tiny else grpo)})
    assert run.recipe.grpo is not None

    def make() -> Any:
        weights = settings.out / "warm" / "sft" / "weights"
        model, tokenizer = training_backend("transformers").load(
            run.recipe.model, ResolvedModel(weights), run.recipe.lora, 0
        )
        ledger = _ledger(settings, run.dir / "grpo")
        trainer = make_trainer(run, run.recipe.grpo, model, tokenizer, ledger)
        return trainer, lambda: ledger.rollouts

    return _timed(name, settings, make)


def _trl(name: str, settings: Settings, *, batch: int, **changes: Any) -> dict[str, Any]:
    """TRL's own defaults: checkpointing, generation and a step of `batch` completions."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    if not torch.cuda.is_available():
        from toolkit.training.cpu import use_torch_log_probs_on_cpu

        use_torch_log_probs_on_cpu()

    def make() -> Any:
        weights = str(settings.out / "warm" / "sft" / "weights")
        ledger = _ledger(settings, settings.out / name)
        config = GRPOConfig(**_trl_arguments(name, settings, batch), **changes)
        model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(weights)
        trainer = GRPOTrainer(
            model,
            ledger.functions(stop_token_ids(tokenizer, weights)),
            config,
            train_dataset=Dataset.from_list(_prompt_rows(ledger)),
            processing_class=tokenizer,
        )
        return trainer, lambda: ledger.rollouts

    return _timed(name, settings, make)


def _trl_arguments(name: str, settings: Settings, batch: int) -> dict[str, Any]:
    import torch

    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(settings.out / name / "trl"),
        "per_device_train_batch_size": 8 if settings.tiny else batch,
        "num_generations": 4 if settings.tiny else GENERATIONS,
        "max_completion_length": 8 if settings.tiny else TOKENS,
        "max_steps": 3 if settings.tiny else 100_000,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
        "reward_weights": [0.1, 1.0],
    }


def _unsloth(name: str, settings: Settings, *, batch: int) -> dict[str, Any]:
    """unsloth's notebooks: LoRA over an engine in the same process that shares the weights."""
    from unsloth import FastLanguageModel  # noqa: I001
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    def make() -> Any:
        weights = str(settings.out / "warm" / "sft" / "weights")
        model, tokenizer = FastLanguageModel.from_pretrained(
            weights,
            max_seq_length=MAX_LENGTH, load_in_4bit=False, fast_inference=True, max_lora_rank=64,
            gpu_memory_utilization=0.5,
        )  # fmt: skip
        model = FastLanguageModel.get_peft_model(model, r=64, lora_alpha=64, use_gradient_checkpointing="unsloth")
        ledger = _ledger(settings, settings.out / name)
        config = GRPOConfig(**_trl_arguments(name, settings, batch))
        data = Dataset.from_list(_prompt_rows(ledger))
        rewards = ledger.functions(stop_token_ids(tokenizer, weights))
        trainer = GRPOTrainer(
            model=model, reward_funcs=rewards, args=config, train_dataset=data, processing_class=tokenizer
        )
        return trainer, lambda: ledger.rollouts

    return _timed(name, settings, make)


ARMS: dict[str, Callable[[str, Settings], dict[str, Any]]] = {
    "warm": warm,
    "grpo-ours": _ours,
    "grpo-ours-1024": partial(_ours, prompts=128, batch_size=256),
    "grpo-ours-2048": partial(_ours, prompts=256, batch_size=256),
    "grpo-trl": partial(_trl, batch=128),
    "grpo-trl-vllm": partial(_trl, batch=64, use_vllm=True, vllm_mode="colocate"),
    "grpo-trl-vllm-128": partial(_trl, batch=128, use_vllm=True, vllm_mode="colocate"),
    "grpo-unsloth": partial(_unsloth, batch=64),
}


def print_table(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Completions a second, sampling, scoring and training together."""
    if not results:
        return
    print(f"\n{'GRPO arm':<20}{'completions/s':>14}{'step, s':>9}{'GB':>7}{'load, s':>9}  last step")
    for name, row in results.items():
        if "completions_per_second" not in row:
            print(f"{name:<20} {str(row)[:110]}")
            continue
        print(
            f"{name:<20}{row['completions_per_second']:>14}{row['step_s']:>9}{row['gb']:>7}{row['load_s']:>9}"
            f"  {row['last']}"
            f"\n{'':<20}{', '.join(f'{part} {seconds} s' for part, seconds in row['parts_s'].items())}"
        )
