"""Nothing starts that can't fit; and what runs out of memory all the same goes on in smaller passes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rewards.core import UserError
from toolkit.config import GrpoConfig, Recipe, SftConfig
from toolkit.doctor.needs import gpu_purpose
from toolkit.doctor.sizes import Size
from toolkit.planning.machine import Device, device
from toolkit.planning.memory import CPU_TOKENS, ERROR, GB, MOST_TOKENS, Parts, Way, grpo_memory, sft_memory
from toolkit.planning.store import Chosen, choose, chosen

# What to change, by the largest part.
CHANGES = {
    "weights": "take a smaller model, or model.tuning qlora on a GPU",
    "optimizer": "model.tuning lora trains an adapter instead of all weights",
    "gradients": "model.tuning lora trains an adapter instead of all weights",
    "activations": "lower {knob} or shorten the rows (model.max_length)",
    "logits": "lower {knob}",
    "vLLM": "lower grpo.vllm_memory, or set grpo.vllm_sleep: true",
    "key-value cache": "lower grpo.prompts, grpo.generations or grpo.max_completion_length",
}
KNOBS = {"sft": "sft.forward_tokens", "grpo": "grpo.batch_size"}


class RanOutOfMemory(Exception):
    """A stage is to be started again; the text says with what."""


def mean_pass(batch: int, lengths: Sequence[int]) -> float:
    """Tokens of a pass of so many sequences, and a tenth more: passes differ."""
    return batch * sum(lengths) / len(lengths) * 1.1


def forward_passes(batch: int, lengths: Sequence[int], budget: int) -> int:
    """The smallest divisor of the batch under which a pass keeps to the budget of tokens."""
    divisors = (n for n in range(1, batch + 1) if batch % n == 0)
    return next((n for n in divisors if mean_pass(batch // n, lengths) <= budget), batch)


def room(recipe: Recipe, here: Device) -> float:
    """Bytes that one process of a training may take; several on one host share its RAM, but have a GPU each."""
    sharing = recipe.launch.processes // recipe.launch.hosts if here.kind == "cpu" else 1
    return here.free / sharing


def refuse_unfit(
    recipe: Recipe,
    stage: str,
    size: Size | None,
    here: Device,
    lengths: Sequence[int] = (),
    lowered: int | None = None,
) -> None:
    """Raise UserError when the stage needs a GPU and here is none, or when even the smallest way to train doesn't fit,
    the error of the estimate allowed for.

    lengths: tokens of the rows (sft) or prompts (grpo); without them only what every row needs is counted. lowered: the
    value of KNOBS after one ran out of memory. Weights that a file of accelerate may shard are left to it, and models
    of unknown size to their fate.
    """
    purpose, change = gpu_purpose(recipe, (stage,))
    if purpose is not None and here.kind == "cpu":
        raise UserError(f"no GPU here: {purpose} ({change})")
    if size is None or recipe.launch.config is not None or not here.free:
        return
    parts = _least(recipe, stage, size, here, lengths, lowered)
    needed, free = sum(parts.values()), room(recipe, here)
    if needed <= ERROR * free:
        return
    largest = max(parts, key=lambda name: parts[name])
    change = CHANGES.get(largest, "take a smaller model").format(knob=KNOBS[stage])
    raise UserError(
        f"{stage}: needs about {needed / GB:.1f} GB, and {free / GB:.1f} GB are free on {here.name}; most of it "
        f"{largest}, {parts[largest] / GB:.1f} GB: {change}. `toolkit plan` shows the rest"
    )


def _least(recipe: Recipe, stage: str, size: Size, here: Device, lengths: Sequence[int], lowered: int | None) -> Parts:
    if lengths and (stage == "grpo" or lowered or (recipe.sft and recipe.sft.forward_tokens)):
        return peak(recipe, stage, size, here, lengths, lowered)
    # auto takes what fits, at the least one sequence
    return peak(recipe, stage, size, here, lengths or [1], lowered or 1)


def peak(
    recipe: Recipe, stage: str, size: Size, here: Device, lengths: Sequence[int], budget: int | None = None
) -> Parts:
    """Bytes at the peak of a stage, by what takes them. lengths: tokens of rows (sft) or prompts (grpo).

    budget: the value of KNOBS; without it the recipe's, or the most that auto takes.
    """
    way = Way(here.kind, compiled=here.kind == "gpu")
    if stage == "grpo":
        assert recipe.grpo is not None
        batch = budget or recipe.grpo.forward_batch(recipe.launch.processes)
        return grpo_memory(recipe, size, sum(lengths) / len(lengths), batch, way, here.total)
    assert recipe.sft is not None
    share = recipe.sft.batch_size // recipe.launch.processes
    most = budget or recipe.sft.forward_tokens or (MOST_TOKENS if here.kind == "gpu" else CPU_TOKENS)
    return sft_memory(recipe, size, mean_pass(share // forward_passes(share, lengths, most), lengths), way)


def sft_budget(run_dir: Path | None, config: SftConfig, lengths: Sequence[int], device: str, auto: int) -> Chosen:
    """Most tokens in a pass: what ran out of memory before lowers everything; then the recipe's, a stored one, auto."""
    stored = None if run_dir is None else chosen(run_dir, "sft", device)
    if stored is not None and (stored.source == "out of memory" or config.forward_tokens is None):
        used = stored
    elif config.forward_tokens is not None:
        used = Chosen(config.forward_tokens, "recipe", "the recipe's", device)
    else:
        fitting = (
            "as much as a processor's caches help with" if auto == CPU_TOKENS else "what fits into the free memory"
        )
        used = Chosen(auto, "memory", fitting, device)
    return replace(used, smaller=_smaller_budget(config.batch_size, lengths, used.value))


