"""What SFT and GRPO share: arguments of the trainer, resuming, saving."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, TextIO

import torch

from eval.files import whole_directory, write_atomically, write_json
from eval.shown import percent
from eval.trained import TRAINED_FOR, training_record
from rewards.core import UserError
from toolkit.config import Recipe
from toolkit.rundir import read_log
from toolkit.templates import say_end_tokens
from toolkit.training.backends import trained_dir
from toolkit.training.callbacks import JsonlLog, LiveProgress
from toolkit.training.cpu import let_torch_load_to_numbered_cpu
from toolkit.training.heldout import HISTORY, HeldOut, best_of
from toolkit.training.processes import rank, wait_for_all, world
from toolkit.training.watchdog import Watchdog

OPTIMIZERS = ("optimizer.pt", "optimizer.bin", "optimizer_0")  # the second and the third are FSDP's
WEIGHTS = ("*.safetensors", "pytorch_model_fsdp*")  # the second is FSDP's, a file or a folder
TRAINED = "default"  # PEFT's name of the adapter that is trained


def shared_arguments(
    stage_dir: Path, save_steps: int, learning_rate: float, warmup: float, seed: int
) -> dict[str, Any]:
    """Keyword arguments that both trainers' configurations take."""
    # The trainer's own keyword for this is gone in transformers 5.
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(stage_dir / "tensorboard")
    on_gpu = torch.cuda.is_available()
    half = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return {
        "output_dir": str(stage_dir / "checkpoints"),
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup,  # below 1 it is a share of the steps
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        # Runs here have 100 steps, not 100,000: with the usual 0.999 the second moment hardly leaves its first batches.
        "adam_beta2": 0.95,
        "bf16": half,
        "fp16": on_gpu and not half,  # before Ampere
        "use_cpu": not on_gpu,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would log the mean of the losses before in the place of a NaN
        "disable_tqdm": True,
        "report_to": ["tensorboard"],
        "save_strategy": "steps",
        "save_steps": save_steps,
        "save_total_limit": 2,  # the newest may be half written when a run is killed
        "seed": seed,
        "data_seed": seed,
    }


def train(trainer: Any, title: str, stage_dir: Path, terminal: TextIO, held: HeldOut | None = None) -> dict[str, Any]:
    """Run the trainer from its last whole checkpoint, or from the start; leave it with the weights to keep.

    held: evaluates on the way; the weights are then those of its best step. Gives "stopped": why, where the watchdog
    ended it early, and the best step with its share of exact answers. Raises UserError when it diverged.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    first = rank() == 0
    if first:
        trainer.add_callback(JsonlLog(stage_dir / "log.jsonl"))
        trainer.add_callback(LiveProgress(title, terminal))
    dog = Watchdog(title, stage_dir, terminal, speaks=first, fp16=trainer.args.fp16)
    trainer.add_callback(dog)
    dog.keep_batches(trainer)
    load_what_was_trained(trainer)
    if held is not None:
        held.alarm = dog.held_out
        trainer.add_callback(held)
    checkpoint = last_whole_checkpoint(stage_dir / "checkpoints", world())
    if checkpoint is not None:
        print(f"{title}: going on from {checkpoint}", file=terminal, flush=True)
    done = 0 if checkpoint is None else _step(checkpoint)
    if first:
        drop_undone(stage_dir / "log.jsonl", done)
        drop_undone(stage_dir / HISTORY, -1 if checkpoint is None else done)  # its step 0 may be another recipe's
        drop_undone(stage_dir / "rollouts.jsonl", done - 1)  # a rollout bears the number of steps before it
    if world() > 1 and not torch.cuda.is_available():
        let_torch_load_to_numbered_cpu()
    wait_for_all()  # none may write a checkpoint before each has found the same newest one
    if first:
        remove_newer(stage_dir / "checkpoints", done)
    ended = dog.recall(read_log(stage_dir / "log.jsonl"))
    if held is not None:
        held.read_history()
        ended = ended or dog.recall_held_out(held.history, done)
    if checkpoint is not None and (ended is not None or _is_last(checkpoint)) and not trainer.is_fsdp_enabled:
        _take(trainer, checkpoint)
        dog.stopped = ended
    else:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if dog.stopped is not None and dog.stopped.id == "not-finite":
        raise UserError(f"the training diverged: {dog.stopped} {stage_dir / 'log.jsonl'} has the steps")
    outcome = {} if dog.stopped is None else {"stopped": f"{dog.stopped.id}: {dog.stopped.what}"}
    if held is not None:
        outcome |= _keep_best(trainer, title, held, stage_dir / "checkpoints", terminal)
    broken = [
        name
        for name, weights in trainer.model.named_parameters()
        if weights.requires_grad and not torch.isfinite(_held_here(weights)).all()
    ]
    if broken:
        raise UserError(
            f"the training diverged: {broken[0]} isn't finite; lower {title}.learning_rate "
            f"({stage_dir / 'log.jsonl'} has the steps)"
        )
    return outcome


def load_what_was_trained(trainer: Any) -> None:
    """Let the trainer's checkpoints be loaded whole: when it goes on from one, takes one, or keeps the best.

    With a KL penalty TRL adds a second adapter, the reference. PEFT saves that one in a folder of the checkpoint's and
    the trained one beside it, and transformers, where it finds such folders, loads nothing else.
    """
    load = trainer._load_from_checkpoint  # transformers has no public name for it

    def load_whole(checkpoint: str, model: Any = None) -> None:
        load(checkpoint, model)
        if len(getattr(trainer.model, "peft_config", ())) > 1 and not trainer.is_fsdp_enabled:  # FSDP has its own files
            trainer.model.load_adapter(checkpoint, TRAINED, is_trainable=True)
            trainer.model.set_adapter(TRAINED)

    trainer._load_from_checkpoint = load_whole


def _keep_best(trainer: Any, title: str, held: HeldOut, checkpoints: Path, terminal: TextIO) -> dict[str, Any]:
    """Put the weights of the best step into the model, by the held-out metric; say which."""
    last = trainer.state.global_step
    wait_for_all()  # the first process may still be writing
    best = best_of(held.history, lambda step: step == last or (checkpoints / f"checkpoint-{step}").is_dir())
    if best is None:
        return {}
    step = best["step"]
    if step != last:
        trainer._load_from_checkpoint(str(checkpoints / f"checkpoint-{step}"))
    what = "the last" if step == last else f"the last was {last}"
    print(f"{title}: keeps step {step}, held-out {percent(best['exact'])} exact ({what})", file=terminal, flush=True)
    return {"best_step": step, "held_out_exact": best["exact"]}


def _is_last(checkpoint: Path) -> bool:
    """Whether the training had made all its steps there: the run was killed between the last and the stage's end."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return bool(state["global_step"] >= state["max_steps"] > 0)


