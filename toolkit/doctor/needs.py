"""What a recipe needs of a machine: packages, a GPU, memory and disk. Estimates are rough and say how they came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rewards.core import UserError
from tasks.registry import load_task, task_files
from tasks.tables.source import refuse_absent
from toolkit.config import ConversationsConfig, DataConfig, Recipe
from toolkit.doctor.sizes import Size, size_of_directory, size_of_gguf, size_of_name
from toolkit.models import converted, files_of_package, install_line, joined_file, resolve_model
from toolkit.planning.memory import (
    CPU_TOKENS,
    LIBRARIES,
    MOST_TOKENS,
    Way,
    adapter_parameters,
    grpo_memory,
    sft_memory,
    typical_length,
)

GIB = 1 << 30
KV_CACHE = 2.0  # GiB: what we let vLLM take on a CPU (VLLM_CPU_KVCACHE_SPACE)
SLACK = 1.0  # GiB of disk for logs, records, rollouts
KEPT = 3  # checkpoints that a stage keeps at most, its last adapter included

Parts = Mapping[str, float]  # GiB, by what takes them


@dataclass(frozen=True, slots=True)
class Needs:
    """packages: import name to purpose. gpu: why a GPU is needed, None when not; change: how to do without.

    training, engine: GiB of memory by part, for a device of the kind asked for; run, cache: GiB of disk by part.
    size: None when the model's size is unknown, and then the estimates are empty. token_work: tokens in training.
    missing: what stands in the way of loading the model; unread: the same of the task or the data, where looked at.
    """

    recipe: Recipe
    packages: Mapping[str, str]
    gpu: str | None
    change: str
    size: Size | None
    missing: str | None = None
    training: Parts = field(default_factory=dict)
    engine: Parts = field(default_factory=dict)
    run: Parts = field(default_factory=dict)
    cache: Parts = field(default_factory=dict)
    token_work: float = 0.0
    unread: str | None = None


def needs_of(recipe: Recipe, has_gpu: bool) -> Needs:
    """The needs of a recipe on a machine with or without a GPU. Fetches and converts nothing."""
    size, missing, cache = model_size(recipe.model.reference)
    gpu, change = gpu_purpose(recipe)
    needs = Needs(recipe, dict(_packages(recipe)), gpu, change, size, missing, token_work=_tokens(recipe))
    if size is None:
        return needs
    training, engine = _training(recipe, size, has_gpu), _engine(recipe, size, has_gpu)
    return Needs(
        recipe,
        needs.packages,
        gpu,
        change,
        size,
        missing,
        training,
        engine,
        _run(recipe, size),
        cache,
        needs.token_work,
    )


def _packages(recipe: Recipe) -> Iterator[tuple[str, str]]:
    backend = recipe.model.backend
    for name in ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "safetensors"):
        yield name, "training"
    if backend == "unsloth":
        yield "unsloth", "model.backend: unsloth"
    if recipe.task is not None:
        engine = {"vllm": "vllm", "server": "openai"}.get(recipe.eval.engine)
        if engine is not None:
            yield engine, f"eval.engine: {recipe.eval.engine}"
    if recipe.grpo is not None and recipe.grpo.vllm:
        yield "vllm", "grpo.vllm"
    if recipe.model.reference.startswith("package:") or recipe.model.reference.endswith(".gguf"):
        yield "gguf", "a model in a GGUF file"


def unread(recipe: Recipe) -> str | None:
    """Why the recipe's task or its data can't be read. Runs a task that is a Python file; asks the hub nothing."""
    try:
        if recipe.task is not None:
            load_task(recipe.task)
            for path in task_files(recipe.task):
                refuse_absent(str(path))
        if isinstance(recipe.data, ConversationsConfig):
            refuse_absent(recipe.data.path)
    except UserError as error:
        return str(error)
    return None


def gpu_purpose(recipe: Recipe, stages: Sequence[str] = ("sft", "grpo")) -> tuple[str | None, str]:
    """(why these stages of a recipe need a GPU, None when they don't; how to do without)."""
    if recipe.model.tuning == "qlora":
        return "model.tuning qlora trains on 4-bit weights, which works on CUDA only", "--set model.tuning=lora"
    if "sft" in stages and recipe.sft is not None and recipe.sft.compile is True:
        return "sft.compile pays on one only", "--set sft.compile=auto"
    if "grpo" in stages and recipe.grpo is not None and recipe.grpo.vllm:
        return "grpo.vllm generates with vLLM inside the trainer, which works on CUDA only", "--set grpo.vllm=false"
    return None, "model.backend: transformers, eval.engine: transformers"


def model_size(reference: str) -> tuple[Size | None, str | None, Parts]:
    """(size, what is missing, GiB that fetching or converting it writes into the cache)."""
    if reference.startswith("package:"):
        name = reference.removeprefix("package:")
        files = files_of_package(name)
        if files is None:
            return None, f"no package {name!r} is installed: {install_line(name)}", {}
        if not files:  # in parts: known once they were joined
            joined = joined_file(name)
            return _gguf(joined) if joined.is_file() else (None, None, {})
        return _gguf(files[0]) if len(files) == 1 else (None, f"{len(files)} .gguf files in the package, want one", {})
    path = Path(reference).expanduser()
    if path.suffix == ".gguf":
        return _gguf(path) if path.is_file() else (None, "no such file", {})
    if path.is_dir():
        try:
            resolved = resolve_model(reference)
        except UserError as error:
            return None, str(error), {}
        return size_of_directory(resolved.path), None, {}
    if path.exists() or reference.startswith((".", "/", "~")) or reference.count("/") != 1:
        return None, "no such directory", {}
    size = size_of_name(reference)
    return size, None, {} if size is None else {"the hub's download": 2 * size.parameters / GIB}


def _gguf(path: Path) -> tuple[Size | None, str | None, Parts]:
    if (directory := converted(path)) is not None:  # a GGUF file's own header takes seconds to read
        return size_of_directory(directory), None, {}
    size = size_of_gguf(path)
    return size, None, {} if size is None else {"the converted model": 2 * size.parameters / GIB}


def _training(recipe: Recipe, size: Size, has_gpu: bool) -> Parts:
    """GiB of the device's memory at the peak of the larger stage; vLLM's share of a card is left to `toolkit plan`."""
    way = Way("gpu" if has_gpu else "cpu", compiled=has_gpu)
    length = typical_length(recipe)
    stages = []
    if recipe.sft is not None:
        most = recipe.sft.forward_tokens or (MOST_TOKENS if has_gpu else CPU_TOKENS)
        stages.append(sft_memory(recipe, size, min(recipe.sft.batch_size * length, max(most, length)), way))
    if recipe.grpo is not None:
        prompt = max(0, length - recipe.grpo.max_completion_length)
        stages.append(grpo_memory(recipe, size, prompt, recipe.grpo.forward_batch(recipe.launch.processes), way))
    largest = max(stages, key=lambda parts: sum(parts.values()), default={})
    return {name: value / GIB for name, value in largest.items()}


def _engine(recipe: Recipe, size: Size, has_gpu: bool) -> Parts:
    if recipe.task is None or recipe.eval.engine not in ("vllm", "transformers"):
        return {}
    wide = recipe.eval.options.get("dtype") == "float32"
    parts = {"weights": (4 if wide else 2) * size.parameters / GIB, "key-value cache": KV_CACHE}
    return parts if has_gpu else {**parts, "libraries": LIBRARIES["cpu"] / GIB}


def _run(recipe: Recipe, size: Size) -> Parts:
    """Merged models are stored in float32, one for each evaluation of a trained model; adapters with optimizer."""
    stages = [stage for stage in (recipe.sft, recipe.grpo) if stage is not None]
    trained = size.parameters if recipe.model.tuning == "full" else adapter_parameters(recipe.lora, size)
    merged = len(stages) if recipe.task is not None else 1
    return {
        "merged models": merged * 4 * size.parameters / GIB,
        "checkpoints": len(stages) * KEPT * 12 * trained / GIB,
        "records and logs": SLACK,
    }


def _tokens(recipe: Recipe) -> float:
    """Tokens that training passes through the model, at most; 0 for a file of unknown length."""
    total = 0.0
    length = recipe.model.max_length
    if recipe.sft is not None and isinstance(recipe.data, DataConfig):
        limit = recipe.sft.max_steps * recipe.sft.batch_size if recipe.sft.max_steps > 0 else float("inf")
        total += min(recipe.data.sft * recipe.sft.epochs, limit) * length
    if recipe.grpo is not None:
        total += recipe.grpo.steps * recipe.grpo.prompts * recipe.grpo.generations * length
    return total
