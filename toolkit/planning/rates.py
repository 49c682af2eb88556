"""Is a probe worth its time, and how fast a stage was: what `toolkit plan` tells of the next one."""

from __future__ import annotations

from typing import Any

from eval.files import read_json
from eval.summary import SUMMARY
from toolkit.config import DataConfig
from toolkit.doctor.needs import model_size
from toolkit.doctor.sizes import Size
from toolkit.planning.machine import Device, device
from toolkit.planning.memory import typical_length
from toolkit.planning.store import chosen, remember_rate
from toolkit.rundir import Run, read_log

PROBE_PAYS = 1_800.0  # seconds of training from which on a minute's probe is worth it
SHORTEST = 30.0  # seconds of a stage whose rate is kept: in a shorter one, the start is most of it
WORK = {"gpu": 5.0e13, "cpu": 4.0e10}  # parameters x tokens a second: an H100, compiled; two processor cores


def probe_pays(run: Run) -> bool:
    """Whether the SFT of a run is long, its forward_tokens auto, and nothing measured or begun yet."""
    recipe = run.recipe
    if recipe.sft is None or recipe.sft.forward_tokens is not None or run.has_begun("sft"):
        return False
    size, here = model_size(recipe.model.reference)[0], device()
    if size is None or chosen(run.dir, "sft", here.name) is not None:
        return False
    return _tokens(run) * size.parameters / WORK[here.kind] > PROBE_PAYS


def _tokens(run: Run) -> float:
    """Of the whole SFT: of conversations counted when they were prepared, of a task's examples estimated."""
    recipe = run.recipe
    assert recipe.sft is not None
    length = typical_length(recipe)
    if recipe.sft.max_steps > 0:
        return recipe.sft.max_steps * recipe.sft.batch_size * length
    if isinstance(recipe.data, DataConfig):
        return recipe.data.sft * recipe.sft.epochs * length
    return float(run.facts("data")["tokens"]) * recipe.sft.epochs


def remember(run: Run, stage: str, seconds: float, facts: dict[str, Any]) -> None:
    """Keep the rate of a stage that has just ended, for plans of later runs on this machine; of a short one none."""
    if seconds < SHORTEST or (found := _rate(run, stage, seconds, facts)) is None:
        return
    size: Size | None = model_size(run.recipe.model.reference)[0]
    here: Device = device()
    name = "eval" if stage.startswith("eval") else stage
    remember_rate(run.recipe, name, size, here.name, *found)


def _rate(run: Run, stage: str, seconds: float, facts: dict[str, Any]) -> tuple[float, str] | None:
    if stage == "sft" and facts.get("tokens_per_second"):
        return float(facts["tokens_per_second"]), "tokens/s"
    if stage == "grpo" and run.recipe.grpo is not None:
        each = _seconds_a_step(run)
        return None if each is None else (run.recipe.grpo.sampled / each, "completions/s")
    if stage == "scan":  # one that was stored already is a short stage
        return facts["prompts"] * facts["samples"] / seconds, "completions/s, the engine's start included"
    if stage.startswith("eval") and isinstance(run.recipe.data, DataConfig):
        summary = read_json(run.dir / "eval" / stage.removeprefix("eval-") / SUMMARY, "evaluate again")
        if summary["completions"] != run.recipe.data.test:  # the cache, or a killed process, answered the others
            return None
        return run.recipe.data.test / seconds, "answers/s, the engine's start included"
    return None


def _seconds_a_step(run: Run) -> float | None:
    """The median between the log entries of consecutive steps; None of fewer than two."""
    entries = read_log(run.dir / "grpo" / "log.jsonl")
    steps = {entry["step"]: entry["time"] for entry in entries if "loss" in entry}
    gaps = sorted(steps[step + 1] - at for step, at in steps.items() if step + 1 in steps)
    return gaps[len(gaps) // 2] or None if gaps else None
