"""The SFT arms: TRL's and unsloth's trainers as they come, TRL tuned by hand, and ours."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.gpu_common import (
    MAX_LENGTH,
    TASK,
    Settings,
    count_tokens,
    peak_gb,
    rows_of,
    synchronized,
    timed,
    wait_for_turn,
)
from benchmarks.gpu_profile import profile_step

STEP_ROWS = 256  # sequences in an optimizer step of the arms whose losses are compared
STEPS = 20
WARM_STEPS = 4  # before the clock starts: allocation, compilation
SHORT_SECONDS = 8.0  # of an arm that is timed only
LEARNING_RATE = {"full": 3e-4, "lora": 1e-3, "qlora": 1e-3}


def _clock(settings: Settings, seconds: float | None) -> Any:
    """A callback that times the steps after WARM_STEPS, and stops the trainer after so many seconds of them."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        trainer: Any = None
        warm = 1 if settings.tiny else WARM_STEPS
        first_step, began, ended, tokens_then, steps_then = 0.0, 0.0, 0.0, 0, 0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1:
                self.first_step = synchronized()
            if state.global_step == self.warm:
                self.began, self.tokens_then, self.steps_then = synchronized(), self.tokens(), state.global_step
            late = seconds is not None and self.began and time.perf_counter() - self.began > seconds
            if late or state.global_step == state.max_steps:
                self.ended, self.tokens_end, self.steps_end = synchronized(), self.tokens(), state.global_step
                control.should_training_stop = True

        def tokens(self) -> int:
            seen = getattr(self.trainer, "tokens_seen", None)
            return int(self.trainer._total_train_tokens if seen is None else seen)

        def figures(self) -> dict[str, Any]:
            spent = self.ended - self.began
            tokens, steps = self.tokens_end - self.tokens_then, self.steps_end - self.steps_then
            return {
                "tokens_per_second": round(tokens / spent),
                "steps": steps,
                "step_ms": round(1000 * spent / steps, 1),
                **dict(zip(("gb", "held_gb"), peak_gb(), strict=True)),
            }

    return Clock()


def _timed(
    name: str, settings: Settings, make: Callable[[], Any], seconds: float | None, score: bool = True
) -> dict[str, Any]:
    wait_for_turn(settings, name)
    started = time.perf_counter()
    trainer = make()
    clock = _clock(settings, seconds)
    clock.trainer = trainer
    trainer.add_callback(clock)
    trainer.train()
    timed(settings, name)
    figures: dict[str, Any] = {**clock.figures(), "to_first_step_s": round(clock.first_step - started, 1)}
    if score and not settings.tiny:
        figures["profile_ms"] = profile_step(trainer)
    if score:
        figures["validation_loss"] = round(validation_loss(trainer, settings), 4)
    return figures


