"""Recipes: YAML checked against these models, `--set a.b=value` on top. Unknown keys name their nearest neighbour."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)

from eval.redaction import secret_keys
from eval.validity import MAX_FAILED, MAX_TRUNCATED
from rewards.core import UserError
from tasks.tables.rows import shown
from toolkit.yaml_files import read_yaml, yaml_value

Engine = Literal["vllm", "server", "transformers", "scripted"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
Tuning = Literal["lora", "qlora", "full"]
Switch = bool | Literal["auto"]  # auto: the toolkit decides, and its log says what


class Section(BaseModel):
    """A part of a recipe. A key that isn't listed is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(Section):
    """The base model and how training loads it."""

    reference: str = Field(description="hub id, directory, .gguf file, or package:NAME")
    backend: Literal["unsloth", "transformers"] = Field("unsloth", description="who loads and patches the model")
    tuning: Tuning = Field("lora", description="lora: an adapter; qlora: on 4-bit weights, GPU only; full: all weights")
    dtype: DType = Field(
        "auto",
        description="of the weights in training; auto: float32 on a CPU and with tuning full, else bfloat16",
    )
    max_length: PositiveInt = Field(512, description="tokens of prompt and completion together; longer is an error")
    chat_template: str | None = Field(None, description="chatml, llama-3.1, gemma, qwen-3 or a file; default: its own")


