"""The noise floor: how far two evaluations of the same model lie apart (an A/A comparison).

Greedy decoding isn't deterministic across batch sizes and request orders: kernels add in another order, and a close
call between two tokens falls the other way. A difference smaller than that is no news.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.differences import Difference, difference, independent, items_of
from eval.files import read_json, write_json
from eval.manifest import read_manifest
from eval.pairs import failed, grouped_otherwise
from eval.records import RECORDS, Record, read_records
from eval.scorers import other_scorers
from eval.statistics import noise_floor, rate_interval
from rewards.core import ExitCode, UserError

# Order and batch size may differ, so hashes that depend on the order aren't asked: the records' own are, by id.
SAME_MODEL = ("task", "task_version", "split", "seed", "n", "template", "model", "adapter", "served")
MAY_DIFFER = ("engine", "options")
WEIGHTS = ("model", "adapter", "served")


@dataclass(frozen=True, slots=True)
class Noise:
    """Two evaluations of one model.

    flips: examples whose score differs; flip_rate: their share with its 95% interval; texts: completions that differ.
    floor: a difference of means that 95% of reruns stay within, or more where flips are few; not 0 where no score
    differs, for the next rerun's may. notes: what the two did differently; empty where nothing. task, task_version,
    weights: what it was measured on; weights are those of the identity's keys that tell a model.
    """

    task: str
    task_version: str
    model: str
    n: int
    flips: int
    flip_rate: tuple[float, float, float]
    texts: int
    completions: int
    difference: Difference
    floor: float
    notes: tuple[str, ...]
    weights: Mapping[str, Any]


def measure_noise(first_dir: Path, second_dir: Path, out: Path | None = None) -> Noise:
    """Compare a model with itself; write the outcome as JSON to out, if given.

    Raises UserError, 12, when the two aren't of the same model, adapter, examples, prompts and sampling, or an engine
    failed to give some answers.
    """
    ours, theirs = map(read_manifest, (first_dir, second_dir))
    first, second = (_by_sample(each / RECORDS) for each in (first_dir, second_dir))
    if first_dir.resolve() == second_dir.resolve():
        raise UserError(f"{first_dir} is given twice: evaluate the model again, into another directory")
    problems = _problems(ours["identity"], theirs["identity"], first, second)
    if problems:
        raise UserError("not two evaluations of one model: " + "; ".join(problems), ExitCode.NOT_COMPARABLE)
    one, two = items_of(first.values()), items_of(second.values())
    base, again = ([side[key].values["exact"] for key in one] for side in (one, two))
    clusters = independent([item.cluster for item in one.values()])
    apart = [after - before for before, after in zip(base, again, strict=True)]
    flipped = [float(value != 0) for value in apart]
    flips = int(sum(flipped))
    rate = rate_interval(flipped, clusters)
    identity = ours["identity"]
    differing = [key for key in MAY_DIFFER if identity[key] != theirs["identity"][key]]
    differing += ["order"] if list(first) != list(second) else []
    result = Noise(
        task=identity["task"],
        task_version=identity["task_version"],
        model=str(ours["model"]["name"]),
        n=len(apart),
        flips=flips,
        flip_rate=(flips / len(apart), rate.low, rate.high),
        texts=sum(first[key].completion != second[key].completion for key in first),
        completions=len(first),
        difference=difference(base, again, clusters),
        floor=noise_floor(apart, clusters) if len(set(clusters)) > 1 else 1.0,
        notes=tuple(f"other {key}" for key in differing),
        weights=_weights(identity),
    )
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, asdict(result))
    return result


def _by_sample(path: Path) -> dict[tuple[str, int], Record]:
    return {(record.id, record.sample): record for record in read_records(path)}


def _problems(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    first: Mapping[tuple[str, int], Record],
    second: Mapping[tuple[str, int], Record],
) -> list[str]:
    found = [
        f"{key}: {ours.get(key)!r} and {theirs.get(key)!r}" for key in SAME_MODEL if ours.get(key) != theirs.get(key)
    ]
    found += other_scorers(ours, theirs)
    sampling = [{**each["sampling"], "seed": None} for each in (ours, theirs)]
    if sampling[0] != sampling[1]:
        found.append(f"sampling: {sampling[0]} and {sampling[1]}")
    for name, side in (("first", first), ("second", second)):
        found += failed(name, side.values())
    expected = ours["n"] * ours["sampling"]["n"]
    if set(first) != set(second) or len(first) != expected:
        found.append(f"{len(first)} and {len(second)} records, of {expected}: finish both, over the same examples")
    elif any((first[key].prompt_hash, first[key].gold) != (second[key].prompt_hash, second[key].gold) for key in first):
        found.append("prompts or gold answers differ")
    else:
        found += grouped_otherwise((first[key], second[key]) for key in first)
    return found


def _weights(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: identity.get(key) for key in WEIGHTS}


def read_floor(path: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[float, list[str]]:
    """The floor in a file of `measure_noise`, for a comparison of two identities, and notes on where it is from.

    Flips of single answers average out: for n examples a floor of m is taken times sqrt(m / n). One of 1, which says
    nothing (all examples are of one group), stays. Raises UserError when it was measured on another task.
    """
    row = read_json(path, "write it with toolkit noise RUN SAME_MODEL_AGAIN --out FILE")
    try:
        task, floor, measured = (row["task"], row["task_version"]), float(row["floor"]), int(row["n"])
        if not (0 <= floor <= 1 and measured > 0):
            raise ValueError(f"floor {floor:g}, n {measured}")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a file of `toolkit noise` ({error}); write it again") from error
    if task != (ours["task"], ours["task_version"]):
        wanted = f"{ours['task']} version {ours['task_version']}"
        raise UserError(
            f"{path}: measured on {task[0]} version {task[1]}, the comparison is on {wanted}", ExitCode.NOT_COMPARABLE
        )
    notes = []
    if "weights" not in row:
        notes.append(f"{path} doesn't say whose weights the noise floor is of: write it again")
    elif row["weights"] not in (_weights(ours), _weights(theirs)):
        notes.append(f"the noise floor was measured on {row.get('model')!r}, whose weights are neither of these two's")
    n = ours["n"]
    if measured == n:
        return floor, notes
    scaled = floor if floor == 1 else min(1.0, floor * math.sqrt(measured / n))
    notes.append(
        f"the noise floor was measured on {measured} examples: its ±{100 * floor:.1f} pt are taken as "
        f"±{100 * scaled:.1f} pt for {n}"
    )
    return scaled, notes
