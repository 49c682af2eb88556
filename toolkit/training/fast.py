"""What makes a step fast on the machine at hand, decided once before training, and said in the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rewards.core import UserError
from toolkit.config import ModelConfig, SftConfig
from toolkit.training.loss import loss_problem
from toolkit.training.packing import packing_problem

MOST_TOKENS = 98_304  # in a forward pass: more makes an H100 no faster
MEMORY_SHARE = 0.75  # of the free memory that activations may take; the rest: optimizer, gradients, logits
CPU_TOKENS = 4_096  # fits the caches and 8 GB
COMPILE_SECONDS, COMPILE_GAIN = 25.0, 0.5  # what compiling costs once, and the share of a step's time that it saves
EAGER_RATE = 13e12  # parameters x tokens a second that an H100 trains without it (measured: 90,000 tokens/s at 135M)


@dataclass(frozen=True, slots=True)
class FastPath:
    """packed: rows of several sequences. own_loss: the chunked cross-entropy. passes: forward passes in a step."""

    packed: bool
    own_loss: bool
    compiled: bool
    passes: int
    notes: tuple[str, ...] = ()


def fast_path(
    model: Any, model_config: ModelConfig, config: SftConfig, lengths: Sequence[int], epochs: float
) -> FastPath:
    """The way to train this model on sequences of these lengths. Raises UserError for a switch that can't be on."""
    on_gpu = torch.cuda.is_available()
    notes = []
    no_packing = packing_problem(model)
    # unsloth on a GPU has a step of its own, fused and packed in its way; ours over it is for those who ask.
    unsloths = on_gpu and model_config.backend == "unsloth" and config.packing == "auto"
    if config.packing is True and no_packing:
        raise UserError(f"sft.packing: {model_config.reference!r} can't train on packed rows: {no_packing}; set auto")
    if unsloths:
        notes.append("unsloth's own step; sft.packing: true packs rows and takes the chunked loss")
    elif no_packing and config.packing == "auto":
        notes.append(f"rows are padded, not packed: {no_packing}")
    if no_loss := loss_problem(model):
        notes.append(f"TRL's loss, not the chunked one: {no_loss}")
    no_compile = _compile_problem(on_gpu, model_config)
    if config.compile is True and no_compile:
        raise UserError(f"sft.compile: {no_compile}; set auto")
    tokens = sum(lengths) * epochs
    pays = _compiling_pays(model, tokens)
    compiled = not no_compile and (pays if config.compile == "auto" else config.compile)
    budget = config.forward_tokens or forward_tokens(model, compiled)
    passes = forward_passes(config.batch_size, lengths, budget)
    notes.append(f"steps of {config.batch_size} sequences in {passes} forward passes of about {budget} tokens at most")
    if compiled:
        notes.append("layers are compiled: the first steps take half a minute")
    packed = bool(config.packing) and not no_packing and not unsloths
    return FastPath(packed, no_loss is None and not unsloths, compiled, passes, tuple(notes))


def _compile_problem(on_gpu: bool, model: ModelConfig) -> str | None:
    if not on_gpu:
        return "compiling pays on a GPU only"
    if model.backend == "unsloth":
        return "unsloth compiles by itself"
    return "4-bit layers (model.tuning qlora) don't compile" if model.tuning == "qlora" else None


def _compiling_pays(model: Any, tokens: float) -> bool:
    seconds = tokens * sum(weights.numel() for weights in model.parameters()) / EAGER_RATE
    return bool(seconds * COMPILE_GAIN > COMPILE_SECONDS)


def forward_passes(batch_size: int, lengths: Sequence[int], budget: int) -> int:
    """The smallest divisor of the batch size under which a mean pass, and a tenth more, keeps to the budget."""
    mean = sum(lengths) / len(lengths) * 1.1
    divisors = (n for n in range(1, batch_size + 1) if batch_size % n == 0)
    return next((n for n in divisors if batch_size / n * mean <= budget), batch_size)


def forward_tokens(model: Any, compiled: bool) -> int:
    """Tokens whose activations fit into the memory that is free now, MOST_TOKENS at most."""
    if not torch.cuda.is_available():
        return CPU_TOKENS
    free, _ = torch.cuda.mem_get_info()
    trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    left = free * MEMORY_SHARE - 20 * trained  # weights, gradients, two moments and a margin, in float32
    each = bytes_per_token(model.config.get_text_config(), compiled)
    return max(1_024, min(MOST_TOKENS, int(left / each)))


def bytes_per_token(config: Any, compiled: bool) -> int:
    """What the backward pass keeps of a token, checked against a measured peak (docs/benchmarks.md)."""
    layer = 20 * config.hidden_size + 7 * config.intermediate_size
    return int(config.num_hidden_layers * layer * (1 if compiled else 3))


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
