"""Values that were chosen for a run (its plan.json), and how fast this machine was before (rates.json in the cache)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from eval.files import read_json, write_json
from rewards.core import UserError
from toolkit.config import Recipe
from toolkit.doctor.sizes import Size
from toolkit.models import cache_dir

CHOSEN = "plan.json"
ANEW = "remove it, and the values are chosen anew"
RATES = "rates.json"
MOST_RATES = 200  # of the newest, so that the file stays small
Source = Literal["recipe", "memory", "probe", "out of memory"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A value that the toolkit chose. device: where; on another one it is chosen anew.

    smaller: what to take when it runs out of memory; None when there is nothing smaller, the value itself while no
    process has come so far as to know. details: what was measured.
    """

    value: int
    source: Source
    why: str
    device: str
    smaller: int | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rate:
    """value: in unit, such as tokens/s. source: where it comes from, in words."""

    value: float
    unit: str
    source: str


def chosen(run_dir: Path, stage: str, device: str) -> Chosen | None:
    """What plan.json holds for a stage on this device: of sft its forward_tokens, of grpo its batch_size.

    Raises UserError for a file of another form.
    """
    path = run_dir / CHOSEN
    if not path.is_file():
        return None
    entry = read_json(path, ANEW).get(stage)
    try:
        return Chosen(**entry) if entry is not None and entry["device"] == device else None
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: key {stage!r} is of another form ({error}); {ANEW}") from error


def lowered(run_dir: Path, stage: str, device: str) -> int | None:
    """The value that a stage goes on with after a larger one ran out of memory; None where none did."""
    value = chosen(run_dir, stage, device)
    return value.value if value is not None and value.source == "out of memory" else None


def choose(run_dir: Path, stage: str, value: Chosen) -> None:
    """Keep a value in plan.json, in the place of the one before."""
    path = run_dir / CHOSEN
    stored = read_json(path, ANEW) if path.is_file() else {}
    write_json(path, {**stored, stage: asdict(value)})


def remember_rate(recipe: Recipe, stage: str, size: Size | None, device: str, value: float, unit: str) -> None:
    """Keep the rate of a stage that was just done here. Of two runs at once the later one's counts."""
    if size is None or value <= 0:
        return
    rates = _rates()
    name = _name(recipe, stage, size, device)
    rates.pop(name, None)
    rates[name] = {"value": value, "unit": unit, "when": datetime.now(UTC).isoformat(timespec="seconds")}
    path = cache_dir() / RATES
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(list(rates.items())[-MOST_RATES:]))


def stored_rate(recipe: Recipe, stage: str, size: Size | None, device: str) -> Rate | None:
    """The rate of the last run here of such a stage over a model of that size; None where there was none."""
    entry = _rates().get(_name(recipe, stage, size, device)) if size is not None else None
    return entry and Rate(entry["value"], entry["unit"], f"an earlier run on this machine ({entry['when'][:10]})")


def _rates() -> dict[str, Any]:
    try:
        rates: dict[str, Any] = json.loads((cache_dir() / RATES).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a cache: nothing is lost
        return {}
    return rates


def _name(recipe: Recipe, stage: str, size: Size, device: str) -> str:
    model, grpo = recipe.model, recipe.grpo
    how = f"{model.backend}, {model.tuning}"
    if stage == "grpo" and grpo is not None:
        how += f", vllm {grpo.vllm}, {grpo.max_completion_length} new tokens"
    if stage == "eval":
        how = f"{recipe.eval.engine}, {recipe.eval.max_tokens} new tokens"
    return f"{stage}; {device}; {size.parameters:.0f} parameters; {how}; {recipe.launch.processes} processes"
