"""The plan of a recipe: the decisions of its training stages, made by the code that will make them, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from eval.prompts import render_prompts
from rewards.core import UserError
from toolkit.config import ConversationsConfig, DataConfig, Recipe
from toolkit.data import read_examples
from toolkit.data_stage import refuse_unbuildable
from toolkit.doctor.needs import GIB, model_size, needs_of
from toolkit.doctor.sizes import Size
from toolkit.looking import as_found, has_data
from toolkit.models import HUB_ID, ResolvedModel, resolve_model
from toolkit.planning.fits import grpo_batch, mean_pass, refuse_unfit, room
from toolkit.planning.machine import Device, device
from toolkit.planning.memory import Way, engine_share, grpo_memory, sft_memory
from toolkit.planning.plan import Batch, Choice, Memory, Plan, StagePlan, memory_of, timed
from toolkit.planning.store import Rate, chosen, lowered, stored_rate
from toolkit.rundir import Run
from toolkit.scan import STAGE_SAMPLES
from toolkit.stages import stages_of, task_of
from toolkit.training.backends import refuse_other_adapter
from toolkit.training.fast import fast_path, grpo_path

SAMPLED = 200  # examples whose rows stand for all


@dataclass(frozen=True, slots=True)
class Rows:
    """Tokens of some rows, and of the prompts among them. total: how many rows there are. source: in words."""

    lengths: Sequence[int]
    prompts: Sequence[int]
    total: int
    source: str


class NoRows(Exception):
    """The task gives no example; why not is among the problems."""


def make_plan(recipe: Recipe, name: str) -> Plan:
    """The plan on this machine; name: what to call the recipe. Trains nothing and loads no weights."""
    here = device()
    try:
        run = as_found(recipe)
    except UserError as error:  # what is there is another's: no figure of it would be this recipe's
        return Plan(name, here, recipe.model.reference, "not looked at", (), (str(error),))
    size, missing, _ = model_size(recipe.model.reference)
    if missing is not None:
        problem = f"model {recipe.model.reference}: {missing}"
        return Plan(name, here, recipe.model.reference, "unknown without the model", (), (problem,))
    resolved = _local(recipe.model.reference)
    said = f"{recipe.model.reference}, {'size unknown' if size is None else f'{size.parameters / 1e6:.0f}M parameters'}"
    said += f", tuning {recipe.model.tuning}, backend {recipe.model.backend}"
    if size is None or resolved is None:
        rows = "unknown until the model is here: training fetches it"
        return Plan(name, here, said, rows, (), tuple(_problems(run, size, here, resolved, None)))
    try:
        rows_found = rows_of(run, resolved)
    except NoRows:
        return Plan(name, here, said, "none", (), tuple(_problems(run, size, here, resolved, None)))
    model = _shape(resolved.path, recipe.model.tuning == "full")
    stages = []
    if recipe.sft is not None:
        stages.append(_sft(run, size, here, model, rows_found))
    if "scan" in stages_of(recipe):
        stages.append(_scan(run, size, here))
    if recipe.grpo is not None:
        stages.append(_grpo(run, size, here, model, rows_found))
    stages += _evaluations(run, size, here)
    problems = tuple(_problems(run, size, here, resolved, rows_found))
    return Plan(name, here, said, rows_found.source, tuple(stages), problems)


def _local(reference: str) -> ResolvedModel | None:
    """The model's files; None for one of the hub that isn't in its cache: a plan fetches nothing."""
    if not HUB_ID.fullmatch(reference) or Path(reference).exists():
        return resolve_model(reference)
    from huggingface_hub import snapshot_download

    try:
        return resolve_model(snapshot_download(reference, local_files_only=True))
    except (OSError, ValueError, UserError):
        return None


def _shape(directory: Path, full: bool) -> Any:
    """The model on torch's meta device: its class and shapes, no numbers."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(directory)))
    return model.requires_grad_(full)


