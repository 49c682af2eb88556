"""Score stored completions again, with the scorer as it is now: what a changed scorer changes, and nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.engines.base import ModelSpec
from eval.engines.registry import WITHOUT_TOKENIZER
from eval.files import write_json
from eval.manifest import MANIFEST, examples_hash, read_manifest, versions
from eval.prompts import (
    load_tokenizer,
    messages_hash,
    prompt_hash,
    render_prompts,
    template_hash,
    tokenizer_dir,
)
from eval.records import RECORDS, Record, by_example, read_records, score_again, write_records
from eval.scorers import scorers
from eval.summary import SUMMARY, Summary, summarize, why_invalid
from rewards.core import Example, ExitCode, UserError
from tasks.base import Task


@dataclass(frozen=True, slots=True)
class Rescored:
    """The same completions under two scorers: old as stored, new as scored now, in the same order.

    new_golds: how many examples have another canonical answer than when they were asked. scored_by: see
    `eval.scorers.scorers`, of those that scored `new`.
    """

    directory: Path
    manifest: Mapping[str, Any]
    old: tuple[Record, ...]
    new: tuple[Record, ...]
    new_golds: int
    examples_hash: str
    scored_by: Mapping[str, Any]

    @property
    def moved(self) -> list[tuple[Record, Record]]:
        """Those whose status or score is another now."""
        pairs = zip(self.old, self.new, strict=True)
        return [(old, new) for old, new in pairs if (old.status, old.score) != (new.status, new.score)]

    def transitions(self) -> dict[tuple[str, str], list[Record]]:
        """(old status, new status) -> the records that moved so, the most frequent first."""
        found: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for old, new in self.moved:
            found[old.status, new.status].append(new)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    def statuses(self) -> tuple[Counter[str], Counter[str]]:
        """How many completions have each status, old and new."""
        return Counter(record.status for record in self.old), Counter(record.status for record in self.new)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Why two stored results differ: new = old + scorer + model, means of the metric over n examples.

    old, new: as stored. model: the difference of the two models' completions, both scored now. scorer: the rest, what
    scoring them differently did to the stored difference. old_now, new_now: both as scored now.
    """

    n: int
    old: float
    new: float
    old_now: float
    new_now: float

    @property
    def model(self) -> float:
        """The part that is the models' own."""
        return self.new_now - self.old_now

    @property
    def scorer(self) -> float:
        """The part that is the scorers'."""
        return (self.old_now - self.old) - (self.new_now - self.new)


def rescore(directory: Path, task: Task) -> Rescored:
    """Score an evaluation's completions again; writes nothing. Cut and failed ones stay what they are.

    Raises UserError for a directory without records; with exit code 12 when the task no longer has an example, or asks
    it in other words than those that were answered.
    """
    manifest = read_manifest(directory)
    records = read_records(directory / RECORDS)
    if not records:
        raise UserError(f"{directory / RECORDS}: no records there; give the directory of an evaluation")
    identity = manifest["identity"]
    if identity["split"] not in ("train", "validation", "test"):
        raise UserError(f"{directory / MANIFEST}: unknown split {identity['split']!r}")
    start = manifest.get("how", {}).get("start", 0)
    stream = task.examples(identity["split"], start + identity["n"], identity["seed"])
    examples = {each.id: each for each in islice(stream, start, None)}
    unknown = [record.id for record in records if record.id not in examples]
    if unknown:
        raise UserError(
            f"task {task.name!r} has no example {unknown[0]!r} now (and {len(unknown) - 1} others): "
            "it isn't the task that was asked, or it builds other examples; evaluate again",
            ExitCode.NOT_COMPARABLE,
        )
    current = examples_hash(examples.values())
    if current != identity["examples"]:
        _check_prompts(directory, manifest, records, examples)
    golds = {record.id for record in records if record.gold != examples[record.id].answers[0]}
    new = tuple(score_again(task, examples[record.id], record) for record in records)
    scored_by = scorers(task, list(examples.values()))
    return Rescored(directory, manifest, tuple(records), new, len(golds), current, scored_by)


