"""What SFT and GRPO share: arguments of the trainer, resuming, saving."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, TextIO

import torch

from eval.files import write_json
from rewards.core import UserError
from toolkit.models import TRAINED_FOR
from toolkit.training.callbacks import JsonlLog, LiveProgress


def shared_arguments(
    stage_dir: Path, save_steps: int, learning_rate: float, warmup: float, seed: int
) -> dict[str, Any]:
    """Keyword arguments that both trainers' configurations take."""
    # The trainer's own keyword for this is gone in transformers 5.
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(stage_dir / "tensorboard")
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(stage_dir / "checkpoints"),
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup,  # below 1 it is a share of the steps
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch",
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": ["tensorboard"],
        "save_strategy": "steps",
        "save_steps": save_steps,
        "save_total_limit": 2,  # the newest may be half written when a run is killed
        "seed": seed,
        "data_seed": seed,
    }


def train(trainer: Any, title: str, stage_dir: Path, terminal: TextIO) -> None:
    """Run the trainer from its last whole checkpoint, or from the start."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(JsonlLog(stage_dir / "log.jsonl"))
    trainer.add_callback(LiveProgress(title, terminal))
    checkpoint = last_whole_checkpoint(stage_dir / "checkpoints")
    if checkpoint is not None:
        print(f"{title}: going on from {checkpoint}", file=terminal, flush=True)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    loss = trainer.state.log_history[-1].get("train_loss") if trainer.state.log_history else None
    if loss is not None and loss != loss:
        raise UserError(
            f"{title}: the loss became NaN; lower the learning rate ({stage_dir / 'log.jsonl'} has the steps)"
        )


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that has all its files; the trainer writes trainer_state.json and the RNG state last."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True):
        if all(
            (path / name).is_file() for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth")
        ):
            return path
    return None


def save_adapter(model: Any, tokenizer: Any, target: Path, task: str | None) -> None:
    """Write the adapter, its tokenizer and the task it is for (or None) to `target`, whole or not at all."""
    scratch = target.with_name(f".{target.name}.partial")
    for leftover in (scratch, target):  # of a run that was killed between two of these lines
        shutil.rmtree(leftover, ignore_errors=True)
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    write_json(scratch / TRAINED_FOR, {"task": task})
    scratch.replace(target)