def rows_of(run: Run, resolved: ResolvedModel) -> Rows:
    """Lengths of the run's rows where it has them, else of the first examples that it would get."""
    from toolkit.conversations.preparing import prepare, tokenizer_for
    from toolkit.training.rows import IGNORED, lengths_of, sft_rows

    recipe = run.recipe
    if isinstance(recipe.data, ConversationsConfig):
        from datasets import Dataset

        model = recipe.model
        prepared = prepare(recipe.data, resolved.path, model.chat_template, model.max_length, adapter=resolved.adapter)
        lengths = lengths_of(Dataset.from_file(str(prepared.dir / "train.arrow")))
        return Rows(lengths, lengths, len(lengths), f"all {len(lengths):,} of {recipe.data.path}")
    stored = run.dir / "data" / "sft.jsonl"
    if has_data(run):
        examples, source = read_examples(stored)[:SAMPLED], f"of {stored}"
    else:
        wanted = min(SAMPLED, recipe.data.sft)
        examples = list(islice(task_of(recipe).examples("train", wanted, recipe.seed), wanted))
        source = "that the task gives"
        if not examples:
            raise NoRows
    tokenizer = tokenizer_for(resolved.adapter or resolved.path, recipe.model.chat_template)
    if recipe.sft is None:
        prompts = list(map(len, render_prompts(tokenizer, [each.messages for each in examples])))
        return Rows(prompts, prompts, recipe.data.sft, _sampled(prompts, source))
    rows = sft_rows(examples, tokenizer, resolved.path, recipe.model.max_length, recipe.sft.direct)
    lengths = [len(row["input_ids"]) for row in rows]
    prompts = [sum(label == IGNORED for label in row["labels"]) for row in rows]
    return Rows(lengths, prompts, recipe.data.sft, _sampled(lengths, source))


def _sampled(lengths: Sequence[int], source: str) -> str:
    mean = sum(lengths) / len(lengths)
    return f"the first {len(lengths)} {source}: {mean:.0f} tokens on average, {max(lengths)} at most"