def _check_prompts(
    directory: Path, manifest: Mapping[str, Any], records: Sequence[Record], examples: Mapping[str, Example]
) -> None:
    """The examples aren't what they were: golds may have been mended, but what was asked must be the same."""
    identity, model = manifest["identity"], manifest["model"]
    if identity["engine"] in WITHOUT_TOKENIZER:
        hashes = {key: messages_hash(example.messages) for key, example in examples.items()}
    else:
        adapter = model["adapter"] and Path(model["adapter"])
        unchecked = f"{directory}: the task's examples have changed, and whether the prompts have can't be checked"
        try:
            tokenizer = load_tokenizer(tokenizer_dir(ModelSpec(Path(model["path"]), adapter, model["name"])))
            same_template = template_hash(tokenizer) == identity["template"]
        except UserError as error:
            raise UserError(f"{unchecked} ({error})") from error
        if not same_template:
            raise UserError(f"{unchecked}: the tokenizer's chat template isn't the one that was used")
        rendered = render_prompts(tokenizer, [each.messages for each in examples.values()])
        hashes = {key: prompt_hash(ids) for key, ids in zip(examples, rendered, strict=True)}
    changed = [record.id for record in records if hashes[record.id] != record.prompt_hash]
    if changed:
        raise UserError(
            f"{directory}: {len(set(changed))} examples have other prompts now, for instance {changed[0]!r}: "
            "the completions answer other questions; evaluate again",
            ExitCode.NOT_COMPARABLE,
        )


def write_rescored(found: Rescored, task: Task, out_dir: Path) -> Summary:
    """Write the new scores as an evaluation of its own, which `toolkit compare` takes. The old one stays as it is.

    Raises UserError when out_dir holds anything.
    """
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise UserError(f"{out_dir} isn't empty; choose another directory with --out: nothing is ever written over")
    identity = found.manifest["identity"]
    expected = identity["n"] * identity["sampling"]["n"]
    name = str(found.manifest["model"]["name"])
    summary = summarize(task.name, name, found.new, 0, 0.0, expected=expected)
    if (found.directory / SUMMARY).is_file():  # judged under limits of its own; another scorer changes none of it
        summary = replace(summary, invalid=why_invalid(found.directory))
    source = {"from": str(found.directory), "task_version": identity["task_version"], "versions": versions()}
    changed = {"task": task.name, "task_version": task.version, "examples": found.examples_hash, **found.scored_by}
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        write_json(out_dir / MANIFEST, {**found.manifest, "identity": {**identity, **changed}, "rescored": source})
        write_records(out_dir / RECORDS, found.new)
        write_json(out_dir / SUMMARY, summary.to_json())
    except OSError as error:
        raise UserError(f"{out_dir}: can't be written: {error.strerror}") from error
    return summary


def free_directory(directory: Path) -> Path:
    """Beside an evaluation, the first of DIR-rescored, DIR-rescored-2, … that isn't there."""
    base = directory.resolve()
    number = 1
    while (free := base.with_name(f"{base.name}-rescored" + (f"-{number}" if number > 1 else ""))).exists():
        number += 1
    return free


def attribute(new: Rescored, old: Rescored) -> Attribution:
    """Split the stored difference new - old. Raises UserError (12) unless both answered the same examples."""
    ours, theirs = ({record.id for record in each.old} for each in (new, old))
    sources = [tuple(each.manifest["identity"][key] for key in ("split", "seed")) for each in (new, old)]
    if ours != theirs or sources[0] != sources[1]:
        raise UserError(
            f"{new.directory} and {old.directory} answered different examples: "
            f"{len(ours & theirs)} are in both, {len(ours ^ theirs)} in one only; split and seed {sources[0]} "
            f"and {sources[1]}. Give two evaluations of the same examples",
            ExitCode.NOT_COMPARABLE,
        )
    means = [_mean(records) for records in (old.old, new.old, old.new, new.new)]
    return Attribution(len(ours), *means)


def _mean(records: Sequence[Record]) -> float:
    """The mean over examples of the mean over their samples."""
    return fmean(fmean(record.score for record in some) for some in by_example(records).values())