def _take(trainer: Any, checkpoint: Path) -> None:
    """The weights and the state of a finished training. Resuming there would train one step more than was asked for."""
    from transformers import TrainerState

    trainer._load_from_checkpoint(str(checkpoint))
    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))


def _held_here(weights: Any) -> torch.Tensor:
    held: torch.Tensor = weights.to_local() if hasattr(weights, "to_local") else weights  # FSDP shards them
    return held


def last_whole_checkpoint(folder: Path, processes: int = 1) -> Path | None:
    """The newest checkpoint that has all its files; the trainer writes trainer_state.json last, and in place.

    Each process writes a random state of its own, in its own time: of several, all have to be there.
    """
    for path in sorted(_checkpoints(folder), key=_step, reverse=True):
        weights = any(True for pattern in WEIGHTS for _ in path.glob(pattern))
        optimizer = any((path / name).exists() for name in OPTIMIZERS) and (path / "scheduler.pt").is_file()
        if _has_state(path) and weights and optimizer and len(list(path.glob("rng_state*.pth"))) >= processes:
            return path
    return None


def remove_newer(folder: Path, step: int) -> None:
    """Remove the checkpoints after the step that training goes on from, none of which is whole.

    They would be written anew in place, file by file: killed in between, old files and new ones may pass for a whole.
    """
    for path in _checkpoints(folder):
        if _step(path) > step:
            shutil.rmtree(path)


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]


def _has_state(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def drop_undone(log: Path, last_step: int) -> None:
    """Keep the rows up to last_step: a killed run had got further than the checkpoint that training goes on from.

    The validation loss of the end is computed anew, so it goes; one stays only where it opens the log.
    """
    if not log.is_file():
        return
    kept: list[str] = []
    for line in log.read_text(encoding="utf-8").split("\n"):  # not splitlines: a text may hold U+2028
        try:
            row = json.loads(line)
        except ValueError:  # the kill tore it
            continue
        if row["step"] <= last_step and not (kept and "eval_loss" in row):
            kept.append(f"{line}\n")
    write_atomically(log, "".join(kept))


def save_trained(model: Any, tokenizer: Any, stage_dir: Path, recipe: Recipe, trainer: Any = None) -> None:
    """Write what was trained, its tokenizer and what it was trained for to trained_dir, whole or not at all.

    Every process calls it, and the first one writes: where the weights are sharded, it gets the others' parts here.
    """
    sharded = trainer is not None and trainer.is_fsdp_enabled
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    if rank() > 0:
        return
    model.config.use_cache = True  # off in training; a model saved so would generate without a cache
    only = {} if recipe.model.tuning == "full" else {"selected_adapters": [TRAINED]}  # not GRPO's reference
    with whole_directory(trained_dir(stage_dir, recipe.model.tuning)) as folder:
        model.save_pretrained(folder, state_dict=state, **only)
        tokenizer.save_pretrained(folder)
        if recipe.model.tuning == "full":
            say_end_tokens(folder, tokenizer)
        write_json(folder / TRAINED_FOR, training_record(recipe.task, tokenizer))
