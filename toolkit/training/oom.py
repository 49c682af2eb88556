"""A stage that runs out of memory starts again from its last checkpoint in smaller forward passes.

In a process of its own: what a failed pass leaves on a card goes with the process, and resuming is the road that a
killed run takes anyway.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from rewards.core import UserError
from toolkit.doctor.sizes import size_of_directory
from toolkit.models import ResolvedModel
from toolkit.planning.fits import RanOutOfMemory, lower, refuse_unfit
from toolkit.planning.machine import device
from toolkit.planning.store import Chosen, choose, lowered
from toolkit.rundir import Run
from toolkit.training.processes import rank

GENERATING = {"generate", "_generate_single_turn"}  # functions of transformers, vLLM and TRL
# Of a RuntimeError: torch has a class of its own only for what its allocator on a GPU couldn't have.
SIGNS = (
    *("can't allocate memory", "not enough memory"),  # a processor
    *("cuda error: out of memory", "cublas_status_alloc_failed", "triton error [cuda]: out of memory"),
)
LESS = {
    "sft": "eval.max_tokens, or leave out sft.evaluate_steps",
    "grpo": "grpo.prompts, grpo.generations, grpo.max_completion_length or grpo.vllm_memory",
}


@contextmanager
def smaller_on_oom(run: Run, stage: str, used: Chosen) -> Iterator[None]:
    """Keep in plan.json what the stage trains with; raise RanOutOfMemory when that was too much, a smaller value kept.

    Raises UserError where smaller passes don't help: one sequence is too large, or generating was.
    """
    if rank() == 0:
        choose(run.dir, stage, used)
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        traceback.print_exc()  # for the log
        if any(frame.name in GENERATING for frame in traceback.extract_tb(error.__traceback__)):
            raise UserError(
                f"{stage}: out of memory while generating, which smaller forward passes don't help; lower {LESS[stage]}"
            ) from error
        raise RanOutOfMemory(lower(run.dir, stage, used)) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether torch says that memory ran out, on a card or on a processor."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in text for sign in SIGNS)
    )


def refuse_before_loading(run: Run, stage: str, resolved: ResolvedModel, lengths: Sequence[int]) -> None:
    """refuse_unfit for a stage whose rows are known, its weights not yet loaded."""
    here = device()
    size = size_of_directory(resolved.path)
    refuse_unfit(run.recipe, stage, size, here, lengths, lowered(run.dir, stage, here.name))
