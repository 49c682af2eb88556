"""Recipes: YAML checked against the sections, `--set a.b=value` on top. Unknown keys name their nearest neighbour."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from eval.redaction import secret_keys
from rewards.core import UserError
from tasks.tables.rows import shown
from tasks.yaml_files import read_yaml, yaml_value
from toolkit.config.sections import FILE_DATA, TASK_DATA, ConversationsConfig, DataConfig, Recipe, Section


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, or the one that a run directory keeps, and apply `a.b=value` overrides (values are YAML).

    Raises UserError that names the key at fault.
    """
    return check_recipe(apply_overrides(_read(path), overrides), str(path))


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir() and not (kept := path / "recipe.yaml").is_file():
        raise UserError(f"{path} is a directory without a recipe.yaml, so no run; give a recipe or a run directory")
    return read_yaml(kept if path.is_dir() else path, "recipe", "no such recipe; the ready ones are in configs/")


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

    if recipe.sft is not None and recipe.sft.evaluate_steps is not None and recipe.task is None:
        yield "sft.evaluate_steps: conversations alone have no metric to evaluate by; leave it out"
    yield from launch_misfits(recipe)
    yield from _without_effect(recipe)
    adapter_by_peft = recipe.model.backend == "transformers" and recipe.model.tuning != "full"
    if adapter_by_peft and "lm_head" in recipe.lora.target_modules:
        yield (
            "lora.target_modules: the trainers' losses multiply by the weights of lm_head and would leave an adapter "
            "on it out; name other layers, or set model.backend to unsloth, which trains a copy of it"
        )
    grpo = recipe.grpo
    if grpo is None:
        return
    if grpo.scan is not None and grpo.scan[0] >= grpo.scan[1]:
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


def _without_effect(recipe: Recipe) -> Iterator[str]:
    """Switches that are on, and that the rest of the recipe leaves nothing to do."""
    unsloth, sft, grpo = recipe.model.backend == "unsloth", recipe.sft, recipe.grpo
    if sft is not None and sft.compile is True and unsloth:
        yield "sft.compile: unsloth compiles by itself; set auto"
    if sft is not None and sft.compile is True and recipe.model.tuning == "qlora":
        yield "sft.compile: 4-bit layers (model.tuning qlora) don't compile; set auto"
    if grpo is None:
        return
    if grpo.packing is True and unsloth:
        yield "grpo.packing: unsloth packs by itself; set auto"
    if grpo.compile is True and (unsloth or not grpo.vllm or grpo.packing is False):
        yield "grpo.compile: needs model.backend transformers, grpo.vllm and packed rows; set auto"
    if grpo.vllm_sleep and grpo.vllm is not True:
        yield "grpo.vllm_sleep: only an engine in the trainer's process sleeps; set grpo.vllm to true, or this to false"
    wanted = grpo.prompts + grpo.extra_prompts
    if grpo.oversample > 1 and not grpo.extra_prompts:
        least = math.ceil(10 + 10 / grpo.prompts) / 10
        yield f"grpo.oversample {grpo.oversample} adds no prompt to grpo.prompts ({grpo.prompts}); set {least} or 1"
    if isinstance(recipe.data, DataConfig) and grpo.prompts <= recipe.data.grpo < wanted:
        yield f"data.grpo {recipe.data.grpo} is less than the {wanted} prompts that grpo.oversample samples in a step"


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, defaults included; load_recipe reads it back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"--set {override!r}: write a.b=value, for instance --set grpo.learning_rate=1e-5")
    value: Any = _separator(text) if key == "data.separator" else None
    if value is None:
        value = yaml_value(text, f"--set {override!r}")
    if isinstance(value, str) and key.startswith("eval.options."):  # other keys know whether they are numbers
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


def _separator(text: str) -> str | None:
    """The separator of cells that a person writes bare, most of which YAML reads as something else."""
    return "\t" if text in ("tab", r"\t") else text if len(text) == 1 else None


def _number(text: str) -> str | float:
    # YAML 1.1 reads 1e-5 as text, since it has no dot; people write learning rates this way.
    try:
        return float(text) if "e" in text.lower() else text
    except ValueError:
        return text


def _explain(item: Any) -> str:
    location = [part for part in item["loc"] if part not in ("function-after", TASK_DATA, FILE_DATA)]
    key = ".".join(map(str, location))
    if item["type"] == "value_error" and isinstance(item["input"], dict):
        return f"{key}: " * bool(key) + str(item["ctx"]["error"])
    if item["type"] == "extra_forbidden":
        allowed = _keys_at(location[:-1], ConversationsConfig if FILE_DATA in item["loc"] else DataConfig)
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed here: {', '.join(allowed)}"
        return f"unknown key {key!r}; {hint}"
    if item["type"] == "path_type":
        return f"key {key!r}: want a path as a text (in quotes where it is a number), got {shown(item['input'])}"
    if item["type"] == "missing":
        return f"key {key!r} is missing"
    said = str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]
    return f"key {key!r}: {said[0].lower()}{said[1:]}, got {shown(item['input'])}"


def _keys_at(location: Sequence[Any], data: type[Section]) -> list[str]:
    """The keys that a recipe allows in the section at `location`."""
    section: Any = Recipe
    for part in location:
        annotation = section.model_fields[part].annotation
        choices = (data,) if part == "data" else (annotation, *get_args(annotation))
        section = next(each for each in choices if hasattr(each, "model_fields"))
    return list(section.model_fields)