def _sft(run: Run, size: Size, here: Device, model: Any, rows: Rows) -> StagePlan:
    recipe, config = run.recipe, run.recipe.sft
    assert config is not None
    processes = recipe.launch.processes
    share = config.model_copy(update={"batch_size": config.batch_size // processes})
    all_lengths = _stretched(rows)
    path = fast_path(model, recipe.model, share, all_lengths, config.epochs, run.dir)
    mean = sum(rows.lengths) / len(rows.lengths)
    steps = config.optimizer_steps(rows.total)
    total = round(mean * (steps * config.batch_size if config.max_steps > 0 else rows.total * config.epochs))
    each = share.batch_size // path.passes
    tokens = mean_pass(each, rows.lengths)
    parts = sft_memory(recipe, size, tokens, Way(here.kind, path.compiled, path.own_loss))
    rate = _sft_rate(run, size, here, processes)
    return StagePlan(
        "sft",
        run.is_done("sft"),
        steps,
        total,
        "tokens",
        memory_of(parts, room(recipe, here)),
        Batch(share.batch_size, round(share.batch_size * mean), path.passes, each, round(tokens)),
        {
            "packing": Choice("yes" if path.packed else "no", path.why["packing"]),
            "attention": _attention(path.packed, recipe.model.backend, here, model),
            "loss": Choice("chunked" if path.own_loss else "the trainer's", path.why["loss"]),
            "compile": Choice("yes" if path.compiled else "no", path.why["compile"]),
        },
        {"forward_tokens": path.budget},
        timed(rate, total),
        rate,
    )


def _stretched(rows: Rows) -> list[int]:
    """As many lengths as there are rows, by repeating those that are known."""
    times = max(1, round(rows.total / len(rows.lengths)))
    return list(rows.lengths) * times


def _sft_rate(run: Run, size: Size, here: Device, processes: int) -> Rate | None:
    value = chosen(run.dir, "sft", here.name)
    if value is not None and "tokens_per_second" in value.details:
        return Rate(processes * value.details["tokens_per_second"], "tokens/s", "measured by the probe")
    return stored_rate(run.recipe, "sft", size, here.name)


def _attention(packed: bool, backend: str, here: Device, model: Any) -> Choice:
    if packed and here.kind == "gpu":
        whose = "unsloth's layers call it" if backend == "unsloth" else "it needs no flash-attn"
        return Choice("torch's FlashAttention over the borders of the sequences", f"no mask is built; {whose}")
    if packed:
        return Choice("a call for each sequence", "costs a processor nothing, and no mask is built")
    if backend == "unsloth" and here.kind == "gpu":
        return Choice("unsloth's", "flash-attn where it loads, else xformers or torch's")
    return Choice(f"transformers' {model.config._attn_implementation}", "rows are padded, under a mask")


def _grpo(run: Run, size: Size, here: Device, model: Any, rows: Rows) -> StagePlan:
    recipe, config = run.recipe, run.recipe.grpo
    assert config is not None
    processes = recipe.launch.processes
    batch = grpo_batch(run.dir, config, processes, here.name)
    path = grpo_path(model, recipe.model.backend, config)
    rollouts = config.prompts * config.generations // processes
    prompt = sum(rows.prompts) / len(rows.prompts)
    length = prompt + config.max_completion_length
    possible = here.kind == "gpu" or config.vllm is False
    parts = grpo_memory(recipe, size, prompt, batch.value, Way(here.kind, path.compiled), here.total)
    total = config.steps * config.sampled
    rate = stored_rate(recipe, "grpo", size, here.name)
    generation = {
        False: Choice("transformers", "grpo.vllm is false"),
        True: Choice(
            "vLLM in the trainer's process", f"at most {engine_share(recipe, size, here.total):.0%} of the card"
        ),
        "server": Choice("a vLLM server", f"at {config.vllm_server}"),
    }
    return StagePlan(
        "grpo",
        run.is_done("grpo"),
        config.steps,
        total,
        "completions",
        memory_of(parts, room(recipe, here)) if possible else None,
        Batch(rollouts, round(rollouts * length), rollouts // batch.value, batch.value, round(batch.value * length)),
        {
            "generation": generation[config.vllm],
            "packing": Choice("yes" if path.packed else "no", path.why["packing"]),
            "attention": _attention(path.packed, recipe.model.backend, here, model),
            "compile": Choice("yes" if path.compiled else "no", path.why["compile"]),
        },
        {"batch_size": batch},
        timed(rate, total),
        rate,
    )


def _scan(run: Run, size: Size, here: Device) -> StagePlan:
    """The samples of every prompt that grpo.scan is to choose among, by the engine of the evaluations."""
    recipe = run.recipe
    assert isinstance(recipe.data, DataConfig)  # Recipe refuses GRPO without a task
    total, rate = STAGE_SAMPLES * recipe.data.grpo, stored_rate(recipe, "scan", size, here.name)
    choices = {"engine": Choice(recipe.eval.engine, f"eval.engine; {STAGE_SAMPLES} samples of each prompt")}
    memory = _engine_memory(recipe, here)
    return StagePlan(
        "scan", run.is_done("scan"), 0, total, "completions", memory, None, choices, {}, timed(rate, total), rate
    )


def _engine_memory(recipe: Recipe, here: Device) -> Memory | None:
    parts = {name: value * GIB for name, value in needs_of(recipe, here.kind == "gpu").engine.items()}
    return memory_of(parts, here.free) if parts else None


def _evaluations(run: Run, size: Size, here: Device) -> list[StagePlan]:
    """All evaluations of the run together: each loads its model alone."""
    recipe = run.recipe
    names = [name for name in stages_of(recipe) if name.startswith("eval")]
    if not names or isinstance(recipe.data, ConversationsConfig):
        return []
    total, done = len(names) * recipe.data.test, all(run.is_done(name) for name in names)
    rate = stored_rate(recipe, "eval", size, here.name)
    choices = {"engine": Choice(recipe.eval.engine, f"eval.engine; {', '.join(names)}")}
    memory = _engine_memory(recipe, here)
    return [StagePlan("evaluations", done, 0, total, "answers", memory, None, choices, {}, timed(rate, total), rate)]


def _problems(
    run: Run, size: Size | None, here: Device, resolved: ResolvedModel | None, rows: Rows | None
) -> list[str]:
    """Why the run can't be: what it would be refused for when a stage starts."""
    recipe, found = run.recipe, []
    if resolved is not None:
        try:
            refuse_other_adapter(recipe, resolved)
        except UserError as error:
            found.append(str(error))
    for stage in ("sft", "grpo"):
        if getattr(recipe, stage) is None or (stage == "grpo" and found):
            continue
        lengths: Sequence[int] = () if rows is None else rows.lengths if stage == "sft" else rows.prompts
        try:
            refuse_unfit(recipe, stage, size, here, lengths, lowered(run.dir, stage, here.name))
        except UserError as error:
            found.append(str(error))
    if isinstance(recipe.data, DataConfig) and not has_data(run):
        try:
            refuse_unbuildable(recipe)
        except UserError as error:
            found.append(str(error))
    return found