class LoraConfig(Section):
    """The low-rank adapter that training fits."""

    rank: PositiveInt = 32
    alpha: PositiveInt = Field(64, description="scale: the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class DataConfig(Section):
    """How many examples of each split are built, counted in examples."""

    sft: PositiveInt = Field(description="training examples with their rationale")
    grpo: PositiveInt = Field(description="training prompts for GRPO, none of them among those of sft")
    validation: PositiveInt = Field(64, description="examples for the validation loss of sft")
    test: PositiveInt = Field(description="held-out examples that the evaluations score")


class ColumnsConfig(Section):
    """Which column is which, where their names don't say so: conversations alone, or user and assistant."""

    conversations: str | None = None
    system: str | None = None
    user: str | None = None
    assistant: str | None = None

    @model_validator(mode="after")
    def _enough(self) -> Self:
        pair = self.user is not None and self.assistant is not None
        some = self.user is not None or self.assistant is not None or self.system is not None
        if (some and not pair) or (self.conversations is not None and some):
            raise ValueError("name conversations alone, or user and assistant (and perhaps system)")
        return self

    def names(self) -> dict[str, str]:
        """The columns that are mapped."""
        return self.model_dump(exclude_none=True)


class ConversationsConfig(Section):
    """Conversations of one's own: a file instead of a task. Training takes every good row."""

    path: str = Field(description="a CSV, TSV, JSON, JSONL or Parquet file, a folder, a saved dataset, or a hub id")
    columns: ColumnsConfig = ColumnsConfig()
    encoding: str | None = Field(None, description="of a text file; default: by its byte-order mark, UTF-8, or cp1251")
    separator: str | None = Field(None, min_length=1, max_length=1, description="of a CSV; default: by its header")
    split: str = Field("train", description="of a dataset that has several")
    validation: float = Field(0.05, ge=0, lt=1, description="share of the prompts held out for the validation loss")
    max_bad_share: float = Field(0.01, ge=0, le=1, description="stop when more of the rows than this can't be used")
    too_long: Literal["error", "drop"] = Field("error", description="a conversation longer than model.max_length")


class SftConfig(Section):
    """Supervised warm start: cross-entropy on the completion only."""

    batch_size: PositiveInt = Field(8, description="sequences in one optimizer step")
    learning_rate: PositiveFloat = 1e-3
    epochs: PositiveFloat = 1.0
    max_steps: int = Field(-1, ge=-1, description="stop after so many optimizer steps; -1: after `epochs`")
    warmup: float = Field(0.05, ge=0, le=1, description="share of the steps in which the learning rate rises")
    save_steps: PositiveInt = Field(50, description="optimizer steps between checkpoints; a killed run goes on there")
    packing: Switch = Field(
        "auto", description="sequences one after the other without padding, each seeing itself only"
    )
    forward_tokens: PositiveInt | None = Field(
        None, description="most tokens in one forward pass, a longer step takes several; default: what memory holds"
    )
    compile: Switch = Field("auto", description="torch.compile the layers: half a minute, then faster; GPU only")
    direct: bool = Field(False, description="train on bare answers, the reasoning block empty")


class GrpoConfig(Section):
    """Reinforcement learning with group-relative advantages, from where sft stopped."""

    steps: PositiveInt = Field(100, description="optimizer steps")
    prompts: PositiveInt = Field(8, description="prompts in one step")
    generations: int = Field(8, ge=2, description="completions of each prompt: the group that advantages compare")
    batch_size: PositiveInt = Field(32, description="completions in one forward pass; a step has prompts x generations")
    max_completion_length: PositiveInt = Field(128, description="new tokens; a longer completion is cut and scores 0")
    learning_rate: PositiveFloat = 1e-5
    warmup: float = Field(0.0, ge=0, le=1, description="share of the steps in which the learning rate rises")
    temperature: PositiveFloat = 1.0
    reward_timeout: PositiveFloat = Field(
        10.0, description="seconds that one reward may take for one completion; it then scores 0 and is counted"
    )
    beta: float = Field(0.0, ge=0, description="weight of the KL penalty against the warm start; 0: no reference model")
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = "dapo"
    packing: Switch = Field("auto", description="log-probabilities from rows without padding")
    compile: Switch = Field("auto", description="torch.compile the layers: pays in long runs; GPU with vllm only")
    oversample: float = Field(
        1.0, ge=1, le=8, description="prompts sampled for each trained on; groups whose rewards differ are preferred"
    )
    scan: tuple[float, float] | None = Field(
        None, description="train on prompts whose pass rate in the stored scan is within; toolkit scan makes one"
    )
    vllm: bool | Literal["server"] = Field(
        False, description="generate with vLLM in the trainer's process, or by a server on other GPUs; needs a GPU"
    )
    vllm_server: str = Field("http://127.0.0.1:8000", description="where that server is; see docs/several_gpus.md")
    vllm_memory: float = Field(0.3, gt=0, lt=1, description="share of GPU memory for that engine")
    vllm_sleep: bool = Field(
        False, description="free the engine's memory while the model trains: slower, for small GPUs"
    )
    save_steps: PositiveInt = Field(10, description="optimizer steps between checkpoints")

    def forward_batch(self, processes: int) -> int:
        """Completions in one forward pass: batch_size, or all that a process has of a step where that is less."""
        return min(self.batch_size, self.prompts * self.generations // processes)

    @property
    def extra_prompts(self) -> int:
        """Prompts sampled in a step beside those trained on."""
        return round(self.prompts * (self.oversample - 1))


class LaunchConfig(Section):
    """How many processes train together, each on a GPU of its own. More than one: accelerate starts them."""

    processes: PositiveInt = Field(1, description="over all hosts; a step's batch is divided among them")
    config: Path | None = Field(None, description="a file of accelerate, as configs/accelerate/fsdp.yaml; default: DDP")
    hosts: PositiveInt = Field(
        1, description="machines, each with processes / hosts of them and the same run directory"
    )
    address: str | None = Field(None, pattern=r"^[^:\s]+:\d+$", description="HOST:PORT of the first host, for several")


class EvalConfig(Section):
    """How a run's evaluations are generated: greedily, one completion an example."""

    engine: Engine = "vllm"
    max_tokens: PositiveInt = Field(128, description="new tokens; a longer completion counts as truncated")
    options: dict[str, Any] = Field(default_factory=dict, description="the engine's own options, such as dtype")
    max_truncated: float = Field(MAX_TRUNCATED, ge=0, le=1, description="a larger share of cut ones is invalid")
    max_failed: float = Field(MAX_FAILED, ge=0, le=1, description="the same of engine errors")


_TASK, _FILE = "task-data", "file-data"  # tags that pydantic puts into an error's location


def _kind_of_data(data: Any) -> str:
    if isinstance(data, dict):
        return _FILE if "path" in data or not data else _TASK
    return _FILE if isinstance(data, ConversationsConfig) else _TASK


class Recipe(Section):
    """A whole run: what is learned, from which model, with which stages, into which directory."""

    task: str | None = Field(None, description="a built-in task, a file, or an installed plugin; none with data.path")
    output: Path = Field(description="the run directory")
    seed: int = Field(0, ge=0, lt=2**32)  # numpy takes no larger one
    rewards: dict[str, float] = Field(
        default_factory=dict, description="weights by reward name; default: the task's own"
    )
    model: ModelConfig
    lora: LoraConfig = LoraConfig()
    data: Annotated[
        Annotated[DataConfig, Tag(_TASK)] | Annotated[ConversationsConfig, Tag(_FILE)], Discriminator(_kind_of_data)
    ]
    sft: SftConfig | None = Field(None, description="left out: no warm start")
    grpo: GrpoConfig | None = Field(None, description="left out: no reinforcement learning")
    launch: LaunchConfig = LaunchConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _task_or_file(self) -> Self:
        if isinstance(self.data, ConversationsConfig):
            if self.task is not None:
                raise ValueError("name a task or data.path, not both")
            if self.grpo is not None or self.rewards:
                raise ValueError("grpo and rewards need a task; conversations alone (data.path) train with sft only")
        elif self.task is None:
            raise ValueError("name a task, or a file of conversations with data.path")
        return self


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `a.b=value` overrides (values are YAML). Raises UserError that names the key at fault."""
    return check_recipe(apply_overrides(read_yaml(path), overrides), str(path))


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Put each `a.b=value` into the parsed recipe, in place, and give it back."""
    for override in overrides:
        _apply(raw, override)
    return raw


def check_recipe(raw: dict[str, Any], where: str) -> Recipe:
    """Validate a parsed recipe; `where` begins the error message."""
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise UserError("\n".join(f"{where}: {_explain(item)}" for item in error.errors())) from error
    if secrets := secret_keys(recipe.model_dump(mode="json")):
        raise UserError(
            f"{where}: key {secrets[0]!r} holds a secret, and recipes are stored with their runs; put it into an "
            "environment variable (HF_TOKEN, OPENAI_API_KEY, or the one that eval.options.api_key_env names)"
        )
    if misfits := list(_misfits(recipe)):
        raise UserError("\n".join(f"{where}: {misfit}" for misfit in misfits))
    return recipe


def _misfits(recipe: Recipe) -> Iterator[str]:
    """Values that don't go together. Said here, since the trainer would find out after minutes, or never."""
    from toolkit.training.launch import launch_misfits

    if recipe.sft is not None and recipe.sft.max_steps == 0:
        yield "key 'sft.max_steps': 0 would train nothing; give a number of steps, or -1 to go by sft.epochs"
    yield from launch_misfits(recipe)
    grpo = recipe.grpo
    if grpo is None:
        return
    if grpo.scan is not None and not 0 <= grpo.scan[0] < grpo.scan[1] <= 1:
        yield f"grpo.scan {list(grpo.scan)}: give the lowest and the highest pass rate, such as [0.1, 0.9]"
    if grpo.vllm and recipe.model.backend == "unsloth" and recipe.model.tuning == "full":
        yield "grpo.vllm: unsloth's engine shares an adapter's base; set model.tuning to lora, or backend transformers"
    if grpo.vllm == "server" and recipe.model.backend == "unsloth":
        yield "grpo.vllm server: unsloth generates in its own process; set model.backend to transformers"
    if isinstance(recipe.data, DataConfig) and recipe.data.grpo < grpo.prompts:
        yield f"data.grpo {recipe.data.grpo} is less than grpo.prompts ({grpo.prompts}): no step could be filled"
    processes = recipe.launch.processes
    rollouts = grpo.prompts * grpo.generations // processes
    batch = grpo.forward_batch(processes)
    if grpo.prompts % processes == 0 and (batch % grpo.generations or rollouts % batch):
        yield (
            f"grpo.batch_size {grpo.batch_size} must be a multiple of grpo.generations ({grpo.generations}) and "
            f"divide grpo.prompts x grpo.generations{' / launch.processes' * (processes > 1)} ({rollouts})"
        )


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, defaults included; load_recipe reads it back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"--set {override!r}: write a.b=value, for instance --set grpo.learning_rate=1e-5")
    value = yaml_value(text, f"--set {override!r}")
    if isinstance(value, str):
        value = _number(value)
    *parents, last = key.split(".")
    here = raw
    for parent in parents:
        child = here.setdefault(parent, {})
        if not isinstance(child, dict):
            if child is not None:
                raise UserError(f"--set {override!r}: {parent!r} is {child!r}, it has no keys below it")
            child = here[parent] = {}
        here = child
    here[last] = value


def _number(text: str) -> str | float:
    # YAML 1.1 reads 1e-5 as text, since it has no dot; people write learning rates this way.
    try:
        return float(text) if "e" in text.lower() else text
    except ValueError:
        return text


def _explain(item: Any) -> str:
    location = [part for part in item["loc"] if part not in ("function-after", _TASK, _FILE)]
    key = ".".join(map(str, location))
    if item["type"] == "value_error" and isinstance(item["input"], dict):
        return f"{key}: " * bool(key) + str(item["ctx"]["error"])
    if item["type"] == "extra_forbidden":
        allowed = _keys_at(location[:-1], ConversationsConfig if _FILE in item["loc"] else DataConfig)
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed here: {', '.join(allowed)}"
        return f"unknown key {key!r}; {hint}"
    if item["type"] == "missing":
        return f"key {key!r} is missing"
    return f"key {key!r}: {item['msg'][0].lower()}{item['msg'][1:]}, got {shown(item['input'])}"


def _keys_at(location: Sequence[Any], data: type[Section]) -> list[str]:
    """The keys that a recipe allows in the section at `location`."""
    section: Any = Recipe
    for part in location:
        annotation = section.model_fields[part].annotation
        choices = (data,) if part == "data" else (annotation, *get_args(annotation))
        section = next(each for each in choices if hasattr(each, "model_fields"))
    return list(section.model_fields)
