"""What makes a step fast on the machine at hand, decided once before training, and said in the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rewards.core import UserError
from toolkit.config import GrpoConfig, ModelConfig, SftConfig
from toolkit.doctor.sizes import size_of_config
from toolkit.planning.fits import forward_passes, sft_budget
from toolkit.planning.machine import device
from toolkit.planning.memory import CPU_TOKENS, MEMORY_SHARE, MOST_TOKENS, Way, token_bytes
from toolkit.planning.store import Chosen
from toolkit.training.loss import loss_problem
from toolkit.training.packing import packing_problem

COMPILE_SECONDS, COMPILE_GAIN = 25.0, 0.5  # what compiling costs once, and the share of a step's time that it saves
EAGER_RATE = 13e12  # parameters x tokens a second that an H100 trains without it (measured: 90,000 tokens/s at 135M)
LONG_RUN = 100  # steps of GRPO from which on compiling pays: half a minute against a quarter of a second a step


@dataclass(frozen=True, slots=True)
class FastPath:
    """packed: rows of several sequences. own_loss: the chunked cross-entropy. passes: forward passes in a step.

    budget: most tokens in a pass. why: of packing, loss and compile, each in words. notes: for the log.
    """

    packed: bool
    own_loss: bool
    compiled: bool
    passes: int
    budget: Chosen
    why: dict[str, str]
    notes: tuple[str, ...] = ()


def fast_path(
    model: Any,
    model_config: ModelConfig,
    config: SftConfig,
    lengths: Sequence[int],
    epochs: float,
    run_dir: Path | None = None,
) -> FastPath:
    """The way to train this model on sequences of these lengths. Raises UserError for a switch that can't be on.

    The model may be one on torch's meta device: only its shape is looked at. run_dir: where values stored before are.
    """
    on_gpu = torch.cuda.is_available()
    notes, why = [], {}
    no_packing = packing_problem(model)
    if config.packing is True and no_packing:
        raise UserError(f"sft.packing: {model_config.reference!r} can't train on packed rows: {no_packing}; set auto")
    if no_packing and config.packing == "auto":
        notes.append(f"rows are padded, not packed: {no_packing}")
    if no_loss := loss_problem(model):
        notes.append(f"TRL's loss, not the chunked one: {no_loss}")
    no_compile = _compile_problem(on_gpu, model_config)
    if config.compile is True and no_compile:
        raise UserError(f"sft.compile: {no_compile}; set auto")
    tokens = sum(lengths) * epochs
    pays = _compiling_pays(model, tokens)
    compiled = not no_compile and (pays if config.compile == "auto" else config.compile)
    budget = sft_budget(run_dir, config, lengths, device().name, forward_tokens(model, compiled))
    passes = forward_passes(config.batch_size, lengths, budget.value)
    steps = f"steps of {config.batch_size} sequences in {passes} forward passes"
    notes.append(f"{steps} of about {budget.value} tokens at most")
    if budget.source in ("probe", "out of memory"):
        notes.append(f"forward_tokens {budget.value} from plan.json: {budget.why}")
    if compiled:
        notes.append("layers are compiled: the first steps take half a minute")
    packed = bool(config.packing) and not no_packing
    # What else was decided is kept beside the budget in plan.json, for whoever reads the run later.
    kept = {**budget.details, "passes": passes, "packed": packed, "compiled": compiled}
    budget = replace(budget, details=kept)
    why["packing"] = no_packing or ("the recipe's" if config.packing != "auto" else "saves the padding")
    why["loss"] = no_loss or "never holds all logits"
    gains = "saves more than it takes" if pays else "takes longer than it would save"
    why["compile"] = no_compile or ("the recipe's" if config.compile != "auto" else f"{gains}: {tokens:,.0f} tokens")
    return FastPath(packed, no_loss is None, compiled, passes, budget, why, tuple(notes))


@dataclass(frozen=True, slots=True)
class GrpoPath:
    """packed: log-probabilities from rows without padding. why: of packing and compile, in words."""

    packed: bool
    compiled: bool
    why: dict[str, str]


def grpo_path(model: Any, backend: str, config: GrpoConfig) -> GrpoPath:
    """The way to train this model, which may be on the meta device. Raises UserError for a switch that can't be on."""
    problem = "unsloth packs by itself" if backend == "unsloth" else packing_problem(model)
    if config.packing is True and problem:
        raise UserError(f"grpo.packing: {problem}; set auto")
    packed = bool(config.packing) and not problem
    wanted = config.steps >= LONG_RUN if config.compile == "auto" else config.compile
    compiled = torch.cuda.is_available() and bool(config.vllm) and packed and wanted
    needs = "needs a GPU, grpo.vllm and packed rows"
    if config.compile is True and not compiled:
        raise UserError(f"grpo.compile: {needs}; set auto")
    why = {"packing": problem or ("the recipe's" if config.packing != "auto" else "saves the padding")}
    if wanted and not compiled:
        why["compile"] = needs
    else:
        why["compile"] = (
            "the recipe's" if config.compile != "auto" else f"{config.steps} steps; it pays from {LONG_RUN} on"
        )
    return GrpoPath(packed, compiled, why)


def _compile_problem(on_gpu: bool, model: ModelConfig) -> str | None:
    if not on_gpu:
        return "compiling pays on a GPU only"
    if model.backend == "unsloth":
        return "unsloth compiles by itself"
    return "4-bit layers (model.tuning qlora) don't compile" if model.tuning == "qlora" else None


def _compiling_pays(model: Any, tokens: float) -> bool:
    seconds = tokens * sum(weights.numel() for weights in model.parameters()) / EAGER_RATE
    return bool(seconds * COMPILE_GAIN > COMPILE_SECONDS)


def forward_tokens(model: Any, compiled: bool) -> int:
    """Tokens whose activations fit into the memory that is free now, MOST_TOKENS at most."""
    if not torch.cuda.is_available():
        return CPU_TOKENS
    free, _ = torch.cuda.mem_get_info()
    trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    left = free * MEMORY_SHARE - 20 * trained  # weights, gradients, two moments and a margin, in float32
    size = size_of_config(model.config.get_text_config().to_dict(), 0)
    return max(1_024, min(MOST_TOKENS, int(left / token_bytes(size, Way("gpu", compiled)))))


def narrow_stream(model: Any) -> None:
    """Let float32 weights hand on bfloat16 between the layers, as half-precision weights do.

    Under autocast the embedding, and with it every sum and norm, would stay in float32: twice the memory traffic, for
    losses that agree to three digits (docs/benchmarks.md). Norms and attention still add up in float32 inside.
    """
    if torch.cuda.is_available() and model.get_input_embeddings().weight.dtype == torch.float32:
        model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output.to(torch.bfloat16))


def compile_layers(model: Any) -> int:
    """Compile the decoder layers in place, one graph for all; gives their number. Names of weights stay as they are."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    torch.set_float32_matmul_precision("high")  # what autocast leaves in float32
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        layer.compile(dynamic=True)
    return len(layers)