def _smaller_budget(batch: int, lengths: Sequence[int], budget: int) -> int | None:
    """A budget under which a pass has at most half the sequences; None when it has one already."""
    passes = forward_passes(batch, lengths, budget)
    more = next((n for n in range(2 * passes, batch + 1) if batch % n == 0), None)
    return more and math.ceil(mean_pass(batch // more, lengths))


def grpo_batch(run_dir: Path, config: GrpoConfig, processes: int, device: str) -> Chosen:
    """Completions in a pass: the recipe's, or fewer after one ran out of memory.

    Smaller is the largest divisor of a process's rollouts of at most half of it. The rollouts, which the advantages and
    the loss are taken over, stay the same.
    """
    used = Chosen(config.forward_batch(processes), "recipe", "the recipe's", device)
    rollouts = config.prompts * config.generations // processes
    stored = chosen(run_dir, "grpo", device)
    lowered = stored is not None and stored.source == "out of memory"
    if stored is not None and lowered and stored.value < used.value and rollouts % stored.value == 0:
        used = stored  # else the recipe was changed since
    fewer = next((n for n in range(used.value // 2, 0, -1) if rollouts % n == 0), None)
    return replace(used, smaller=fewer)


def lower(run_dir: Path, stage: str, used: Chosen) -> str:
    """Keep the next smaller value for the next start of the stage; give the line that says so.

    Raises UserError when there is none: one sequence is too large by itself.
    """
    if used.smaller is None:
        raise UserError(
            f"{stage}: out of memory with a single sequence in a forward pass; shorten the rows (model.max_length), "
            "take model.tuning lora or qlora, or a smaller model. `toolkit plan` shows what takes the memory"
        )
    why = f"{used.value} ran out of memory"
    choose(run_dir, stage, replace(used, value=used.smaller, source="out of memory", why=why))
    return (
        f"out of memory with {KNOBS[stage]} {used.value}: going on from the last checkpoint with {used.smaller}, which "
        "plan.json keeps; the sequences of a step stay the same"
    )


def oom_kills() -> int:
    """Processes that the kernel has killed since it started because memory ran out; 0 where it doesn't say."""
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:  # not Linux, or a sandbox
        return 0
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def after_oom_kill(run_dir: Path, stage: str) -> dict[str, str]:
    """Of a stage that the kernel killed: {"again": why} with a smaller value kept, or {"failed": why}.

    Raises UserError where a pass has one sequence already.
    """
    here = device()
    used = chosen(run_dir, stage, here.name)
    if used is None or here.kind == "gpu" or used.smaller == used.value:  # it was killed before its first pass
        return {
            "failed": "the kernel killed its process because memory ran out, and smaller forward passes wouldn't help; "
            "end other programs, or take a smaller model, and run the same command again"
        }
    return {"again": lower(run_dir, stage, used)}
