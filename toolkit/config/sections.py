"""The sections of a recipe, as pydantic models: every key, its type, its default and what it means."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from eval.validity import MAX_FAILED, MAX_TRUNCATED
from toolkit.config.values import Share, Weight, as_written

Engine = Literal["vllm", "server", "transformers", "scripted"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
Tuning = Literal["lora", "qlora", "full"]
Switch = bool | Literal["auto"]  # auto: the toolkit decides, and its log says what


class Section(BaseModel):
    """A part of a recipe. A key that isn't listed is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """True is 1 to Python, and `sft: true` would train on one example."""
        return as_written(value, cls.model_fields[str(info.field_name)].annotation)


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

    rank: PositiveInt = Field(32, description="inner dimension of the adapter's matrices")
    alpha: PositiveInt = Field(64, description="scale: the update is multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's inputs dropped in training")
    target_modules: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        description="linear layers that get an adapter",
    )


class DataConfig(Section):
    """How many examples of each split are built, counted in examples."""

    sft: PositiveInt = Field(description="training examples with their rationale")
    grpo: PositiveInt = Field(description="training prompts for GRPO, none of them among those of sft")
    validation: PositiveInt = Field(64, description="examples for the validation loss of sft")
    test: PositiveInt = Field(description="held-out examples that the evaluations score")


class ColumnsConfig(Section):
    """Which column is which, where their names don't say so: conversations, or user and assistant."""

    conversations: str | None = Field(None, description="whole dialogs: JSON, Python literals or lists")
    system: str | None = Field(None, description="the system message; beside either")
    user: str | None = Field(None, description="what the person said")
    assistant: str | None = Field(None, description="what the model shall answer")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        named = [each is not None for each in (self.conversations, self.user, self.assistant)]
        allowed = [[True, False, False], [False, True, True]]
        if named not in allowed and (any(named) or self.system is not None):
            raise ValueError("name conversations, or user and assistant, never both (and perhaps system)")
        columns = self.names()
        for role, name in columns.items():
            if shared := [other for other in columns if other != role and columns[other] == name]:
                raise ValueError(
                    f"{role} and {shared[0]} are both of the column {name!r}, so one would repeat the other; "
                    "name a column for each. A row a turn isn't read: write one row a conversation"
                )
        return self

    def names(self) -> dict[str, str]:
        """The columns that are mapped."""
        return self.model_dump(exclude_none=True)


class ConversationsConfig(Section):
    """Conversations of one's own: a file instead of a task. Training takes every good row."""

    path: str = Field(description="a CSV, TSV, JSON, JSONL or Parquet file, a folder, a saved dataset, or a hub id")
    columns: ColumnsConfig = ColumnsConfig()
    encoding: str | None = Field(None, description="of a text file; default: by its byte-order mark, UTF-8, or cp1251")
    separator: str | None = Field(
        None, min_length=1, max_length=1, description="of a CSV; default: by its header; a tab in a .tsv"
    )
    split: str = Field("train", description="of a dataset that has several")
    validation: float = Field(0.05, ge=0, lt=1, description="share of the prompts held out for the validation loss")
    max_bad_share: float = Field(0.01, ge=0, le=1, description="stop when more of the rows than this can't be used")
    too_long: Literal["error", "drop"] = Field("error", description="a conversation longer than model.max_length")


def _some_steps(steps: int) -> int:
    if steps == 0:
        raise ValueError("0 would train nothing; give a number of steps, or -1 to go by sft.epochs")
    return steps


