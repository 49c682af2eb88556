"""The data stage: it builds what a run trains and is scored on, and keeps the hashes of the files that it read.

Such files are a person's own and change: a table is mended, rows are added. Each verb looks at them again. Until
something depends on the data they are built anew; from then on what would read them is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eval.files import write_json
from rewards.core import UserError
from tasks.base import Split, Task
from tasks.registry import load_task, task_files
from tasks.tables.source import content_hash
from toolkit.config import DataConfig, Recipe
from toolkit.data import example_lines, file_hash, write_lines
from toolkit.rundir import Run, drop_data, holds_results


def data_stage(run: Run) -> dict[str, Any]:
    """Build the run's data, and give the figures worth keeping."""
    sources = source_hashes(run.recipe)  # before they are read: a change in between is found the next time
    if isinstance(run.recipe.data, DataConfig):
        return {**build(run.recipe, run.dir / "data"), "sources": sources}
    from toolkit.conversations.stage import conversations_stage

    return {**conversations_stage(run), "sources": sources}


def build(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Write a task's examples to the folder, a file for each key of the section data. Gives their numbers and hashes.

    Raises UserError when the task has fewer of them, or not the rewards that the recipe names.
    """
    from toolkit.training.rollouts import weighted_rewards

    assert recipe.task is not None  # Recipe refuses data of a task without it
    assert isinstance(recipe.data, DataConfig)
    task = load_task(recipe.task)
    weighted_rewards(task, recipe.rewards)  # a wrong name should end the run here, not after the SFT
    # GRPO's prompts follow those of SFT in the same stream: none is seen twice.
    train = example_lines(task, "train", recipe.data.sft + recipe.data.grpo, recipe.seed)
    counts = {"sft": write_lines(folder / "sft.jsonl", itertools.islice(train, recipe.data.sft))}
    counts["grpo"] = write_lines(folder / "grpo.jsonl", train)
    held_out: tuple[tuple[Split, int], ...] = (("validation", recipe.data.validation), ("test", recipe.data.test))
    for split, n in held_out:
        counts[split] = write_lines(folder / f"{split}.jsonl", example_lines(task, split, n, recipe.seed))
    _refuse_few(recipe, task, {**counts, "train": counts["sft"] + counts["grpo"]})
    hashes = {name: file_hash(folder / f"{name}.jsonl") for name in counts}
    return {**counts, "task": task.name, "version": task.version, "hashes": hashes}


def refuse_unbuildable(recipe: Recipe) -> None:
    """Raise UserError for data that `build` would refuse. Writes nothing; a task that can begin anywhere is fast."""
    from toolkit.training.rollouts import weighted_rewards

    assert recipe.task is not None
    assert isinstance(recipe.data, DataConfig)
    task = load_task(recipe.task)
    weighted_rewards(task, recipe.rewards)
    wanted: tuple[tuple[Split, int], ...] = (
        ("train", recipe.data.sft + recipe.data.grpo),
        ("validation", recipe.data.validation),
        ("test", recipe.data.test),
    )
    _refuse_few(recipe, task, {split: _count(task, split, n, recipe.seed) for split, n in wanted})


def _count(task: Task, split: Split, n: int, seed: int) -> int:
    """How many of n examples the split has."""
    if n and task.examples_from is not None and any(True for _ in task.examples_from(split, n - 1, 1, seed)):
        return n
    return sum(1 for _ in task.examples(split, n, seed))


def _refuse_few(recipe: Recipe, task: Task, there: Mapping[str, int]) -> None:
    """Raise UserError where a split has fewer examples than the recipe wants of it. there: by split."""
    assert isinstance(recipe.data, DataConfig)
    mend = f"ask for fewer, or give the task more; `toolkit task check {recipe.task}` counts each split"
    of, sft, grpo, train = f"task {task.name!r}", recipe.data.sft, recipe.data.grpo, there["train"]
    if train < sft:
        raise UserError(f"{of}: train has {train} examples, and data.sft wants {sft}; {mend}")
    if train < sft + grpo:
        left = f"data.sft takes the first {sft}, so {train - sft} are left for data.grpo ({grpo} wanted)"
        raise UserError(f"{of}: train has {train} examples; {left}; {mend}")
    for split, wanted in (("validation", recipe.data.validation), ("test", recipe.data.test)):
        if there[split] < wanted:
            raise UserError(f"{of}: {split} has {there[split]} examples, and data.{split} wants {wanted}; {mend}")


def source_hashes(recipe: Recipe) -> dict[str, str]:
    """The hash of each file or folder that the data are read from, by its path as the recipe has it.

    Of a task in Python that is its file, not what it opens; built-in tasks, plugins and hub ids have none.
    """
    if isinstance(recipe.data, DataConfig):
        assert recipe.task is not None
        paths = task_files(recipe.task)
    else:
        paths = [Path(recipe.data.path)]
    hashes = {str(path): content_hash(path.expanduser()) for path in paths}
    return {path: digest for path, digest in hashes.items() if digest is not None}


def changed_sources(run: Run) -> list[str]:
    """The files that aren't what the run's data stage read. Those that are gone aren't told: who reads them says it.

    Runs of versions that kept no hashes have none either.
    """
    known = run.facts("data").get("sources", {}) if run.is_done("data") else {}
    if not known:
        return []
    return [path for path, digest in source_hashes(run.recipe).items() if known.get(path, digest) != digest]


def look_again(run: Run, say: Callable[[str], None]) -> None:
    """Say which files changed since the data were built; where nothing depends on the data yet, forget those.

    A task whose examples are still the same (a reward was mended) may go on.
    """
    if not (changed := changed_sources(run)):
        return
    if not holds_results(run):
        say(f"data: {', '.join(changed)} changed since they were built, and nothing depends on them yet: built anew")
        drop_data(run)
    elif _same_examples(run):
        say(f"data: {', '.join(changed)} changed, the examples are the same")
    else:
        say(f"note: {told(changed)}")


def _same_examples(run: Run) -> bool:
    """Whether what changed made no other examples: then it isn't looked at again."""
    if not isinstance(run.recipe.data, DataConfig):
        return False
    facts = {**run.facts("data"), "sources": source_hashes(run.recipe)}  # before they are read, as in data_stage
    with TemporaryDirectory() as scratch:
        try:
            same = bool(build(run.recipe, Path(scratch))["hashes"] == facts["hashes"])
        except UserError:  # too few of them now, say
            return False
    if same:
        write_json(run.dir / "stages" / "data.json", facts)
    return same


def refuse_changed(run: Run, stage: str) -> None:
    """Raise UserError for a stage that would go on with other data than those that the run began with."""
    if (changed := changed_sources(run)) and not _same_examples(run):
        raise UserError(f"{stage}: {told(changed)}")


def told(changed: Sequence[str]) -> str:
    """That files changed, and what to do about it."""
    return (
        f"{', '.join(changed)} changed since the run's data stage, and what is done goes by what was there; "
        "put it back as it was, or choose another directory (--set output=…) for the new data"
    )
