"""What a gate reads: the scores of a run's directory, or of a baseline file that was written from one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.differences import METRICS, Item, items_of
from eval.files import read_json, write_atomically
from eval.manifest import NotAnEvaluation, read_manifest
from eval.records import RECORDS, read_records
from eval.summary import SUMMARY
from eval.validity import Counts, Limits, check_validity, counts_of
from rewards.core import ExitCode, UserError

FORMAT = 2
FORMATS = (1, FORMAT)  # 1 lacks the hashes of completions
WRITE_AGAIN = "write it with toolkit baseline write RUN --out FILE"
EVALUATE = "evaluate the model first: toolkit eval --model MODEL --task TASK --out {path}"


@dataclass(frozen=True, slots=True)
class Scores:
    """An evaluation without its texts. identity, versions: of its manifest. items: by example id, in its order.

    completions: how many it should have and has, and how many of them count for nothing.
    """

    identity: Mapping[str, Any]
    model: str
    versions: Mapping[str, str]
    items: Mapping[str, Item]
    completions: Counts

    @property
    def metrics(self) -> list[str]:
        """Names of what can be gated."""
        return list(next(iter(self.items.values())).values)


def read_scores(path: Path, absent: str = EVALUATE) -> Scores:
    """Scores of an evaluation's directory or a baseline file. Raises UserError: 14 for what can't be read, 2 for a run.

    absent: what to do where nothing is there; {path} in it is filled in.
    """
    try:
        return _of_directory(path) if path.is_dir() else _of_file(path, absent.format(path=path))
    except NotAnEvaluation:
        raise
    except UserError as error:
        raise UserError(str(error), ExitCode.FAILED) from error


def _of_directory(directory: Path) -> Scores:
    manifest = read_manifest(directory)
    unfinished = f"{directory}: the evaluation isn't finished; run it again with the same directory"
    if not (directory / SUMMARY).is_file():
        raise UserError(unfinished)
    records = read_records(directory / RECORDS)
    if not records:
        raise UserError(unfinished)
    identity = manifest["identity"]
    samples = identity["sampling"]["n"]
    return Scores(
        identity=identity,
        model=manifest["model"]["name"],
        versions=manifest["versions"],
        items=items_of(records, samples),
        completions=counts_of(records, identity["n"] * samples),
    )


def write_baseline(run: Path, out: Path) -> Scores:
    """Write the scores of a finished evaluation as a baseline: JSON to commit, an example a line.

    Raises UserError: 13 when completions are missing or are errors, 14 when the evaluation isn't finished; and for a
    file there that is no baseline, or another task's.
    """
    scores = read_scores(run)
    if out.is_file():
        _check_replaced(out, scores)
    problems = check_validity(scores.completions, Limits(truncated=1, failed=0))
    if problems:
        raise UserError(f"{run}: no baseline: {'; '.join(problems)}", ExitCode.INVALID)
    metrics = scores.metrics
    head = {
        "format": FORMAT,
        "model": scores.model,
        "identity": dict(scores.identity),
        "versions": dict(scores.versions),
        "completions": {"truncated": scores.completions.truncated, "total": scores.completions.found},
        "metrics": metrics,
    }
    rows = [f"    {_line(key)}: {_line(_stored(item, metrics))}" for key, item in scores.items.items()]
    top = json.dumps(head, ensure_ascii=False, indent=2)[:-2]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, top + ',\n  "items": {\n' + ",\n".join(rows) + "\n  }\n}\n")
    return scores


def _check_replaced(out: Path, scores: Scores) -> None:
    try:
        before = _of_file(out, WRITE_AGAIN)
    except UserError as error:
        raise UserError(f"{out} is there and no baseline; choose another --out, or remove it first") from error
    tasks = [str(each.identity.get("task")) for each in (before, scores)]
    if tasks[0] != tasks[1]:
        raise UserError(
            f"{out} is the baseline of another task, {tasks[0]!r}, and the evaluation is of {tasks[1]!r}; choose "
            "another --out, or remove it first"
        )


def _stored(item: Item, metrics: list[str]) -> list[Any]:
    return [item.group, item.prompt_hash, [item.values[name] for name in metrics], item.tags, item.said]


def _item(
    key: str, metrics: list[str], group: Any, prompt: Any, values: list[float], tags: Any, said: Any = ""
) -> Item:
    return Item(key, str(group), _mapping(tags), str(prompt), _values(metrics, values), str(said))


def _line(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_line, value)) + "]"
    if isinstance(value, float):  # exact, or a mean of three samples would differ from itself
        return str(int(value)) if value.is_integer() else repr(value)
    return json.dumps(value if isinstance(value, str) else dict(value), ensure_ascii=False)


def _of_file(path: Path, absent: str) -> Scores:
    row = read_json(path, WRITE_AGAIN if path.is_file() else absent)
    if row.get("format") not in FORMATS:
        raise UserError(f"{path}: want a baseline of format {FORMAT}, got {row.get('format')!r}; {WRITE_AGAIN}")
    try:
        metrics = row["metrics"]
        items = {key: _item(key, metrics, *stored) for key, stored in row["items"].items()}
        total, truncated = (int(row["completions"][name]) for name in ("total", "truncated"))
        if not items or not set(METRICS) <= set(metrics):
            raise ValueError("no items, or a metric is missing")
        identity, versions = _mapping(row["identity"]), _mapping(row["versions"])
        return Scores(identity, str(row["model"]), versions, items, Counts(total, total, truncated, 0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a baseline ({error}); {WRITE_AGAIN}") from error


def _values(metrics: list[str], scores: list[float]) -> dict[str, float]:
    found = dict(zip(metrics, map(float, scores), strict=True))
    if not all(map(math.isfinite, found.values())):
        raise ValueError(f"scores {scores}")
    return found


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a mapping is {value!r}")
    return value