def validation_loss(trainer: Any, settings: Settings) -> float:
    """The same for every arm: padded rows through the model's own attention, logits in float32."""
    import torch

    from toolkit.training.packing import base_of

    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    for module in model.modules():
        module._compiled_call_impl = None
    base = base_of(model)
    if base.config._attn_implementation == "packed_varlen":
        base.set_attn_implementation("sdpa")
    model.eval()
    rows = sorted(rows_of(settings, "validation").with_format(None), key=lambda row: len(row["input_ids"]))
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for start in range(0, len(rows), 32):
        batch = rows[start : start + 32]
        width = max(len(row["input_ids"]) for row in batch)
        ids = torch.tensor([[*r["input_ids"], *[0] * (width - len(r["input_ids"]))] for r in batch], device=device)
        labels = torch.tensor([[*r["labels"], *[-100] * (width - len(r["labels"]))] for r in batch], device=device)
        mask = torch.tensor([[1] * len(r["labels"]) + [0] * (width - len(r["labels"])) for r in batch], device=device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(input_ids=ids, attention_mask=mask).logits
        flat, wanted = logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten()
        total += float(torch.nn.functional.cross_entropy(flat, wanted, reduction="sum"))
        count += int((wanted != -100).sum())
    assert math.isfinite(total)
    return total / count


def _trl(name: str, settings: Settings, *, lora: bool, seconds: float | None, **changes: Any) -> dict[str, Any]:
    """TRL's SFTTrainer; what `changes` doesn't name is its default."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    if not torch.cuda.is_available():
        from toolkit.training.cpu import use_torch_log_probs_on_cpu

        use_torch_log_probs_on_cpu()

    if not changes.get("gradient_checkpointing", True):  # what its out-of-memory message advises
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"

    def make() -> Any:
        # The library's own advice: half-precision weights under an adapter, float32 ones where all are trained.
        dtype = torch.bfloat16 if lora and torch.cuda.is_available() else torch.float32
        model: Any = AutoModelForCausalLM.from_pretrained(str(settings.model), dtype=dtype)
        if lora:
            model = get_peft_model(model, LoraConfig(r=64, lora_alpha=64, target_modules="all-linear"))
        config = SFTConfig(**_trl_arguments(name, settings, "lora" if lora else "full", changes))
        tokenizer = AutoTokenizer.from_pretrained(str(settings.model))
        return SFTTrainer(
            model, config, train_dataset=rows_of(settings, "sft").with_format(None), processing_class=tokenizer
        )

    return _timed(name, settings, make, seconds, score=seconds is None)


def _trl_arguments(name: str, settings: Settings, tuning: str, changes: dict[str, Any]) -> dict[str, Any]:
    import torch

    on_gpu = torch.cuda.is_available()
    shared = {
        "output_dir": str(settings.out / name),
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "max_length": MAX_LENGTH,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
        "data_seed": 0,
        "max_steps": 3 if settings.tiny else STEPS if "learning_rate" not in changes else 100_000,
        "learning_rate": LEARNING_RATE[tuning],
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
    }
    if changes.pop("defaults", False):  # learning rate and schedule don't matter for speed
        shared["max_steps"] = 3 if settings.tiny else 100_000
    if settings.tiny:
        changes = {**changes, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    return {**shared, **changes}


def _ours(
    name: str,
    settings: Settings,
    *,
    tuning: str,
    backend: str = "transformers",
    seconds: float | None = None,
    **sft: Any,
) -> dict[str, Any]:
    """The toolkit's own stage, from the recipe to the trainer."""
    from toolkit.config import check_recipe
    from toolkit.models import resolve_model
    from toolkit.rundir import open_run
    from toolkit.training.backends import training_backend

    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # as run_sft does
    os.environ.setdefault("UNSLOTH_RETURN_LOGITS", "1")  # for the validation loss, which every arm has computed alike
    recipe = check_recipe(
        {
            "task": TASK,
            "output": str(settings.out / name),
            "model": {"reference": str(settings.model), "backend": backend, "tuning": tuning, "max_length": MAX_LENGTH},
            "lora": {"rank": 64, "alpha": 64},
            "data": {"sft": settings.rows, "grpo": 64, "test": 8},
            "sft": {
                "batch_size": 4 if settings.tiny else STEP_ROWS,
                "learning_rate": LEARNING_RATE[tuning],
                "max_steps": 3 if settings.tiny else STEPS if seconds is None else 100_000,
                "save_steps": 1_000_000,
                "compile": "auto" if settings.tiny else True,
                **sft,
            },
        },
        name,
    )
    run = open_run(recipe)
    loader = training_backend(backend)  # imports what the backend is made of
    import sys

    from toolkit.training.sft import make_trainer

    def make() -> Any:
        assert recipe.sft is not None
        model, tokenizer = loader.load(recipe.model, resolve_model(str(settings.model)), recipe.lora, 0)
        rows = rows_of(settings, "sft")
        return make_trainer(run, recipe.sft, model, tokenizer, rows, rows_of(settings, "validation"), sys.stdout)

    return _timed(name, settings, make, seconds, score=seconds is None)


def _unsloth(name: str, settings: Settings, *, seconds: float, **changes: Any) -> dict[str, Any]:
    """unsloth's own way: FastLanguageModel, its checkpointing, its trainer's defaults."""
    import unsloth
    from trl import SFTConfig, SFTTrainer

    def make() -> Any:
        checkpointing = changes.pop("checkpointing", "unsloth")
        model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
            str(settings.model), max_seq_length=MAX_LENGTH, load_in_4bit=False
        )
        model = unsloth.FastLanguageModel.get_peft_model(
            model, r=64, lora_alpha=64, lora_dropout=0, use_gradient_checkpointing=checkpointing, random_state=0
        )
        config = SFTConfig(**_trl_arguments(name, settings, "lora", {**changes, "defaults": True}))
        trainer = SFTTrainer(
            model, config, train_dataset=rows_of(settings, "sft").with_format(None), processing_class=tokenizer
        )
        count_tokens(trainer)
        return trainer

    return _timed(name, settings, make, seconds, score=False)


_TUNED: dict[str, Any] = {
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 64,
    "gradient_accumulation_steps": 4,
}
ARMS: dict[str, Callable[[str, Settings], dict[str, Any]]] = {
    "trl-full": partial(_trl, lora=False, seconds=SHORT_SECONDS, defaults=True),
    "trl-full-batch64": partial(
        _trl,
        lora=False,
        seconds=SHORT_SECONDS,
        defaults=True,
        per_device_train_batch_size=64,
        gradient_checkpointing=False,
    ),
    "trl-full-tuned": partial(_trl, lora=False, seconds=None, **_TUNED),
    "ours-full": partial(_ours, tuning="full"),
    "ours-full-eager": partial(_ours, tuning="full", compile=False, seconds=SHORT_SECONDS),
    "trl-lora": partial(_trl, lora=True, seconds=SHORT_SECONDS, defaults=True),
    "trl-lora-tuned": partial(_trl, lora=True, seconds=None, **_TUNED),
    "ours-lora": partial(_ours, tuning="lora"),
    "ours-qlora": partial(_ours, tuning="qlora", compile="auto", seconds=SHORT_SECONDS),
    "unsloth-lora": partial(_unsloth, seconds=SHORT_SECONDS),
    "unsloth-lora-tuned": partial(
        _unsloth,
        seconds=SHORT_SECONDS,
        checkpointing=False,
        per_device_train_batch_size=128,
        gradient_accumulation_steps=2,
    ),
    "ours-unsloth-lora": partial(_ours, tuning="lora", backend="unsloth", compile="auto", packing=True),
}


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """tokens/s are of real tokens: padding doesn't count."""
    if not results:
        return
    print(f"\n{'SFT arm':<20}{'tokens/s':>10}{'step, ms':>10}{'GB':>7}{'start, s':>10}{'val. loss':>11}")
    for name, row in results.items():
        if "failed" in row:
            print(f"{name:<20} {row['failed'][:90]}")
            continue
        loss = f"{row['validation_loss']:.4f}" if "validation_loss" in row else ""
        print(
            f"{name:<20}{row['tokens_per_second']:>10,}{row['step_ms']:>10}{row['gb']:>7}"
            f"{row['to_first_step_s']:>10}{loss:>11}"
        )
    for name, row in results.items():
        if profile := row.get("profile_ms"):
            kinds = ", ".join(f"{kind} {value}" for kind, value in profile["kinds"].items())
            print(f"{name}: {profile['wall']} ms for {profile['tokens']} places, {profile['gpu']} on the GPU: {kinds}")
