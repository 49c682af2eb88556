"""What the trainings of benchmarks/ share: the task, its rows, the GPU's lock, clocks."""

from __future__ import annotations

import itertools
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.manifest import versions

PACKAGES = ("torch", "transformers", "trl", "peft", "unsloth", "vllm", "bitsandbytes")
TASK = "datetime_extraction"
MAX_LENGTH = 832


@dataclass(frozen=True, slots=True)
class Settings:
    """model: the base model's directory. tiny: a few steps only, on any machine."""

    model: Path
    out: Path
    tiny: bool

    @property
    def rows(self) -> int:
        """Training examples that there are."""
        return 64 if self.tiny else 12_000


def prepare(settings: Settings) -> None:
    """Examples of the task as a run's data stage leaves them, and their rows, tokenized once."""
    from tasks.registry import load_task
    from toolkit.data import write_examples

    task = load_task(TASK)
    folder = settings.out / "data"
    train = task.examples("train", settings.rows + 2_000, 0)
    write_examples(folder / "sft.jsonl", itertools.islice(train, settings.rows))
    write_examples(folder / "grpo.jsonl", itertools.islice(train, 64 if settings.tiny else 2_000))
    write_examples(folder / "validation.jsonl", task.examples("validation", 8 if settings.tiny else 256, 0))
    for split in ("sft", "validation"):
        rows_of(settings, split)


def rows_of(settings: Settings, split: str) -> Any:
    """The tokenized rows of a split, from the cache."""
    from eval.prompts import load_tokenizer
    from toolkit.training.rows import cached_rows

    tokenizer = load_tokenizer(settings.model)
    return cached_rows(settings.out / "data" / f"{split}.jsonl", tokenizer, settings.model, MAX_LENGTH, False)


def wait_for_turn(settings: Settings, name: str) -> None:
    """Called once the libraries are imported: the arm before may still hold the GPU."""
    while not (settings.out / f".go-{name}").exists():
        time.sleep(0.05)


def wait_for(process: Any, file: Path | None, deadline: float) -> None:
    """Until the process has ended, or the file is there, or the deadline (of time.perf_counter) is over."""
    while process.poll() is None and time.perf_counter() < deadline and not (file is not None and file.exists()):
        time.sleep(0.1)


def timed(settings: Settings, name: str) -> None:
    """Called once the clock has stopped: from now on the next arm may import."""
    (settings.out / f".timed-{name}").touch()


def synchronized() -> float:
    """The clock once the GPU has done all that it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def count_tokens(trainer: Any) -> None:
    """Keep trainer.tokens_seen, padding left out: unsloth's trainer doesn't count, and TRL's own counter stays 0."""
    step = trainer.training_step
    trainer.tokens_seen = 0

    def counted(model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
        trainer.tokens_seen += (
            int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else inputs["input_ids"].numel()
        )
        return step(model, inputs, *more, **named)

    trainer.training_step = counted


def peak_gb() -> tuple[float, float]:
    """The most GPU memory that this process's tensors took, and that it held, in GB."""
    import torch

    if not torch.cuda.is_available():
        return 0.0, 0.0
    return round(torch.cuda.max_memory_allocated() / 1e9, 1), round(torch.cuda.max_memory_reserved() / 1e9, 1)


def host_facts() -> dict[str, Any]:
    """The card and the versions."""
    import torch

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {"card": card, "python": platform.python_version(), "versions": versions(PACKAGES)}
