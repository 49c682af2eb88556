"""The memory of a training step, from the shape of a model alone. All in bytes.

The figures come from counting what each layer keeps for its backward pass, and are tested against measured peaks
(docs/benchmarks.md): they came within 15%. ERROR is what we allow for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.config import LoraConfig, Recipe
from toolkit.doctor.sizes import Size

GB = 10**9
ERROR = 1.3  # an estimate may be off by so much: only what is larger than the memory by more can't fit
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
FOUR_BITS = 0.56  # bytes a weight of a layer under qlora, its scales included
LIBRARIES = {"cpu": 2.5 * 2**30, "gpu": 0.7 * GB}  # torch, transformers, TRL after a step; CUDA's own share of a card
# Logits that the chunked loss holds at once: half a GiB in bfloat16; on a processor what its caches still help with.
GPU_LOGITS, CPU_LOGITS = 2**28, 2**24
LOSS_BYTES = {"gpu": 4, "cpu": 8}  # a logit and its gradient in the chunked loss
LOGIT_BYTES = 12  # a logit in 32 bits, its softmax, its gradient, in TRL's own loss; or what vLLM's sampler makes of it
LOG_PROB_BYTES = 16  # GRPO on a CPU: logits, at the temperature, their log-softmax, a gradient
TEMPORARIES = 1.1  # what a layer needs on the way, over what it keeps
MOST_TOKENS = 98_304  # in a forward pass: more makes an H100 no faster
CPU_TOKENS = 4_096  # fits the caches and 8 GB
ENGINE_WORK = 3 * GB  # vLLM's activations and graphs, beside weights, cache and logits
LEAST_SEQUENCES, MOST_SEQUENCES = 256, 1_024  # that GRPO's engine is set up to decode at once
MOST_SHARE = 0.3  # of a card, for that engine
MEMORY_SHARE = 0.75  # of the free memory that activations may take; the rest: optimizer, gradients, logits

Parts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Way:
    """How a stage trains. device: "gpu" or "cpu". chunked: the loss never holds all logits."""

    device: str
    compiled: bool = False
    chunked: bool = True


def typical_length(recipe: Recipe) -> float:
    """Tokens of a row before there are data: rows of a task are about half as long as its longest."""
    return recipe.model.max_length / 2


def dtype_of(recipe: Recipe, device: str) -> str:
    """The number format that the weights are loaded in."""
    wanted = recipe.model.dtype
    if wanted != "auto":
        return wanted
    return "bfloat16" if device == "gpu" and recipe.model.tuning != "full" else "float32"


def adapter_parameters(lora: LoraConfig, size: Size) -> int:
    """Parameters of the adapter: rank x (inputs + outputs) of each matrix that gets one."""
    width, inner, queries, keys = size.width, _inner(size), size.queries or size.width, size.keys or size.width
    sides = {"q_proj": width + queries, "k_proj": width + keys, "v_proj": width + keys, "o_proj": width + queries}
    sides |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), width + inner)
    return lora.rank * size.layers * sum(sides.get(name, 2 * width) for name in lora.target_modules)


def fixed(recipe: Recipe, size: Size, device: str) -> dict[str, float]:
    """What is held whatever the batch: weights, gradients, the two moments of Adam, the libraries."""
    full = recipe.model.tuning == "full"
    each = BYTES[dtype_of(recipe, device)]
    trained, wide = (size.parameters, each) if full else (float(adapter_parameters(recipe.lora, size)), 4.0)
    held = each * size.parameters
    if recipe.model.tuning == "qlora":  # which leaves the embedding and the head as they are
        held = each * size.embedded + FOUR_BITS * (size.parameters - size.embedded)
    parts = {"weights": held + (0 if full else wide * trained), "gradients": wide * trained}
    parts["optimizer"] = 2 * wide * trained
    if device == "gpu" and wide == 4:
        parts["half-precision copies"] = 2.0 * trained  # autocast keeps one of each trained matrix
    parts["libraries"] = LIBRARIES[device]
    return parts


def token_bytes(size: Size, way: Way) -> float:
    """What the backward pass keeps of one token, all layers.

    Compiled (half precision): both residuals, both norms' results, the attention's output, queries, keys, values, and
    three vectors of the MLP. Not compiled, the norms keep three vectors each in float32, keys and values are repeated
    for every head, and the MLP keeps four.
    """
    width, inner, queries, keys = size.width, _inner(size), size.queries or size.width, size.keys or size.width
    if way.compiled:
        layer = 2.0 * (4 * width + 2 * queries + 2 * keys + 3 * inner)
    else:
        each = 2 if way.device == "gpu" else 4
        layer = 4.0 * 6 * width + each * (width + 4 * queries + 2 * keys + 4 * inner)
    return TEMPORARIES * size.layers * layer


def sft_memory(recipe: Recipe, size: Size, tokens: float, way: Way) -> dict[str, float]:
    """The peak of an SFT step by what takes it; tokens: of one forward pass."""
    if way.chunked:
        held = min(GPU_LOGITS if way.device == "gpu" else CPU_LOGITS, tokens * size.vocabulary)
        head = 4.0 * size.vocabulary * size.width if recipe.model.tuning == "full" else 0.0
        logits = LOSS_BYTES[way.device] * held + head
    else:
        logits = LOGIT_BYTES * tokens * size.vocabulary
    return {**fixed(recipe, size, way.device), "activations": tokens * token_bytes(size, way), "logits": logits}


def grpo_memory(recipe: Recipe, size: Size, prompt: float, batch: int, way: Way, card: float = 0) -> dict[str, float]:
    """The peak of a GRPO step; prompt: tokens of one; batch: completions in a pass; card: all memory of the GPU.

    Completions count as long as they may become. Generating and training take turns: where vLLM doesn't hold its share
    all the time, the larger of the two counts.
    """
    grpo = recipe.grpo
    assert grpo is not None
    length = prompt + grpo.max_completion_length
    scored = batch * grpo.max_completion_length * size.vocabulary
    logits = LOSS_BYTES["gpu"] * min(GPU_LOGITS, scored) if way.device == "gpu" else LOG_PROB_BYTES * scored
    parts = fixed(recipe, size, way.device)
    if grpo.beta > 0 and recipe.model.tuning == "full":
        parts["reference model"] = parts["weights"]
    training = {"activations": batch * length * token_bytes(size, way), "logits": logits}
    if grpo.vllm == "server":
        return parts | training
    rollouts = grpo.sampled / recipe.launch.processes
    cache = rollouts * length * _cached(size, BYTES[dtype_of(recipe, way.device)])
    generating = {"vLLM": engine_share(recipe, size, card) * card} if grpo.vllm else {"key-value cache": cache}
    if grpo.vllm and not grpo.vllm_sleep:
        return parts | generating | training
    return parts | max(generating, training, key=lambda phase: sum(phase.values()))


def engine_share(recipe: Recipe, size: Size | None, card: float) -> float:
    """The share of a card for the vLLM that generates beside a trainer: the recipe's, or (auto) room for all
    completions of a step, as long as they may become, up to what the engine decodes at once. card: all its memory.
    """
    grpo = recipe.grpo
    assert grpo is not None
    if grpo.vllm_memory != "auto":
        return grpo.vllm_memory
    if size is None or not card or recipe.model.backend == "unsloth":  # whose engine has the trainer's weights in it
        return MOST_SHARE
    sequences = min(MOST_SEQUENCES, grpo.sampled / recipe.launch.processes)
    cache = sequences * recipe.model.max_length * _cached(size, BYTES["bfloat16"])
    logits = LOGIT_BYTES * max(LEAST_SEQUENCES, sequences) * size.vocabulary
    return min(MOST_SHARE, (BYTES["bfloat16"] * size.parameters + cache + logits + ENGINE_WORK) / card)


def _cached(size: Size, each: float) -> float:
    """Bytes of a token's keys and values in all layers."""
    return 2 * size.layers * (size.keys or size.width) * each


def _inner(size: Size) -> int:
    return size.inner or 3 * size.width


def gigabytes(parts: Parts) -> dict[str, float]:
    """The same in GB, to two digits after the point."""
    return {name: round(value / GB, 2) for name, value in parts.items()}
