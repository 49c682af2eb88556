"""What would waste a training stage, found in the seconds before it: no weights are loaded, the tokenizer only.

Each check looks at a sample of the run's own data and gives findings; a problem ends the stage before it begins, unless
the recipe's preflight.accept names its check. The findings are kept in STAGE/preflight.json.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from eval.files import write_json
from rewards.core import UserError
from toolkit.config import DataConfig, GrpoConfig
from toolkit.doctor.checks import shown
from toolkit.doctor.findings import Finding, fine
from toolkit.doctor.report import finding_lines
from toolkit.doctor.sizes import size_of_directory
from toolkit.planning.fits import peak, room
from toolkit.planning.machine import driver_device
from toolkit.planning.plan import memory_of
from toolkit.planning.store import chosen
from toolkit.rundir import Run
from toolkit.scan import is_within, stored_scan
from toolkit.training.preflight_messages import found
from toolkit.training.preflight_rewards import check_groups, check_rewards
from toolkit.training.preflight_tokens import Sample, check_lengths, check_tags, check_template, take_sample
from toolkit.training.rows import IGNORED

RESULT = "preflight.json"
PACKAGES = ("transformers", "tokenizers", "jinja2")


def preflight(run: Run, stage: str, say: Callable[[str], None]) -> None:
    """Check a training stage whose data are built; show and keep what was found.

    Raises UserError that names cause and fix of each problem. Without transformers nothing can be checked: the
    training's own process says then what is missing.
    """
    if any(importlib.util.find_spec(name) is None for name in PACKAGES):
        return
    started = time.perf_counter()
    findings = findings_of(run, stage)
    seconds = round(time.perf_counter() - started, 1)
    problems = [each for each in findings if each.level == "problem"]
    folder = run.dir / stage
    folder.mkdir(exist_ok=True)
    kept = {"ok": not problems, "seconds": seconds, "findings": [each.to_json() for each in findings]}
    write_json(folder / RESULT, {"stage": stage, **kept})
    failed = {each.check for each in problems}
    for line in finding_lines(each for each in findings if each.level == "warning" or each.check not in failed):
        say(f"{stage} preflight: {line}")
    if problems:
        raise UserError("\n".join(_told(stage, each) for each in problems))


def _told(stage: str, problem: Finding) -> str:
    accept = f"; or accept it: --set 'preflight.accept=[{problem.check}]'"  # every check with problems can be
    return f"{stage} preflight: {problem.check}: {problem.cause} [{problem.id}]. Fix: {problem.fix}{accept}"


def findings_of(run: Run, stage: str) -> list[Finding]:
    """Everything that the checks found, accepted problems as warnings."""
    recipe = run.recipe
    findings = [fine("steps", steps_line(run, stage))]
    sample = take_sample(run, stage)
    findings += check_template(sample)
    if sample.rows:  # without rows the template check has said why
        findings += check_tags(sample)
    if not any(each.id == "template-broken" for each in findings):
        findings += check_lengths(sample)
    if recipe.task is not None:
        findings += check_rewards(run, stage)
    if stage == "grpo":
        findings += check_groups(run)
    findings += _memory(sample)
    accepted = recipe.preflight.accept
    return [
        replace(each, level="warning") if each.level == "problem" and each.check in accepted else each
        for each in findings
    ]


def steps_line(run: Run, stage: str) -> str:
    """The arithmetic of the batches, in one line."""
    recipe = run.recipe
    if stage == "sft":
        assert recipe.sft is not None
        config = recipe.sft
        rows = _rows(run)
        epoch = math.ceil(rows / config.batch_size)
        if config.max_steps > 0:
            total = f"{config.max_steps} steps (sft.max_steps), {config.max_steps / epoch:.2g} epochs"
        else:
            total = f"x {config.epochs:g} epochs = {config.optimizer_steps(rows)} steps"
        return f"{rows} sequences, {config.batch_size} a step = {epoch} steps an epoch; {total}"
    assert recipe.grpo is not None
    assert isinstance(recipe.data, DataConfig)
    grpo, processes = recipe.grpo, recipe.launch.processes
    completions, batch = grpo.prompts * grpo.generations, grpo.forward_batch(processes)
    spare = f" (of {grpo.prompts + grpo.extra_prompts} sampled)" if grpo.extra_prompts else ""
    each = f" on each of {processes} processes" if processes > 1 else ""
    passes = completions // processes // batch
    return (
        f"{grpo.prompts} prompts{spare} x {grpo.generations} generations = {completions} completions a step, in "
        f"{passes} passes of {batch}{each}; {grpo.steps} steps see {_epochs(run, grpo, recipe.data.grpo)}"
    )


def _epochs(run: Run, grpo: GrpoConfig, built: int) -> str:
    """How often GRPO sees its prompts, of which so many were built and grpo.scan leaves some."""
    seen = grpo.steps * grpo.prompts
    if grpo.scan is None:
        return f"{seen} prompts of {built}: {seen / built:.2g} epochs"
    if (scan := stored_scan(run)) is None:
        return f"{seen} prompts of at most {built} (grpo.scan is yet to choose): {seen / built:.2g} epochs or more"
    left = sum(is_within(rate, grpo.scan) for rate in scan["rates"].values())
    samples = f"{scan['samples']} samples each at temperature {scan['temperature']:g}"
    chosen = f"{seen} prompts of {left} (what grpo.scan leaves of {len(scan['rates'])} scanned, {samples})"
    return (
        f"{chosen}, too few for a step of {grpo.prompts}"
        if left < grpo.prompts
        else f"{chosen}: {seen / left:.2g} epochs"
    )


def _rows(run: Run) -> int:
    if isinstance(run.recipe.data, DataConfig):
        return run.recipe.data.sft
    facts = run.facts("data")
    return int(facts["sequences"] - facts["validation"])


def _memory(sample: Sample) -> Iterator[Finding]:
    """The plan's estimate of the stage against what is free now. It is rough: it warns and ends nothing."""
    recipe, stage, here = sample.run.recipe, sample.stage, driver_device()
    size, lengths = size_of_directory(sample.model_dir), _lengths(sample)
    if size is None or not lengths:
        yield fine("memory", f"the size of {recipe.model.reference}{' or of its rows' * (not lengths)} is unknown")
        return
    stored = chosen(sample.run.dir, stage, here.name)
    parts = peak(recipe, stage, size, here, lengths, stored.value if stored else None)
    memory = memory_of(parts, room(recipe, here))
    values: dict[str, Any] = {"needed": memory.needed, "free": memory.free, "parts": shown(memory.parts)}
    if memory.free and memory.verdict != "fits":
        yield found("memory", "memory-short", device=here.name, stage=stage, **values)
    else:
        yield fine("memory", f"about {memory.needed:.1f} GB ({values['parts']}), {memory.free:.1f} free")


def _lengths(sample: Sample) -> list[int]:
    """Tokens of the rows (sft) or of their prompts (grpo)."""
    if sample.stage == "sft":
        return [len(each.row["input_ids"]) for each in sample.rows]
    return [sum(label == IGNORED for label in each.row["labels"]) for each in sample.rows]
