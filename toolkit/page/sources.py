"""What a report is made of: run directories and evaluation directories, read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from eval.compare import COMPARISON, read_comparison
from eval.files import read_json
from eval.manifest import MANIFEST, read_manifest
from eval.records import RECORDS, Record, read_records
from eval.summary import SUMMARY, Summary, read_summary
from rewards.core import UserError
from toolkit.rundir import read_log

Row = Mapping[str, Any]
ORDER = ("base", "sft", "grpo")  # stages, as a model passes through them
CHECKPOINT = re.compile(r"(sft|grpo)/checkpoints/checkpoint-(\d+)/?$")
TRAINED = ("sft", "grpo")
FINAL = math.inf  # the step of a stage's last model


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished evaluation. stage: base, sft, grpo, peer or other; step: training steps into that stage."""

    label: str
    dir: Path
    summary: Summary
    records: tuple[Record, ...]
    manifest: Row
    stage: str
    step: float = FINAL
    run: int | None = None

    @property
    def identity(self) -> Row:
        """What the manifest tells evaluations apart by."""
        found: Row = self.manifest["identity"]
        return found


@dataclass(frozen=True, slots=True)
class RunFiles:
    """A run directory's own files. logs: entries of sft/log.jsonl and grpo/log.jsonl, and of held_out.jsonl beside
    them. warnings: lines of their watchdog.log. unfinished: evaluations.
    """

    name: str
    dir: Path
    recipe: Row
    manifest: Row
    stages: Mapping[str, Row]
    comparison: Row | None
    logs: Mapping[str, Sequence[Row]]
    warnings: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that a page shows. Evaluations: those of runs first, each run's from base to tuned."""

    runs: tuple[RunFiles, ...]
    evaluations: tuple[Evaluation, ...]


def read_sources(paths: Sequence[Path]) -> Sources:
    """Read each directory, a run's or an evaluation's. Raises UserError for any other, or for a broken file."""
    unique = list(dict.fromkeys(path.expanduser() for path in paths))
    names = unique_names(unique)
    runs: list[RunFiles] = []
    found: list[Evaluation] = []
    for path, name in zip(unique, names, strict=True):
        if (path / "recipe.yaml").is_file():
            run, evaluations = _read_run(path, name, len(runs))
            runs.append(run)
            found += evaluations
        elif (path / MANIFEST).is_file() and "identity" in read_json(path / MANIFEST, "evaluate again"):
            found.append(read_evaluation(path, name))
        else:
            raise UserError(
                f"{path}: neither a run directory nor a finished evaluation; give what `toolkit run` or "
                "`toolkit eval` left"
            )
    if len(runs) > 1:
        found = [each if each.run is None else _prefixed(each, runs[each.run].name) for each in found]
    own = [each for each in found if each.run is not None]
    return Sources(tuple(runs), (*own, *(each for each in found if each.run is None)))


def read_training(path: Path) -> tuple[dict[str, list[Row]], tuple[str, ...]]:
    """Each training stage's log.jsonl with its held_out.jsonl, and what the watchdog said. Raises UserError."""
    logs = {
        stage: [*read_log(path / stage / "log.jsonl"), *read_log(path / stage / "held_out.jsonl")] for stage in TRAINED
    }
    return logs, tuple(line for stage in TRAINED for line in _warnings(path / stage / "watchdog.log", stage))


def _warnings(path: Path, stage: str) -> list[str]:
    """What the watchdog said while the stage trained."""
    if not path.is_file():
        return []
    return [f"{stage.upper()}: {line}" for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Each directory's own name, or its path where names are the same."""
    short = [path.resolve().name for path in paths]
    return [name if short.count(name) == 1 else str(path) for path, name in zip(paths, short, strict=True)]


def _prefixed(evaluation: Evaluation, run: str) -> Evaluation:
    return replace(evaluation, label=f"{run}: {evaluation.label}")


def _read_run(path: Path, name: str, index: int) -> tuple[RunFiles, list[Evaluation]]:
    try:
        recipe = yaml.safe_load((path / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path / 'recipe.yaml'}: can't be read: {error}") from error
    if not isinstance(recipe, dict):
        raise UserError(f"{path / 'recipe.yaml'}: want a recipe, got {type(recipe).__name__}")
    if not isinstance(recipe.get("model", {}), dict) or not isinstance(recipe.get("task") or "", str):
        raise UserError(f"{path / 'recipe.yaml'}: want a recipe: 'model' with its keys, 'task' a text")
    folders = sorted(each for each in (path / "eval").glob("*") if (each / MANIFEST).is_file())
    finished = [each for each in folders if (each / SUMMARY).is_file()]
    evaluations = [replace(read_evaluation(each, each.name, recipe), run=index) for each in finished]
    logs, warnings = read_training(path)
    files = RunFiles(
        name=name,
        dir=path,
        recipe=recipe,
        manifest=read_json(path / MANIFEST, "run the recipe again") if (path / MANIFEST).is_file() else {},
        stages={each.stem: read_json(each, "run it again") for each in sorted((path / "stages").glob("*.json"))},
        comparison=read_comparison(path) if (path / COMPARISON).is_file() else None,
        logs=logs,
        warnings=warnings,
        unfinished=tuple(each.name for each in folders if each not in finished),
    )
    return files, sorted(evaluations, key=_place)


def read_evaluation(path: Path, label: str, recipe: Row | None = None) -> Evaluation:
    """A finished evaluation directory. recipe: that of the run it belongs to. Raises UserError."""
    manifest = read_manifest(path)
    stage, step = _stage(manifest, label, recipe)
    if recipe is not None:
        label = _label(label, stage, step, recipe)
    elif stage == "peer":
        label = str(manifest["identity"]["engine"]).partition(":")[2]
    records = read_records(path / RECORDS)
    return Evaluation(label, path, read_summary(path), tuple(records), manifest, stage, step)


def _stage(manifest: Row, name: str, recipe: Row | None) -> tuple[str, float]:
    """Where in training the model stands, by the run's own names, else by the directory that it was loaded from."""
    if str(manifest["identity"]["engine"]).startswith("peer:"):
        return "peer", FINAL
    if recipe is not None and name in ("base", "sft"):
        return name, FINAL
    if recipe is not None and name == "tuned":
        return "sft" if recipe.get("grpo") is None else "grpo", FINAL
    model = manifest.get("model", {})
    place = CHECKPOINT.search(str(model.get("adapter") or model.get("path")))
    return (place[1], float(place[2])) if place else ("other", FINAL)


def _label(name: str, stage: str, step: float, recipe: Row) -> str:
    trained = [each.upper() for each in ("sft", "grpo") if recipe.get(each) is not None]
    if step != FINAL:
        return f"{stage.upper()} step {step:.0f}"
    return {"tuned": "+".join(trained), "sft": "SFT"}.get(name, name)


def _place(evaluation: Evaluation) -> tuple[int, float, str]:
    order = [*ORDER, "other", "peer"]
    return order.index(evaluation.stage), evaluation.step, evaluation.label


def same_examples(one: Evaluation, other: Evaluation) -> bool:
    """Whether two evaluations answered the same examples of the same task."""
    return all(one.identity.get(key) == other.identity.get(key) for key in ("task", "examples"))