class SftConfig(Section):
    """Supervised warm start: cross-entropy on the completion only."""

    batch_size: PositiveInt = Field(8, description="sequences in one optimizer step")
    learning_rate: PositiveFloat = Field(1e-3, description="after warmup; it falls along a cosine")
    epochs: PositiveFloat = Field(1.0, description="how often each training example is seen")
    max_steps: Annotated[int, AfterValidator(_some_steps)] = Field(
        -1,
        ge=-1,
        description="stop after so many optimizer steps; -1: after `epochs`",
        json_schema_extra={"not": {"const": 0}},
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    save_steps: PositiveInt = Field(50, description="optimizer steps between checkpoints; a killed run goes on there")
    packing: Switch = Field(
        "auto", description="sequences one after the other without padding, each seeing itself only"
    )
    forward_tokens: PositiveInt | None = Field(
        None, description="most tokens in one forward pass, a longer step takes several; default: what memory holds"
    )
    compile: Switch = Field("auto", description="torch.compile the layers: half a minute, then faster; GPU only")
    direct: bool = Field(False, description="train on bare answers, the reasoning block empty")
    evaluate_steps: PositiveInt | None = Field(
        None, description="optimizer steps between held-out evaluations, the best step is then kept; default: none"
    )
    evaluate_examples: PositiveInt = Field(64, description="examples of validation that each of them asks")

    def optimizer_steps(self, rows: int) -> int:
        """Steps of a training on so many rows."""
        return self.max_steps if self.max_steps > 0 else math.ceil(math.ceil(rows / self.batch_size) * self.epochs)


CLIP = (0.2, 0.28)  # how far an update may move the probability of a token down and up, before it earns nothing more


class GrpoConfig(Section):
    """Reinforcement learning with group-relative advantages, from where sft stopped."""

    steps: PositiveInt = Field(100, description="optimizer steps")
    prompts: PositiveInt = Field(8, description="prompts in one step")
    generations: int = Field(8, ge=2, description="completions of each prompt: the group that advantages compare")
    batch_size: PositiveInt = Field(32, description="completions in one forward pass; a step has prompts x generations")
    max_completion_length: PositiveInt = Field(128, description="new tokens; a longer completion is cut and scores 0")
    learning_rate: PositiveFloat = Field(1e-5, description="after warmup; it falls along a cosine")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    temperature: PositiveFloat = Field(1.0, description="of the sampling in training; evaluation is greedy")
    reward_timeout: PositiveFloat = Field(
        10.0, description="seconds that one reward may take for one completion; it then scores 0 and is counted"
    )
    beta: float = Field(0.0, ge=0, description="weight of the KL penalty against the warm start; 0: no reference model")
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = Field("dapo", description="how tokens are averaged")
    packing: Switch = Field("auto", description="log-probabilities from rows without padding")
    compile: Switch = Field("auto", description="torch.compile the layers: pays in long runs; GPU with vllm only")
    oversample: float = Field(
        1.0, ge=1, le=8, description="prompts sampled for each trained on; groups whose rewards differ are preferred"
    )
    scan: tuple[Share, Share] | None = Field(
        None, description="train on prompts whose pass rate in a scan is within; toolkit run scans before grpo"
    )
    vllm: bool | Literal["server"] = Field(
        False, description="generate with vLLM in the trainer's process, or by a server on other GPUs; needs a GPU"
    )
    vllm_server: str = Field("http://127.0.0.1:8000", description="where that server is; see docs/several_gpus.md")
    vllm_memory: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = Field(
        "auto", description="share of GPU memory for that engine; auto: what a step's completions need, at most 0.3"
    )
    vllm_sleep: bool = Field(
        False, description="free the engine's memory while the model trains: slower, for small GPUs"
    )
    save_steps: PositiveInt = Field(10, description="optimizer steps between checkpoints")
    evaluate_steps: PositiveInt | Literal["auto"] | None = Field(
        "auto",
        description="as in sft; null: none; auto: at most ten, which add a tenth to the completions sampled, or none",
    )
    evaluate_examples: PositiveInt = Field(64, description="examples of validation that each of them asks")

    def forward_batch(self, processes: int) -> int:
        """Completions in one forward pass: batch_size, or all that a process has of a step where that is less."""
        return min(self.batch_size, self.prompts * self.generations // processes)

    @property
    def extra_prompts(self) -> int:
        """Prompts sampled in a step beside those trained on."""
        return round(self.prompts * (self.oversample - 1))

    @property
    def sampled(self) -> int:
        """Completions sampled in a step, those of the extra prompts included."""
        return (self.prompts + self.extra_prompts) * self.generations


class PreflightConfig(Section):
    """What is looked at before a training stage begins (docs/preflight.md)."""

    accept: tuple[Literal["template", "tags", "lengths", "rewards", "groups"], ...] = Field(
        (), description="checks whose problems are shown as warnings and don't end the run"
    )


class LaunchConfig(Section):
    """How many processes train together, each on a GPU of its own. More than one: accelerate starts them."""

    processes: PositiveInt = Field(1, description="over all hosts; a step's batch is divided among them")
    config: Path | None = Field(None, description="a file of accelerate, as configs/accelerate/fsdp.yaml; default: DDP")
    hosts: PositiveInt = Field(
        1, description="machines, each with processes / hosts of them and the same run directory"
    )
    address: str | None = Field(
        None, pattern=r"^[^:\s]+:[0-9]+$", description="HOST:PORT of the first host, for several"
    )


class EvalConfig(Section):
    """How a run's evaluations are generated: greedily, one completion an example."""

    engine: Engine = Field("vllm", description="what generates the answers")
    max_tokens: PositiveInt = Field(128, description="new tokens; a longer completion counts as truncated")
    options: dict[str, Any] = Field(default_factory=dict, description="the engine's own options, such as dtype")
    max_truncated: float = Field(MAX_TRUNCATED, ge=0, le=1, description="a larger share of cut ones is invalid")
    max_failed: float = Field(MAX_FAILED, ge=0, le=1, description="the same of engine errors")


TASK_DATA, FILE_DATA = "task-data", "file-data"  # tags that pydantic puts into an error's location


def _kind_of_data(data: Any) -> str:
    if isinstance(data, dict):
        return FILE_DATA if "path" in data or not data else TASK_DATA
    return FILE_DATA if isinstance(data, ConversationsConfig) else TASK_DATA


class Recipe(Section):
    """A whole run: what is learned, from which model, with which stages, into which directory."""

    task: str | None = Field(None, description="a built-in task, a file, or an installed plugin; none with data.path")
    output: Path = Field(description="the run directory")
    seed: int = Field(0, ge=0, lt=2**32, description="of data, weights, batches and sampling")  # numpy takes no larger
    rewards: dict[str, Weight] = Field(
        default_factory=dict, description="weights by reward name; default: the task's own"
    )
    model: ModelConfig
    lora: LoraConfig = LoraConfig()
    data: Annotated[
        Annotated[DataConfig, Tag(TASK_DATA)] | Annotated[ConversationsConfig, Tag(FILE_DATA)],
        Discriminator(_kind_of_data),
    ]
    sft: SftConfig | None = Field(None, description="left out: no warm start")
    grpo: GrpoConfig | None = Field(None, description="left out: no reinforcement learning")
    preflight: PreflightConfig = PreflightConfig()
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
